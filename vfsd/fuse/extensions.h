// What a client may append to a request's body (FUSE 7.38): of it, the group that matters to a new object.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace layerboot::vfsd::fuse {

struct Extensions {
  bool malformed = false;
  /// The directory's group, when the caller is in it but by no main group of its own (CREATE_SUPP_GROUP).
  std::optional<std::uint32_t> group;
};

/// Cuts the extensions, `size_bytes` at its end, off `body` and reads them. Kinds that were not negotiated
/// are passed over.
Extensions take_extensions(std::span<const std::byte>& body, std::size_t size_bytes);

}  // namespace layerboot::vfsd::fuse
