#include "oci-mount/layer/span_reader.h"

#include <algorithm>
#include <array>
#include <atomic>

#include "oci-mount/base/io_slices.h"
#include "oci-mount/base/log.h"
#include "oci-mount/layer/checked_spans.h"
#include "oci-mount/layer/layer.h"
#include "oci-mount/layer/plain_read.h"
#include "oci-mount/layer/span_codec.h"
#include "oci-mount/layer/stream_hash.h"

namespace layerboot::layer {

namespace {

/// Knows a reader that goes on where it, or one of the last few others, stopped.
class SequentialWatch {
 public:
  /// Notes a read of [offset, end); true when it goes on from an earlier one.
  bool note(std::uint64_t offset, std::uint64_t end) {
    for (auto& expected : ends_) {
      if (expected.load(std::memory_order_relaxed) != offset) continue;
      expected.store(end, std::memory_order_relaxed);
      return true;
    }
    ends_[next_.fetch_add(1, std::memory_order_relaxed) % ends_.size()].store(end, std::memory_order_relaxed);
    return false;
  }
  /// Whether note() of a read from `offset` on would be true.
  [[nodiscard]] bool goes_on_from(std::uint64_t offset) const {
    return std::ranges::any_of(
        ends_, [&](const auto& expected) { return expected.load(std::memory_order_relaxed) == offset; });
  }

 private:
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};
  std::array<std::atomic<std::uint64_t>, 8> ends_{kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone};
  std::atomic<unsigned> next_{0};
};

/// A read of a blob, for as long as it is under way.
class CountedRead {
 public:
  explicit CountedRead(ReadsUnderWay& reads) : reads_(reads) { reads_.begin(); }
  CountedRead(const CountedRead&) = delete;
  CountedRead& operator=(const CountedRead&) = delete;
  ~CountedRead() { reads_.end(); }
  void answered() { reads_.answered(); }

 private:
  ReadsUnderWay& reads_;
};

}  // namespace

struct SpanReader::LayerState {
  explicit LayerState(std::shared_ptr<const Layer> of)
      : layer(std::move(of)), checked(plain() ? layer->index().checkpoints().span_count() : 0) {}

  std::shared_ptr<const Layer> layer;
  CheckedSpans checked;  // of a plain tar
  SequentialWatch sequential;
  std::atomic<bool> reported{false};

  [[nodiscard]] bool holds(std::uint64_t offset, std::size_t size_bytes) const {
    const auto end = layer->index().stream_size_bytes();
    return offset <= end && size_bytes <= end - offset;
  }
  [[nodiscard]] bool plain() const { return layer->index().compression() == store::Compression::kNone; }
};

namespace {

/// What decoding the span takes: its stored bytes beside its own.
std::uint64_t in_flight_bytes(const CheckpointTable& spans, std::uint32_t number) {
  const SpanInfo info = spans.span(number);
  return std::uint64_t{info.blob_bytes} + info.size_bytes;
}

}  // namespace

SpanReader::SpanReader(std::vector<std::shared_ptr<const Layer>> layers, SpanCache& cache,
                       WorkerPool& workers)
    : cache_(cache), workers_(workers) {
  for (auto& layer : layers) {
    layers_.push_back(std::make_unique<LayerState>(std::move(layer)));
  }
}

SpanReader::~SpanReader() = default;

bool SpanReader::try_read(LayerNumber layer, std::uint64_t stream_offset, std::span<const iovec> into) {
  if (layer >= layers_.size()) return false;
  LayerState& state = *layers_[layer];
  const std::size_t wanted = total_bytes(into);
  if (!state.holds(stream_offset, wanted)) return false;
  if (state.plain()) {
    if (!state.checked.are_checked(stream_offset, stream_offset + wanted)) return false;
    const store::Blob& blob = state.layer->blob();
    return read_plain_now(blob.fd(), blob.fd_offset() + stream_offset, into, wanted);
  }
  const CheckpointTable& checkpoints = state.layer->index().checkpoints();
  std::size_t done = 0;
  std::uint32_t number = 0;
  while (done < wanted) {
    const std::uint64_t at = stream_offset + done;
    number = checkpoints.find(at);
    const SpanPtr span = cache_.find({state.layer->number(), number});
    if (!span) return false;
    const auto bytes = span->bytes().subspan(at - checkpoints.span(number).stream_offset);
    done += copy_into_slices(into, done, bytes.first(std::min(bytes.size(), wanted - done)));
  }
  if (wants_prefetch(state, stream_offset, number)) return false;
  state.sequential.note(stream_offset, stream_offset + wanted);
  return true;
}

