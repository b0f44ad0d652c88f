// What COPY takes out of a build's context, or out of an image that is mounted, as one tar for the guest's
// root directory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "launcher/images/build_plan.h"
#include "launcher/images/context_ignore.h"
#include "oci-mount/base/result.h"
#include "oci-mount/store/digest.h"

namespace layerboot::launcher {

using PutTar = std::function<Result<void>(std::span<const std::byte> bytes)>;

/// Files of a directory of the context become the target's, a file itself the target, or one in it: where
/// `into_directory` says so, or the guest has a directory there (TarKind::kFileOrInto). Owner and mode are
/// the action's, also of a directory that the guest has and the context too (kSetDirectory); names come in
/// the order of their bytes. Directories on the way are in it, 0755 and the action's owner's, for a guest
/// that has none. What the context's ignore file leaves out is not there. ENOENT where nothing fits a source;
/// EINVAL for one that leads out of the context, by symlinks too; ENOTSUP for what is neither file, directory
/// nor symlink, and of ADD for a source that is an archive, which that would unpack.
struct ContextCopy {
  const BuildContext& context;
  CopyAction action;
};

Result<void> write_context_tar(const ContextCopy& copy, const PutTar& put);

/// The same for a directory alone, and those on the way to it, for a guest that has none.
Result<void> write_directory_tar(const std::string& directory, std::uint32_t uid, std::uint32_t gid,
                                 const PutTar& put);

/// A program for a guest to run: root's, for everybody to read, in a directory that is as /tmp is.
Result<void> write_script_tar(const std::string& path, const std::string& text, const PutTar& put);

/// Of all that write_context_tar() gives but times. EINTR within an InterruptScope.
Result<store::Digest> digest_of_copy(const ContextCopy& copy);

/// What of it no layer will have (is_in_no_layer()): paths in the guest, a directory for all that is in it.
struct LeftOut {
  std::vector<std::string> paths;  // at most kMaxLeftOut
  std::size_t more = 0;
};
inline constexpr std::size_t kMaxLeftOut = 8;
/// By names alone. Nothing where the target is such a path itself, which the plan has warned of.
Result<LeftOut> left_out_of_layers(const ContextCopy& copy);

}  // namespace layerboot::launcher
