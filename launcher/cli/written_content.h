// What a stopped VM consists of: the image it was made from, and what it has written.
#pragma once

#include <string>
#include <string_view>

#include "launcher/images/image_commit.h"
#include "launcher/images/image_supply.h"
#include "launcher/vm/vm_config.h"
#include "launcher/vm/vm_directory.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// An image that is looked up where it is, and not fetched.
inline const SupplyOptions kAsItIs{
    .policy = PullPolicy::kNever, .tls_verify = true, .show_progress = false, .platform = {}};

/// Whether `reference` is the image of this identity (Image::chain_id).
bool is_image(const StateDirs& dirs, const std::string& reference, const std::string& identity,
              const store::Platform& platform);

/// What a VM that is started again is to be run from: the image of its record, or, where that name means
/// another one now, the one of the store that what it has written lies on, by its digest. Where that is gone,
/// the record's.
std::string image_to_go_on_from(const StateDirs& dirs, const VmRecord& record);

/// Into `commit`: the VM's name, image and platform, and what it has had on top of its image, whose identity
/// is `identity`. ENOENT where that image is gone.
Result<void> content_below(const StateDirs& dirs, const VmPaths& paths, const VmRecord& record,
                           const std::string& identity, CommitOptions& commit);

/// Into `commit`: the VM's name, image and platform, its upper, and what it has had on top of its image;
/// gives the image's identity. ENOENT where the VM has not run yet or its image is gone; ENOTSUP where its
/// root is on a disk, or what it wrote was kept nowhere. REQUIRES: `directory` stays locked while these are
/// used.
Result<std::string> written_content(const StateDirs& dirs, const VmDirectory& directory,
                                    CommitOptions& commit);

}  // namespace layerboot::launcher
