// What the layer store costs: indexing, cold reads, opening, and the programs that use it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"
#include "oci-mount/store/image.h"

namespace layerboot::bench {

/// Seconds by the clock and of processor time.
struct Cost {
  double wall_s = 0;
  double cpu_s = 0;
};

struct IndexBuild {
  std::uint64_t blob_bytes = 0;
  std::uint64_t stream_bytes = 0;
  std::uint64_t index_bytes = 0;
  Cost decode;  // zlib alone, one thread
  Cost hash;    // sha256 of both sides alone, one thread
  Cost ours;
};
/// The best of `rounds`, in alternation, of a gzip layer that is in the page cache.
Result<IndexBuild> measure_index_build(const store::ImageLayer& layer, unsigned rounds,
                                       const std::filesystem::path& scratch);

struct ColdReads {
  double mean_ms = 0;
  double p50_ms = 0;
  double p99_ms = 0;
};
/// 4 KiB at random places of a gzip layer, each out of a span that is not cached; the blob is in the page
/// cache.
Result<ColdReads> measure_cold_reads(const store::ImageLayer& layer, unsigned reads,
                                     const std::filesystem::path& index_dir);

struct Opening {
  double best_ms = 0;
  double median_ms = 0;
  std::size_t nodes = 0;  // files, directories and all
};
/// Of an image whose indexes are there, up to where its files can be read.
Result<Opening> measure_opening(const std::string& reference, unsigned rounds, const StateDirs& dirs);

/// A program run to its end, its output thrown away: the best of `rounds`.
Result<Cost> measure_program(const std::vector<std::string>& words, unsigned rounds);

/// Peak of resident memory of `oci-mount mount` while all of the image is read through it.
Result<std::uint64_t> measure_reading_rss(const std::string& oci_mount, const std::string& reference,
                                          const std::filesystem::path& scratch);

}  // namespace layerboot::bench
