// Which of the 32 KiB before a checkpoint the data after it really refer to: on average a tenth.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/layer/checkpoint_table.h"

namespace layerboot::layer {

/// What follows a checkpoint, as far as it can refer to the window: the first 32 KiB of output, or up to
/// where the stream ends.
struct WindowTrace {
  Window window{};
  unsigned first_bit = 0;             // of compressed[0]
  std::vector<std::byte> compressed;  // enough to give `output`, or the window is kept whole
  std::vector<std::byte> output;
};

/// Compressed bytes that a trace keeps at most.
inline constexpr std::size_t kMaxTraceBytes = 2 * kWindowBytes;

/// The window as the index keeps it (see pack_window()), bytes that nothing refers to as zeroes; empty when
/// nothing refers to any. Decodes the trace twice. Thread-safe.
Result<std::vector<std::byte>> pack_traced_window(const WindowTrace& trace);

}  // namespace layerboot::layer
