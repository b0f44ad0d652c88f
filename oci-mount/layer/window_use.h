// Which of the 32 KiB before a checkpoint the data after it really refer to: on average a tenth.
#pragma once

#include <cstddef>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/layer/checkpoint_table.h"
#include "oci-mount/layer/deflate_decoder.h"

namespace layerboot::layer {

struct WindowUse {
  Window bytes{};
  NeededBytes needed{};
};

/// The window as the index keeps it (see pack_window()), bytes that nothing refers to as zeroes; empty when
/// nothing refers to any. Thread-safe.
Result<std::vector<std::byte>> pack_used_window(const WindowUse& window);

}  // namespace layerboot::layer
