// What a program tells the child that indexes a layer for it, in one packet of its socket; both ends are the
// same program file. What the child says is a ChildReport (base/child_report.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "oci-mount/layer/index_format.h"

namespace layerboot::layer {

/// What the child finds open. Nothing else of the program's is.
enum IndexChildFd : int {
  kChildFeedFd = 3,     // the blob's pieces (blob_feed.h), for reading
  kChildIndexFd = 4,    // empty
  kChildRecutFd = 5,    // empty
  kChildScratchFd = 6,  // empty
  kChildSocketFd = 7,
};

/// The first and only message to the child; behind it the blob's name, then the layer's source.
struct IndexRequest {
  std::uint64_t blob_size_bytes = 0;
  IdentityRecord identity;
  IdentityRecord blob;  // of these two, kind kNone: there are no digests
  IdentityRecord diff_id;
  std::uint64_t expected_size_bytes = 0;
  std::uint32_t compression = 0;
  std::uint32_t name_bytes = 0;
  std::uint32_t source_bytes = 0;
  std::uint32_t reserved = 0;
};

/// What `ps` calls the child.
inline constexpr const char* kIndexChildName = "layerboot-index";

inline constexpr std::size_t kMaxIndexMessageBytes = 16U << 10U;

}  // namespace layerboot::layer
