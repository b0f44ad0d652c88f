// unpack_foreign_tar(): a guest's tar, made into files of this machine's.
#pragma once

#include <functional>
#include <string>

#include "launcher/host/foreign_tree.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

struct ForeignTarWishes {
  /// What was asked for: the first part of every name in the tar. ".": all names are taken, and none is the
  /// directory itself.
  std::string name;
  /// Owners as the tar has them; else ours.
  bool keep_owners = false;
};

/// Reads the tar `fd` to its end, whoever wrote it, and makes in `tree` what was asked for and nothing else:
/// files, directories and symlinks. Devices and fifos are told and left out; so are hard links, other names
/// than asked for, and what can't be made, whereupon the answer is false. At most a few are told, with how
/// many more there are. An Error: what comes is no tar, ends early, or has nothing of what was asked for; a
/// file that was on its way is not there then. Blocks; what is there is read with bounded memory.
Result<bool> unpack_foreign_tar(int fd, ForeignTree& tree, const ForeignTarWishes& wishes,
                                const std::function<void(const std::string&)>& tell);

}  // namespace layerboot::launcher
