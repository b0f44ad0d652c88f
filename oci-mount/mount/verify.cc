#include "oci-mount/mount/verify.h"

#include <fcntl.h>

#include <algorithm>
#include <memory>

#include "oci-mount/base/files.h"
#include "oci-mount/base/mapping.h"
#include "oci-mount/base/reactor.h"
#include "oci-mount/layer/identity.h"
#include "oci-mount/layer/layer.h"
#include "oci-mount/layer/span_reader.h"
#include "oci-mount/tree/tree_builder.h"

namespace layerboot::mount {

namespace {

constexpr std::size_t kMaxRangesListed = 20;

/// "" when both files hold the same bytes; else where they first differ.
Result<std::string> difference(const std::filesystem::path& kept, const std::filesystem::path& fresh) {
  LB_ASSIGN(const UniqueFd kept_fd, open_path(kept, O_RDONLY));
  LB_ASSIGN(const UniqueFd fresh_fd, open_path(fresh, O_RDONLY));
  LB_ASSIGN(const Mapping kept_map, Mapping::read_only(kept_fd.get()));
  LB_ASSIGN(const Mapping fresh_map, Mapping::read_only(fresh_fd.get()));
  const auto a = kept_map.bytes();
  const auto b = fresh_map.bytes();
  const auto at = std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
  if (static_cast<std::size_t>(at) == a.size() && a.size() == b.size()) return std::string();
  return str_cat("index ", kept.string(), " is wrong from byte ", at,
                 " on: remove it, it will be built again");
}

/// Decodes a layer's spans one after the other.
class SpanPass {
 public:
  SpanPass(std::shared_ptr<const layer::Layer> opened, std::unique_ptr<Reactor> reactor)
      : layer_(std::move(opened)), reader_({layer_}, cache_, workers_), reactor_(std::move(reactor)) {}

  void run(LayerVerdict& verdict) {
    const layer::CheckpointTable& checkpoints = layer_->index().checkpoints();
    for (std::uint32_t i = 0; i < checkpoints.span_count(); ++i) {
      const layer::SpanInfo span = checkpoints.span(i);
      ++verdict.spans;
      if (reads(span.stream_offset, span.size_bytes)) continue;
      note({span.blob_offset, span.blob_offset + span.blob_bytes, span.stream_offset,
            span.stream_offset + span.size_bytes});
    }
    report(verdict);
  }
  [[nodiscard]] bool found_something() const { return !wrong_.empty(); }

 private:
  struct Range {
    std::uint64_t blob_begin;
    std::uint64_t blob_end;
    std::uint64_t stream_begin;
    std::uint64_t stream_end;
  };

  bool reads(std::uint64_t stream_offset, std::size_t size_bytes) {
    buffer_.resize(std::max(buffer_.size(), size_bytes));
    const iovec slice{buffer_.data(), size_bytes};
    return reactor_->block_on(reader_.read(*reactor_, 0, stream_offset, std::span(&slice, 1))).has_value();
  }
  // Neighbours become one range. They may share the byte in which one ends and the other begins.
  void note(const Range& range) {
    if (!wrong_.empty() && wrong_.back().stream_end == range.stream_begin) {
      wrong_.back().blob_end = range.blob_end;
      wrong_.back().stream_end = range.stream_end;
    } else {
      wrong_.push_back(range);
    }
  }
  void report(LayerVerdict& verdict) const {
    for (std::size_t i = 0; i < std::min(wrong_.size(), kMaxRangesListed); ++i) {
      const Range& range = wrong_[i];
      verdict.findings.push_back(str_cat("bytes ", range.blob_begin, " to ", range.blob_end - 1,
                                         " of the blob do not decode to bytes ", range.stream_begin, " to ",
                                         range.stream_end - 1, " of the tar"));
    }
    if (wrong_.size() > kMaxRangesListed)
      verdict.findings.push_back(str_cat(wrong_.size() - kMaxRangesListed, " more such ranges"));
  }

  std::shared_ptr<const layer::Layer> layer_;
  layer::SpanCache cache_;
  WorkerPool workers_{2};
  layer::SpanReader reader_;
  std::unique_ptr<Reactor> reactor_;  // ends before the reader, with the prefetches left on it
  std::vector<std::byte> buffer_;
  std::vector<Range> wrong_;
};

}  // namespace

Result<LayerVerdict> verify_layer(const store::ImageLayer& image_layer,
                                  const std::filesystem::path& index_dir,
                                  const std::filesystem::path& scratch_dir, bool show_progress) {
  LayerVerdict verdict;
  verdict.layer = image_layer.blob.text();
  // Building an index is what checks size, digest and DiffID.
  const auto fresh =
      layer::open_layer(image_layer, {.index_dir = scratch_dir, .show_progress = show_progress});
  if (!fresh) verdict.findings.push_back(fresh.error().describe());
  const auto identity = layer::LayerIdentity::of_blob(image_layer.blob);
  const auto kept_path = index_dir / identity.index_file_name();
  const auto kept_index = layer::LayerIndex::open(kept_path, identity);
  const bool absent = !kept_index && kept_index.error().code == ENOENT;
  if (!kept_index && !absent) {
    verdict.findings.push_back(str_cat(kept_index.error().describe(), ": remove it, it will be built again"));
  } else if (kept_index && fresh) {
    LB_ASSIGN(const std::string wrong, difference(kept_path, scratch_dir / identity.index_file_name()));
    if (!wrong.empty()) verdict.findings.push_back(wrong);
  }
  std::shared_ptr<const layer::Layer> opened = fresh ? *fresh : nullptr;
  if (kept_index) {
    // The index is there and fits, so that this builds none.
    if (const auto kept = layer::open_layer(image_layer, {.index_dir = index_dir})) opened = *kept;
  }
  if (!opened) {
    if (absent)
      verdict.findings.emplace_back("no index was kept from when it was whole, so which bytes can't be said");
    return verdict;
  }
  verdict.stream_bytes = opened->index().stream_size_bytes();
  if (opened->index().compression() == store::Compression::kNone) {
    if (!fresh)
      verdict.findings.push_back(
          str_cat("bytes 0 to ", verdict.stream_bytes - 1, ", a plain tar, are one range"));
    return verdict;
  }
  LB_ASSIGN(auto reactor, Reactor::create());
  SpanPass pass(opened, std::move(reactor));
  pass.run(verdict);
  if (!fresh && !pass.found_something()) {
    verdict.findings.emplace_back(
        "every span decodes to its hash: the bytes at fault hold no files, but headers, "
        "checksums or what follows the compressed stream");
  }
  return verdict;
}

Result<std::string> verify_tree(const store::Image& image, const std::filesystem::path& index_dir,
                                const std::filesystem::path& scratch_dir) {
  LB_ASSIGN(const auto layers, layer::open_layers(image, {}, {.index_dir = scratch_dir}));
  LB_TRY(tree::open_tree(layers, scratch_dir));
  const std::string key = layer::layers_key(layers);
  const auto kept = tree::tree_path(index_dir, key);
  std::error_code ignored;
  if (!std::filesystem::exists(kept, ignored)) return std::string();
  return difference(kept, tree::tree_path(scratch_dir, key));
}

}  // namespace layerboot::mount
