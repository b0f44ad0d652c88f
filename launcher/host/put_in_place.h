// Files that were made in a directory of their own get their names in another: all of them or none.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

struct MadeFile {
  std::string name;
  /// Its name tells its bytes: one that is there already will do, if it has these, and stays in any case.
  bool shared = false;
};

/// That `there` is a file, by no symlink, with the bytes of `made`: EEXIST says that it is something else.
/// Who else may write in a directory can have put anything under a name.
Result<void> check_same_file(const std::filesystem::path& there, const std::filesystem::path& made);

/// Moves `files` from `work` to `out`, on the same file system, in this order, each with mode 0644 and
/// durable. Nothing is replaced: EEXIST where a name is taken meanwhile, too. After an error those are taken
/// back that got their names here, but for the shared ones.
Result<void> put_in_place(const std::filesystem::path& work, const std::filesystem::path& out,
                          const std::vector<MadeFile>& files);

}  // namespace layerboot::launcher
