// Images of a containerd on this machine: names through its own `ctr`, blobs out of its content store.
#pragma once

#include <filesystem>
#include <string_view>

#include "oci-mount/base/result.h"
#include "oci-mount/store/oci_json.h"
#include "oci-mount/store/reference.h"

namespace layerboot::store {

/// Where containerd keeps its state: $LAYERBOOT_CONTAINERD_ROOT, or /var/lib/containerd.
std::filesystem::path containerd_root();
/// The content store's blobs below that root.
std::filesystem::path containerd_blobs(const std::filesystem::path& root);

/// The image's top document, which may be an index. Runs `ctr images ls`, which obeys $CONTAINERD_ADDRESS and
/// $CONTAINERD_NAMESPACE; an error says what it said.
Result<ManifestDescriptor> find_in_containerd(const Reference& reference);

/// What `ctr images ls` printed, taken apart: the descriptor of the first image it lists. ENOENT when it
/// lists none. Pure.
Result<ManifestDescriptor> parse_ctr_list(std::string_view text);

}  // namespace layerboot::store