/// Once for each span that a sequential reader enters: read() then prefetches, also where all that is read is
/// here. What comes is `last_span` at the read's end.
bool SpanReader::wants_prefetch(const LayerState& state, std::uint64_t stream_offset,
                                std::uint32_t last_span) {
  const CheckpointTable& checkpoints = state.layer->index().checkpoints();
  if (stream_offset == 0 || checkpoints.find(stream_offset - 1) == last_span) return false;
  if (!state.sequential.goes_on_from(stream_offset)) return false;
  const std::uint32_t end = std::min(last_span + 1 + kPrefetchSpans, checkpoints.span_count());
  for (std::uint32_t ahead = last_span + 1; ahead < end; ++ahead) {
    if (!cache_.is_here_or_coming({state.layer->number(), ahead})) return true;
  }
  return false;
}

Task<Result<void>> SpanReader::read(Reactor& reactor, LayerNumber layer, std::uint64_t stream_offset,
                                    std::span<const iovec> into) {
  if (layer >= layers_.size()) co_return fail(EINVAL, "no layer ", layer);
  LayerState& state = *layers_[layer];
  if (!state.holds(stream_offset, total_bytes(into))) {
    co_return fail(EINVAL, "a read beyond the end of ", state.layer->blob().name());
  }
  auto task = state.plain() ? read_plain(reactor, state, stream_offset, into)
                            : read_spans(reactor, state, stream_offset, into);
  auto done = co_await std::move(task);
  if (!done) report(state, done.error());
  co_return done;
}

/// Once a blob: a damaged one would fill the log.
void SpanReader::report(LayerState& state, const Error& error) {
  if (state.reported.exchange(true, std::memory_order_relaxed)) return;
  log_error(state.layer->blob().name(), ": ", error.describe(),
            "; the image's store changed under us or its disk fails: fetch the image again");
}

Task<Result<void>> SpanReader::read_plain(Reactor& reactor, LayerState& state, std::uint64_t stream_offset,
                                          std::span<const iovec> into) {
  const std::uint64_t end = stream_offset + total_bytes(into);
  while (!state.checked.are_checked(stream_offset, end)) {
    const std::uint32_t number = state.checked.first_unchecked(stream_offset, end);
    auto checked = co_await check_plain(reactor, state, number);
    if (!checked) co_return checked;
  }
  auto done = co_await read_blob(reactor, state, stream_offset, into);
  co_return done;
}

/// Into memory of our own: the caller's may change meanwhile.
Task<Result<void>> SpanReader::check_plain(Reactor& reactor, LayerState& state, std::uint32_t number) {
  const SpanInfo info = state.layer->index().checkpoints().span(number);
  const auto charge = co_await cache_.budget().spans().acquire(reactor, info.size_bytes);
  const Buffer bytes(info.size_bytes);
  const iovec slice{bytes.bytes().data(), info.size_bytes};
  auto read = co_await read_blob(reactor, state, info.blob_offset, std::span(&slice, 1));
  if (!read) co_return read;
  auto checked = check_span(info, bytes.bytes());
  if (checked) state.checked.set_checked(number);
  co_return checked;
}

/// All of `into`, from the blob's byte `blob_offset` on.
Task<Result<void>> SpanReader::read_blob(Reactor& reactor, LayerState& state, std::uint64_t blob_offset,
                                         std::span<const iovec> into) {
  const std::size_t wanted = total_bytes(into);
  const store::Blob& blob = state.layer->blob();
  CountedRead counted(blob_reads_);
  std::size_t done = 0;
  std::vector<iovec> rest;  // used only after a short read
  while (done < wanted) {
    if (done != 0) rest = sub_slices(into, done, wanted - done);
    const std::span<const iovec> slices = done == 0 ? into : std::span<const iovec>(rest);
    auto got = co_await blob.read_at(reactor, blob_offset + done, slices);
    counted.answered();
    if (!got) co_return fail(EIO, got.error().describe());
    if (*got == 0) co_return fail(EIO, "it ends early, at byte ", blob_offset + done);
    done += *got;
  }
  co_return Result<void>();
}

