#include "bench/layer_measures.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <charconv>
#include <ctime>
#include <fstream>
#include <random>

#include "oci-mount/base/exec_pointers.h"
#include "oci-mount/base/files.h"
#include "oci-mount/layer/layer.h"
#include "oci-mount/layer/span_reader.h"
#include "oci-mount/vfs/image_source.h"

namespace layerboot::bench {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPieceBytes = 1U << 20U;
constexpr std::size_t kReadBytes = 4096;
constexpr double kNanosPerSecond = 1e9;
constexpr double kMillisPerSecond = 1e3;
/// A span is kept only where it is at most an eighth of the cache: none is in this one.
constexpr std::size_t kNoCacheBytes = 64U << 10U;
constexpr int kMaxMountTries = 100;
constexpr useconds_t kMountTryInterval = 50'000;

double clock_seconds(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / kNanosPerSecond;
}

/// Wall time, and that of all threads of this process, since it was made.
class Stopwatch {
 public:
  [[nodiscard]] Cost stop() const {
    return {clock_seconds(CLOCK_MONOTONIC) - wall_, clock_seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_};
  }

 private:
  double wall_ = clock_seconds(CLOCK_MONOTONIC);
  double cpu_ = clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
};

Cost best_of(const Cost& a, const Cost& b) {
  if (a.wall_s == 0) return b;
  return {std::min(a.wall_s, b.wall_s), std::min(a.cpu_s, b.cpu_s)};
}

class Inflater {
 public:
  Inflater() { ::inflateInit2(&stream_, 15 + 32); }
  ~Inflater() { ::inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  /// Calls `use` with each piece of output.
  template <typename Use>
  Result<void> push(std::span<std::byte> bytes, const Use& use) {
    stream_.next_in = reinterpret_cast<Bytef*>(bytes.data());
    stream_.avail_in = static_cast<uInt>(bytes.size());
    while (stream_.avail_in != 0 || stream_.avail_out == 0) {
      stream_.next_out = reinterpret_cast<Bytef*>(out_.data());
      stream_.avail_out = static_cast<uInt>(out_.size());
      const int code = ::inflate(&stream_, Z_NO_FLUSH);
      if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) return fail(EBADMSG, "inflate");
      use(std::span<const std::byte>(out_).first(out_.size() - stream_.avail_out));
      if (code == Z_STREAM_END) ::inflateReset(&stream_);
      if (code == Z_BUF_ERROR) break;
    }
    return {};
  }

 private:
  z_stream stream_{};
  std::vector<std::byte> out_ = std::vector<std::byte>(kPieceBytes);
};

template <typename Use>
Result<void> for_each_piece(const store::Blob& blob, const Use& use) {
  std::vector<std::byte> piece(kPieceBytes);
  for (std::uint64_t at = 0; at < blob.size_bytes();) {
    LB_ASSIGN(const std::size_t got, blob.read_blocking(at, piece));
    if (got == 0) return fail(EBADMSG, blob.name(), " ends early");
    LB_TRY(use(std::span(piece).first(got)));
    at += got;
  }
  return {};
}

Result<Cost> time_decoding(const store::Blob& blob) {
  Inflater inflater;
  const Stopwatch watch;
  LB_TRY(for_each_piece(blob, [&](std::span<std::byte> piece) {
    return inflater.push(piece, [](std::span<const std::byte>) {});
  }));
  return watch.stop();
}

/// The time of hashing alone: what is hashed is decoded with the clock stopped.
Result<Cost> time_hashing(const store::Blob& blob) {
  LB_ASSIGN(auto stored, store::Hasher::create(store::HashAlgorithm::kSha256));
  LB_ASSIGN(auto unpacked, store::Hasher::create(store::HashAlgorithm::kSha256));
  Inflater inflater;
  Cost sum;
  const auto timed = [&](store::Hasher& hasher, std::span<const std::byte> bytes) {
    const Stopwatch watch;
    hasher.update(bytes);
    const Cost cost = watch.stop();
    sum.wall_s += cost.wall_s;
    sum.cpu_s += cost.cpu_s;
  };
  LB_TRY(for_each_piece(blob, [&](std::span<std::byte> piece) {
    timed(stored, piece);
    return inflater.push(piece, [&](std::span<const std::byte> bytes) { timed(unpacked, bytes); });
  }));
  return sum;
}

pid_t start(const std::vector<std::string>& words) {
  const auto argv = exec_pointers(words);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  pid_t pid = -1;
  if (::posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ) != 0) pid = -1;
  ::posix_spawn_file_actions_destroy(&actions);
  return pid;
}

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

/// Reads every file below; gives how many.
std::size_t read_all_files(const fs::path& directory) {
  std::vector<char> buffer(kPieceBytes);
  std::size_t files = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator at(directory, error), end; !error && at != end; at.increment(error)) {
    if (!at->is_regular_file(error) || at->is_symlink(error)) continue;
    std::ifstream file(at->path(), std::ios::binary);
    while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size()))) {
    }
    ++files;
  }
  return files;
}

