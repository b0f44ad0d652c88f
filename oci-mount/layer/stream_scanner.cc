#include "oci-mount/layer/stream_scanner.h"

#include <utility>

namespace layerboot::layer {

Result<std::unique_ptr<StreamScanner>> StreamScanner::create(store::Compression compression, StreamSink& sink,
                                                             FileAppender& recut) {
  LB_ASSIGN(auto decoder, store::StreamDecoder::create(compression));
  LB_ASSIGN(auto writer, RecutWriter::create(recut));
  return std::unique_ptr<StreamScanner>(new StreamScanner(sink, std::move(decoder), std::move(writer)));
}

Result<void> StreamScanner::push(std::span<const std::byte> blob_bytes) {
  std::span<std::byte> room;
  return decoder_->decode_all(
      blob_bytes, [&] { return room = sink_.room(); },
      [&](std::size_t size_bytes) -> Result<void> {
        LB_TRY(recut_->append(room.first(size_bytes)));
        return sink_.take(size_bytes);
      });
}

Result<void> StreamScanner::finish() {
  LB_TRY(decoder_->finish());
  return recut_->finish();
}

}  // namespace layerboot::layer