Task<Result<void>> SpanReader::read_spans(Reactor& reactor, LayerState& state, std::uint64_t stream_offset,
                                          std::span<const iovec> into) {
  const CheckpointTable& checkpoints = state.layer->index().checkpoints();
  const std::size_t wanted = total_bytes(into);
  std::size_t done = 0;
  std::uint32_t number = 0;
  while (done < wanted) {
    const std::uint64_t at = stream_offset + done;
    number = checkpoints.find(at);
    auto span = co_await load_span(reactor, state, number);
    if (!span) co_return std::unexpected(span.error());
    const auto bytes = (*span)->bytes().subspan(at - checkpoints.span(number).stream_offset);
    done += copy_into_slices(into, done, bytes.first(std::min(bytes.size(), wanted - done)));
  }
  if (state.sequential.note(stream_offset, stream_offset + wanted)) prefetch(reactor, state, number + 1);
  co_return Result<void>();
}

Task<Result<SpanPtr>> SpanReader::load_span(Reactor& reactor, LayerState& state, std::uint32_t number) {
  const SpanKey key{state.layer->number(), number};
  auto held = co_await cache_.acquire(reactor, key);
  if (!held || *held) co_return held;
  // Whoever waits here, or for the span, has no other: see BytesInFlight.
  auto charge = co_await cache_.budget().spans().acquire(
      reactor, in_flight_bytes(state.layer->index().checkpoints(), number));
  auto made = co_await make_span(reactor, state, number, std::move(charge));
  co_return made;
}

Task<Result<SpanPtr>> SpanReader::make_span(Reactor& reactor, LayerState& state, std::uint32_t number,
                                            BytesInFlight::Charge charge) {
  auto made = co_await decode(reactor, state, number, std::move(charge));
  cache_.finish({state.layer->number(), number}, made);
  co_return made;
}

Task<Result<std::shared_ptr<DecodedSpan>>> SpanReader::decode(Reactor& reactor, LayerState& state,
                                                              std::uint32_t number,
                                                              BytesInFlight::Charge charge) {
  const SpanInfo info = state.layer->index().checkpoints().span(number);
  const Buffer compressed(info.blob_bytes);
  const iovec slice{compressed.bytes().data(), info.blob_bytes};
  auto read = co_await read_blob(reactor, state, info.blob_offset, std::span(&slice, 1));
  if (!read) co_return std::unexpected(read.error());
  // `charge` goes on to pay for the stored bytes, and ends after them.
  auto decoded = cache_.make(info.size_bytes, charge.split(info.size_bytes));
  Result<void> outcome;
  auto work = [&] { outcome = decode_span(info, compressed.bytes(), decoded->bytes()); };
  co_await workers_.run(reactor, work);
  if (!outcome) co_return fail(EIO, outcome.error().describe());
  co_return decoded;
}

void SpanReader::prefetch(Reactor& reactor, LayerState& state, std::uint32_t first_span) {
  const std::uint32_t end =
      std::min(first_span + kPrefetchSpans, state.layer->index().checkpoints().span_count());
  for (std::uint32_t number = first_span; number < end; ++number) {
    const SpanKey key{state.layer->number(), number};
    if (cache_.find(key)) continue;
    auto charge =
        cache_.budget().spans().try_acquire(in_flight_bytes(state.layer->index().checkpoints(), number));
    if (!charge) return;
    if (!cache_.claim(key)) continue;
    // An error is not lost: who needs the span will meet it.
    start(make_span(reactor, state, number, std::move(charge)),
          [hold = Reactor::Hold(reactor)](const Result<SpanPtr>&) {});
  }
}

}  // namespace layerboot::layer