Result<std::uint64_t> peak_rss(pid_t pid) {
  LB_ASSIGN(const std::string status, read_file(str_cat("/proc/", pid, "/status"), kPieceBytes));
  constexpr std::string_view kLine = "VmHWM:";
  const auto line = status.find(kLine);
  if (line == std::string::npos) return fail(EINVAL, "/proc says nothing of the peak of memory");
  const auto digits = status.find_first_of("0123456789", line);
  std::uint64_t kib = 0;
  std::from_chars(status.data() + digits, status.data() + status.size(), kib);
  return kib * 1024;
}

bool is_mounted(const fs::path& directory) {
  std::error_code ignored;
  return fs::exists(directory / "usr", ignored);
}

}  // namespace

Result<IndexBuild> measure_index_build(const store::ImageLayer& layer, unsigned rounds,
                                       const fs::path& scratch) {
  IndexBuild best;
  LB_ASSIGN(const auto blob, store::open_blob(layer));
  for (unsigned round = 0; round < rounds; ++round) {
    LB_ASSIGN(const Cost decode, time_decoding(*blob));
    LB_ASSIGN(const Cost hash, time_hashing(*blob));
    const auto index_dir = scratch / str_cat("build-", round);
    const Stopwatch watch;
    LB_ASSIGN(const auto opened, layer::open_layer(layer, {.index_dir = index_dir}));
    best.ours = best_of(best.ours, watch.stop());
    best.decode = best_of(best.decode, decode);
    best.hash = best_of(best.hash, hash);
    best.blob_bytes = opened->index().blob_size_bytes();
    best.stream_bytes = opened->index().stream_size_bytes();
    best.index_bytes = opened->index().file_size_bytes();
    fs::remove_all(index_dir);
  }
  return best;
}

Result<ColdReads> measure_cold_reads(const store::ImageLayer& image_layer, unsigned reads,
                                     const fs::path& index_dir) {
  LB_ASSIGN(const auto layer, layer::open_layer(image_layer, {.index_dir = index_dir}));
  MemoryBudget budget;
  layer::SpanCache cache(budget, kNoCacheBytes);
  WorkerPool workers(2);
  layer::SpanReader reader({layer}, cache, workers);
  LB_ASSIGN(const auto reactor, Reactor::create());
  std::mt19937_64 random(1);
  std::vector<std::byte> buffer(kReadBytes);
  std::vector<double> taken_ms;
  double sum_ms = 0;
  for (unsigned i = 0; i < reads; ++i) {
    const std::uint64_t offset = random() % (layer->index().stream_size_bytes() / kReadBytes) * kReadBytes;
    const iovec slice{buffer.data(), buffer.size()};
    const Stopwatch watch;
    LB_TRY(reactor->block_on(reader.read(*reactor, 0, offset, std::span(&slice, 1))));
    taken_ms.push_back(watch.stop().wall_s * kMillisPerSecond);
    sum_ms += taken_ms.back();
  }
  std::sort(taken_ms.begin(), taken_ms.end());
  return ColdReads{sum_ms / reads, taken_ms[reads / 2], taken_ms[reads * 99UL / 100]};
}

Result<Opening> measure_opening(const std::string& reference, unsigned rounds, const StateDirs& dirs) {
  std::vector<double> taken_ms;
  std::size_t nodes = 0;
  vfs::ImageSourceOptions options;
  options.dirs = dirs;
  for (unsigned round = 0; round < rounds; ++round) {
    const Stopwatch watch;
    LB_ASSIGN(const auto source, vfs::open_image_source(reference, options));
    taken_ms.push_back(watch.stop().wall_s * kMillisPerSecond);
    nodes = source->tree->node_count();
  }
  std::sort(taken_ms.begin(), taken_ms.end());
  return Opening{taken_ms.front(), taken_ms[rounds / 2], nodes};
}

Result<Cost> measure_program(const std::vector<std::string>& words, unsigned rounds) {
  Cost best;
  for (unsigned round = 0; round < rounds; ++round) {
    const double begin = clock_seconds(CLOCK_MONOTONIC);
    const pid_t pid = start(words);
    int status = 0;
    rusage usage{};
    if (pid < 0 || ::wait4(pid, &status, 0, &usage) < 0 || status != 0)
      return fail(EIO, words[0], " could not be run to its end");
    best = best_of(best, {clock_seconds(CLOCK_MONOTONIC) - begin,
                          seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime)});
  }
  return best;
}

Result<std::uint64_t> measure_reading_rss(const std::string& oci_mount, const std::string& reference,
                                          const fs::path& scratch) {
  const fs::path mountpoint = scratch / "mnt";
  fs::create_directories(mountpoint);
  const pid_t pid = start({oci_mount, "mount", "-q", "--foreground", reference, mountpoint.string()});
  if (pid < 0) return fail(EIO, "cannot start ", oci_mount);
  for (int i = 0; i < kMaxMountTries && !is_mounted(mountpoint); ++i) ::usleep(kMountTryInterval);
  const bool mounted = is_mounted(mountpoint);
  const std::size_t files = mounted ? read_all_files(mountpoint) : 0;
  const auto peak = peak_rss(pid);
  ::kill(pid, SIGTERM);
  ::waitpid(pid, nullptr, 0);
  if (files == 0) return fail(EIO, "nothing could be read of ", reference, " on ", mountpoint.string());
  return peak;
}

}  // namespace layerboot::bench
