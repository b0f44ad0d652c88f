// RecutWriter: a layer's tar, compressed again in zstd frames that can each be decoded by itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "oci-mount/base/files.h"
#include "oci-mount/base/result.h"
#include "oci-mount/layer/checkpoint_table.h"

namespace layerboot::layer {

/// Used by one thread.
class RecutWriter {
 public:
  /// `file` outlives the writer, and is committed by its owner.
  static Result<std::unique_ptr<RecutWriter>> create(FileAppender& file);
  ~RecutWriter();

  /// The tar's next bytes. E2BIG beyond kMaxStreamBytes; ENOSPC where the file system gets too full.
  Result<void> append(std::span<const std::byte> bytes);
  /// At the tar's end: the last frame, and the closing checkpoint.
  Result<void> finish();

  /// Whole after finish(). Offsets are into the file.
  [[nodiscard]] const CheckpointTableBuilder& checkpoints() const { return table_; }

 private:
  struct Encoder;

  explicit RecutWriter(FileAppender& file);
  Result<void> write_frame();

  FileAppender& file_;
  std::unique_ptr<Encoder> encoder_;
  CheckpointTableBuilder table_;
  std::vector<std::byte> piece_;  // of the next frame
  std::uint64_t stream_offset_ = 0;
  std::uint64_t room_checked_at_ = 0;  // in the file
};

}  // namespace layerboot::layer
