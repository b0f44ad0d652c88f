#include "oci-mount/mount/verify.h"

#include <fcntl.h>

#include <algorithm>
#include <memory>

#include "oci-mount/base/files.h"
#include "oci-mount/base/mapping.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/reactor.h"
#include "oci-mount/layer/identity.h"
#include "oci-mount/layer/layer.h"
#include "oci-mount/layer/span_reader.h"
#include "oci-mount/tree/tree_builder.h"

namespace layerboot::mount {

namespace {

constexpr std::size_t kMaxRangesListed = 20;
constexpr std::size_t kReadBytes = 1U << 20U;

/// "" when both files hold the same bytes; else where they first differ. `what` begins the line.
Result<std::string> difference(std::string_view what, const std::filesystem::path& kept,
                               const std::filesystem::path& fresh) {
  LB_ASSIGN(const UniqueFd kept_fd, open_path(kept, O_RDONLY));
  LB_ASSIGN(const UniqueFd fresh_fd, open_path(fresh, O_RDONLY));
  LB_ASSIGN(const Mapping kept_map, Mapping::read_only(kept_fd.get()));
  LB_ASSIGN(const Mapping fresh_map, Mapping::read_only(fresh_fd.get()));
  const auto a = kept_map.bytes();
  const auto b = fresh_map.bytes();
  const auto at = std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
  if (static_cast<std::size_t>(at) == a.size() && a.size() == b.size()) return std::string();
  return str_cat(what, " ", kept.string(), " is wrong from byte ", at,
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
    const std::string_view source = layer_->index().recut_size_bytes() != 0 ? "recut file" : "blob";
    for (std::size_t i = 0; i < std::min(wrong_.size(), kMaxRangesListed); ++i) {
      const Range& range = wrong_[i];
      verdict.findings.push_back(str_cat("bytes ", range.blob_begin, " to ", range.blob_end - 1, " of the ",
                                         source, " do not decode to bytes ", range.stream_begin, " to ",
                                         range.stream_end - 1, " of the tar"));
    }
    if (wrong_.size() > kMaxRangesListed)
      verdict.findings.push_back(str_cat(wrong_.size() - kMaxRangesListed, " more such ranges"));
  }

  std::shared_ptr<const layer::Layer> layer_;
  MemoryBudget budget_;
  layer::SpanCache cache_{budget_};
  WorkerPool workers_{2};
  layer::SpanReader reader_;
  std::unique_ptr<Reactor> reactor_;  // ends before the reader, with the prefetches left on it
  std::vector<std::byte> buffer_;
  std::vector<Range> wrong_;
};

/// Of a directory nothing is known but what it has now: that all of it can be read.
Result<void> read_files(const layer::Layer& opened, LayerVerdict& verdict) {
  LB_ASSIGN(const layer::EntryTable entries, opened.index().load_entries());
  std::vector<std::byte> buffer(kReadBytes);
  std::size_t unreadable = 0;
  for (std::uint32_t i = 0; i < entries.entry_count(); ++i) {
    for (const layer::Extent& extent : entries.entry(i).extents) {
      for (std::uint64_t done = 0; done < extent.length_bytes;) {
        const auto wanted =
            static_cast<std::size_t>(std::min<std::uint64_t>(kReadBytes, extent.length_bytes - done));
        const auto got =
            opened.blob().read_blocking(extent.stream_offset + done, std::span(buffer).first(wanted));
        if (got && *got != 0) {
          done += *got;
          continue;
        }
        if (++unreadable <= kMaxRangesListed)
          verdict.findings.push_back(got ? str_cat(printable(entries.entry(i).path), ": ends before its size")
                                         : got.error().describe());
        break;
      }
    }
  }
  if (unreadable > kMaxRangesListed)
    verdict.findings.push_back(str_cat(unreadable - kMaxRangesListed, " more such files"));
  return {};
}

/// What is kept of a layer, beside what was built anew.
struct KeptIndex {
  bool is_there = false;
  bool fits = false;
};

Result<KeptIndex> compare_kept(const layer::LayerIdentity& identity, const std::filesystem::path& index_dir,
                               const std::filesystem::path& scratch_dir, bool is_fresh_there,
                               LayerVerdict& verdict) {
  const auto path = index_dir / identity.index_file_name();
  const auto index = layer::LayerIndex::open(path, identity);
  if (!index) {
    if (index.error().code == ENOENT) return KeptIndex{};
    verdict.findings.push_back(str_cat(index.error().describe(), ": remove it, it will be built again"));
    return KeptIndex{true, false};
  }
  if (!is_fresh_there) return KeptIndex{true, true};
  const auto fresh_path = scratch_dir / identity.index_file_name();
  LB_ASSIGN(const std::string wrong, difference("index", path, fresh_path));
  if (!wrong.empty()) verdict.findings.push_back(wrong);
  const auto recut = layer::recut_path(path);
  std::error_code ignored;
  if (index->recut_size_bytes() != 0 && std::filesystem::exists(recut, ignored)) {
    LB_ASSIGN(const std::string recut_wrong, difference("recut file", recut, layer::recut_path(fresh_path)));
    if (!recut_wrong.empty()) verdict.findings.push_back(recut_wrong);
  }
  return KeptIndex{true, true};
}

/// Which bytes of a blob are wrong; `is_whole`: whether the blob is what it is to be.
Result<void> check_spans(const std::shared_ptr<const layer::Layer>& opened, bool is_whole, IoEngine engine,
                         LayerVerdict& verdict) {
  LB_ASSIGN(auto reactor, Reactor::create(engine));
  SpanPass pass(opened, std::move(reactor));
  pass.run(verdict);
  if (is_whole || pass.found_something()) return {};
  verdict.findings.emplace_back(opened->index().recut_size_bytes() != 0
                                    ? "the recut file beside its index is whole, and serves the layer: which "
                                      "bytes of the blob are wrong "
                                      "can't be said, as its frames are not read one by one"
                                    : "every span has its hash: the bytes at fault hold no files, but "
                                      "headers, checksums or what "
                                      "follows the compressed stream");
  return {};
}

}  // namespace

Result<LayerVerdict> verify_layer(const store::ImageLayer& image_layer,
                                  const std::filesystem::path& index_dir,
                                  const std::filesystem::path& scratch_dir, bool show_progress,
                                  IoEngine engine) {
  LayerVerdict verdict;
  verdict.layer =
      image_layer.is_directory ? str_cat("dir:", image_layer.path.string()) : image_layer.blob.text();
  // Building an index is what checks size, digest and DiffID.
  const auto fresh =
      layer::open_layer(image_layer, {.index_dir = scratch_dir, .show_progress = show_progress});
  if (!fresh) verdict.findings.push_back(fresh.error().describe());
  if (!fresh && image_layer.is_directory) return verdict;
  const auto identity =
      image_layer.is_directory ? (*fresh)->identity() : layer::LayerIdentity::of_blob(image_layer.blob);
  LB_ASSIGN(const KeptIndex kept, compare_kept(identity, index_dir, scratch_dir, fresh.has_value(), verdict));
  std::shared_ptr<const layer::Layer> opened = fresh ? *fresh : nullptr;
  if (kept.fits && !image_layer.is_directory) {
    // The index is there and fits, so that this builds none.
    if (const auto from_kept = layer::open_layer(image_layer, {.index_dir = index_dir})) opened = *from_kept;
  }
  if (!opened) {
    if (!kept.is_there)
      verdict.findings.emplace_back("no index was kept from when it was whole, so which bytes can't be said");
    return verdict;
  }
  verdict.stream_bytes = opened->index().stream_size_bytes();
  if (image_layer.is_directory) {
    LB_TRY(read_files(*opened, verdict));
  } else {
    LB_TRY(check_spans(opened, fresh.has_value(), engine, verdict));
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
  return difference("index", kept, tree::tree_path(scratch_dir, key));
}

}  // namespace layerboot::mount
