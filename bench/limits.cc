// limits: what this machine can do at best, in the terms of fuse_load: bare copies and system calls on one
// thread.
#include <fcntl.h>
#include <liburing.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <functional>
#include <thread>

#include "bench/report.h"
#include "bench/sample_tree.h"
#include "bench/workload.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/mapping.h"

namespace layerboot::bench {
namespace {

constexpr std::size_t kKiB = 1024;
constexpr const char* kThreadsWork = "open-write-close-unlink-threads";
constexpr std::size_t kSlots = 4;  // as many places as requests in flight, over and over

struct Limit {
  const char* name;
  unsigned depth;
  std::size_t data_bytes;
  std::function<bool(std::uint64_t number)> once;  // false: it failed
};

double thread_cpu_us() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

Result<LoadResult> measure(const Limit& limit, unsigned milliseconds) {
  const auto run = [&](double budget_us, std::uint64_t& count) -> Result<double> {
    const double start = thread_cpu_us();
    double spent = 0;
    while (spent < budget_us) {
      for (unsigned i = 0; i < 16; ++i) {
        if (!limit.once(count++)) return errno_error(limit.name);
      }
      spent = thread_cpu_us() - start;
    }
    return spent;
  };
  std::uint64_t count = 0;
  LB_TRY(run(milliseconds * 250.0, count));
  count = 0;
  LB_ASSIGN(const double spent_us, run(milliseconds * 1000.0, count));
  LoadResult result;
  result.workload = limit.name;
  result.depth = limit.depth;
  result.cpu_us_per_operation = spent_us / static_cast<double>(count);
  result.operations_per_second = 1e6 / result.cpu_us_per_operation;
  result.megabytes_per_second = result.operations_per_second * static_cast<double>(limit.data_bytes) / 1e6;
  return result;
}

/// Memory as a guest's: shared, touched.
std::byte* shared_memory(std::size_t size_bytes) {
  void* const memory =
      ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<std::byte*>(memory);
}

/// A file that is made, written a page of and removed. False, with errno, where that fails.
bool live_shortly(int directory, std::uint64_t number, const std::byte* page) {
  const std::string name = str_cat("limit-", number);
  const UniqueFd made(::openat(directory, name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  return made && ::pwrite(made.get(), page, kPageBytes, 0) == static_cast<ssize_t>(kPageBytes) &&
         ::unlinkat(directory, name.c_str(), 0) == 0;
}

struct Bench {
  Sequence sequence{1};
  Mapping source;  // in huge pages, as decoded spans are
  std::byte* guest = shared_memory(8 * kKiB * kKiB);
  UniqueFd file;
  UniqueFd scratch;
  UniqueFd target;
  UniqueFd ping{::eventfd(0, EFD_CLOEXEC)};
  UniqueFd pong{::eventfd(0, EFD_CLOEXEC)};
  io_uring ring{};
  bool has_ring = false;

  std::uint64_t random_offset(std::size_t size) { return sequence.below(kBigFileBytes / size) * size; }
  /// Slot `number`'s memory in pieces of a page: neighbours, or every other page.
  std::vector<iovec> pages(std::uint64_t number, std::size_t size, bool scattered) const {
    std::byte* const base = guest + (number % kSlots) * size * (scattered ? 2 : 1);
    if (!scattered) return {{base, size}};
    std::vector<iovec> list;
    for (std::size_t at = 0; at < size; at += kPageBytes)
      list.push_back({base + 2 * (size - kPageBytes - at), kPageBytes});
    return list;
  }

  bool copy(std::uint64_t number, std::size_t size, bool scattered) {
    const std::byte* from = source.data() + random_offset(size);
    const std::size_t piece = scattered ? kPageBytes : size;
    std::byte* const base = guest + (number % kSlots) * size * (scattered ? 2 : 1);
    for (std::size_t at = 0; at < size; at += piece) {
      std::memcpy(scattered ? base + 2 * (size - piece - at) : base, from + at, piece);
    }
    return true;
  }
  bool read(std::uint64_t number, std::size_t size, bool scattered) {
    const auto list = pages(number, size, scattered);
    return ::preadv(file.get(), list.data(), static_cast<int>(list.size()),
                    static_cast<off_t>(random_offset(size))) == static_cast<ssize_t>(size);
  }
  bool overwrite(std::uint64_t number, std::size_t size) {
    const auto list = pages(number, size, false);
    const auto at = sequence.below(kTargetBytes / size) * size;
    return ::pwritev(target.get(), list.data(), 1, static_cast<off_t>(at)) == static_cast<ssize_t>(size);
  }
  bool short_life(std::uint64_t number) { return live_shortly(scratch.get(), number, guest); }
  bool uring_read(std::uint64_t number, std::size_t size) {
    io_uring_sqe* const sqe = ::io_uring_get_sqe(&ring);
    ::io_uring_prep_read(sqe, file.get(), guest + (number % kSlots) * size, static_cast<unsigned>(size),
                         random_offset(size));
    io_uring_cqe* cqe = nullptr;
    if (::io_uring_submit_and_wait(&ring, 1) < 0 || ::io_uring_wait_cqe(&ring, &cqe) < 0) return false;
    const bool whole = cqe->res == static_cast<int>(size);
    ::io_uring_cqe_seen(&ring, cqe);
    return whole;
  }
  bool ping_pong() {
    eventfd_t count = 0;
    return ::eventfd_write(ping.get(), 1) == 0 && ::eventfd_read(pong.get(), &count) == 0;
  }
};

std::vector<Limit> limits_of(Bench& b) {
  std::vector<Limit> list;
  for (const std::size_t size : {4 * kKiB, 128 * kKiB, 1024 * kKiB}) {
    list.push_back({size == 4 * kKiB     ? "memcpy-4k"
                    : size == 128 * kKiB ? "memcpy-128k"
                                         : "memcpy-1m",
                    1, size, [&b, size](std::uint64_t n) { return b.copy(n, size, false); }});
    list.push_back({size == 4 * kKiB     ? "preadv-4k"
                    : size == 128 * kKiB ? "preadv-128k"
                                         : "preadv-1m",
                    1, size, [&b, size](std::uint64_t n) { return b.read(n, size, false); }});
  }
  const std::size_t big = 128 * kKiB;
  list.push_back(
      {"memcpy-128k-scattered", 1, big, [&b, big](std::uint64_t n) { return b.copy(n, big, true); }});
  list.push_back(
      {"preadv-128k-scattered", 1, big, [&b, big](std::uint64_t n) { return b.read(n, big, true); }});
  if (b.has_ring) {
    list.push_back(
        {"io_uring-read-4k", 1, 4 * kKiB, [&b](std::uint64_t n) { return b.uring_read(n, 4 * kKiB); }});
  }
  list.push_back({"pwritev-128k", 1, big, [&b, big](std::uint64_t n) { return b.overwrite(n, big); }});
  list.push_back({"open-write-close-unlink", 1, 4 * kKiB, [&b](std::uint64_t n) { return b.short_life(n); }});
  list.push_back({"eventfd-ping-pong", 1, 0, [&b](std::uint64_t) { return b.ping_pong(); }});
  return list;
}

/// Files that are made, written and removed by so many threads, each in a directory of its own: what a host
/// lets two queues do side by side.
Result<LoadResult> measure_threads(int scratch, unsigned threads, unsigned milliseconds) {
  std::atomic<bool> is_over = false;
  std::atomic<std::uint64_t> count = 0;
  std::atomic<int> code = 0;
  std::vector<UniqueFd> directories;
  for (unsigned i = 0; i < threads; ++i) {
    const std::string name = str_cat("limits-", i);
    if (::mkdirat(scratch, name.c_str(), 0755) != 0 && errno != EEXIST) return errno_error(name);
    LB_ASSIGN(directories.emplace_back(), open_at(scratch, name, O_RDONLY | O_DIRECTORY));
  }
  const auto start = std::chrono::steady_clock::now();
  {
    std::vector<std::jthread> workers;
    for (const UniqueFd& directory : directories) {
      workers.emplace_back([&, fd = directory.get()] {
        const std::vector<std::byte> page(kPageBytes);
        for (std::uint64_t done = 0; !is_over; ++done, ++count) {
          if (live_shortly(fd, done, page.data())) continue;
          code = errno;
          return;
        }
      });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    is_over = true;
  }
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
  for (unsigned i = 0; i < threads; ++i) ::unlinkat(scratch, str_cat("limits-", i).c_str(), AT_REMOVEDIR);
  if (code != 0) return fail(code, kThreadsWork);
  LoadResult result;
  result.workload = kThreadsWork;
  result.depth = 1;
  result.queues = threads;
  result.operations_per_second = static_cast<double>(count) / spent.count();
  return result;
}

Result<void> run_threads(const std::filesystem::path& tree, const std::filesystem::path& json,
                         unsigned milliseconds) {
  LB_ASSIGN(const UniqueFd scratch, open_path(tree / "scratch", O_RDONLY | O_DIRECTORY));
  std::vector<LoadResult> results;
  for (const unsigned threads : {1U, 2U}) {
    LB_ASSIGN(results.emplace_back(), measure_threads(scratch.get(), threads, milliseconds));
    std::puts(table_line(results.back()).c_str());
  }
  if (!json.empty()) std::ofstream(json) << results_json("limits", results);
  return {};
}

Result<void> run(const std::filesystem::path& tree, const std::filesystem::path& json,
                 unsigned milliseconds) {
  Bench bench;
  if (bench.guest == nullptr) return errno_error("memory");
  LB_ASSIGN(bench.source, Mapping::anonymous(kBigFileBytes));
  std::memset(bench.source.data(), 1, kBigFileBytes);
  LB_ASSIGN(bench.file, open_path(tree / "big.bin", O_RDONLY));
  LB_ASSIGN(bench.scratch, open_path(tree / "scratch", O_RDONLY | O_DIRECTORY));
  LB_ASSIGN(bench.target, open_path(tree / "scratch" / "limits-target", O_RDWR | O_CREAT | O_TRUNC, 0644));
  LB_TRY(write_all(bench.target.get(), bench.source.bytes().first(kTargetBytes), 0));
  const int status = ::io_uring_queue_init(8, &bench.ring, 0);
  bench.has_ring = status == 0;
  if (!bench.has_ring)
    log_warn("no io_uring here (", Error{-status, {}}.describe(), "): its line is left out");
  std::jthread echo([&bench](const std::stop_token& stopped) {
    eventfd_t count = 0;
    while (::eventfd_read(bench.ping.get(), &count) == 0 && !stopped.stop_requested()) {
      ::eventfd_write(bench.pong.get(), 1);
    }
  });
  std::vector<LoadResult> results;
  Result<void> outcome;
  std::puts(table_heading().c_str());
  for (const Limit& limit : limits_of(bench)) {
    auto measured = measure(limit, milliseconds);
    if (!measured) {
      outcome = std::unexpected(measured.error());
      break;
    }
    results.push_back(*std::move(measured));
    std::puts(table_line(results.back()).c_str());
  }
  echo.request_stop();
  ::eventfd_write(bench.ping.get(), 1);
  echo.join();
  if (bench.has_ring) ::io_uring_queue_exit(&bench.ring);
  ::unlinkat(bench.scratch.get(), "limits-target", 0);
  if (!json.empty()) std::ofstream(json) << results_json("limits", results);
  return outcome;
}

}  // namespace
}  // namespace layerboot::bench

int main(int argc, char** argv) {
  using namespace layerboot;
  std::filesystem::path tree;
  std::filesystem::path json;
  unsigned milliseconds = 300;
  CLI::App app("Measures what this machine can do at best.", "limits");
  app.add_option("--tree", tree, "the sample tree")->required();
  app.add_option("--json", json, "write the results here, too");
  app.add_option("--milliseconds", milliseconds, "for each");
  bool threads = false;
  app.add_flag("--threads", threads, "what two threads can do beside one, alone");
  CLI11_PARSE(app, argc, argv);
  log_setup("limits", LogLevel::kInfo);
  const auto done =
      threads ? bench::run_threads(tree, json, milliseconds) : bench::run(tree, json, milliseconds);
  if (done) return 0;
  log_error(done.error().describe());
  return 1;
}
