// upper_costs: what a start on an upper of many files costs, and what its objects take in memory. In this
// process, without a guest. Prints Markdown.
//
//   upper_costs DIRECTORY [--before-start COMMAND]    DIRECTORY is made, and removed in the end
//
// COMMAND may take the host's caches away, as `umount DISK; mount DISK` does where DIRECTORY is on a disk of
// its own: then the starts are cold.
#include <malloc.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "bench/growth_image.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/str_cat.h"
#include "oci-mount/vfs/image_fs.h"

namespace layerboot::bench {
namespace {

constexpr unsigned kFilesPerDirectory = 1000;
constexpr std::size_t kFileBytes = 100;

struct Wishes {
  std::filesystem::path directory;
  std::string before_start;
  unsigned files = 200'000;
  unsigned rounds = 5;
};

/// Of the heap, in use.
std::uint64_t heap_bytes() {
  const auto info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

class Upper {
 public:
  explicit Upper(const Wishes& wishes) : wishes_(wishes) {}

  Result<void> prepare() {
    make_growth_image(wishes_.directory / "image", {.files = wishes_.files / 10, .layers = 1});
    vfs::ImageSourceOptions options;
    options.index_dir = wishes_.directory / "index";
    options.show_progress = false;
    options.memory_limit_bytes = std::uint64_t{4} << 30;
    LB_ASSIGN(source_, vfs::open_image_source("oci:" + (wishes_.directory / "image").string(), options));
    LB_ASSIGN(reactor_, Reactor::create());
    return {};
  }
  /// Seconds that it took.
  Result<double> start() {
    fs_.reset();
    if (!wishes_.before_start.empty() && std::system(wishes_.before_start.c_str()) != 0) {
      return fail(EINVAL, wishes_.before_start, ": it fails");
    }
    vfs::UpperOptions options;
    options.directory = wishes_.directory / "vm";
    options.quota_bytes = std::uint64_t{16} << 30;
    options.quota_inodes = 4 * wishes_.files;
    return timed([&]() -> Result<void> {
      LB_ASSIGN(fs_, vfs::make_writable_fs(*source_, options));
      return {};
    });
  }
  Result<double> stop() {
    return timed([&] { return fs_->stop(); });
  }
  [[nodiscard]] bool is_clean() const { return std::filesystem::exists(wishes_.directory / "vm/clean"); }

  /// A line of what `make` adds to memory for each of `count`.
  Result<void> measure(const char* what, unsigned count, const std::function<Result<void>(unsigned)>& make) {
    const std::uint64_t paid = source_->memory.used_bytes();
    const std::uint64_t heap = heap_bytes();
    for (unsigned i = 0; i < count; ++i) LB_TRY(make(i));
    const auto each = [count](std::uint64_t after, std::uint64_t before) {
      return (static_cast<double>(after) - static_cast<double>(before)) / count;
    };
    std::printf("| %s | %u | %.0f | %.0f |\n", what, count, each(source_->memory.used_bytes(), paid),
                each(heap_bytes(), heap));
    std::fflush(stdout);
    return {};
  }
  Result<void> measure_objects();

 private:
  using NodeId = vfs::NodeId;

  static Result<double> timed(const std::function<Result<void>()>& work) {
    const auto begin = std::chrono::steady_clock::now();
    LB_TRY(work());
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  Result<NodeId> make_file(NodeId directory, unsigned number) {
    LB_ASSIGN(const auto entry, fs_->create(directory, str_cat("file-", number), 0644, true, {}));
    std::string bytes(kFileBytes, 'b');
    const iovec piece{bytes.data(), bytes.size()};
    LB_TRY(reactor_->block_on(fs_->write(*reactor_, entry.id, 0, {&piece, 1}, vfs::Writer::kPrivileged)));
    return entry.id;
  }
  Result<void> measure_new_files();
  Result<void> measure_files_of_the_image();

  const Wishes& wishes_;
  std::unique_ptr<vfs::ImageSource> source_;
  std::unique_ptr<Reactor> reactor_;
  std::unique_ptr<vfs::FileSystem> fs_;
};

Result<void> Upper::measure_new_files() {
  const unsigned count = wishes_.files / kFilesPerDirectory * kFilesPerDirectory;
  std::vector<NodeId> directories;
  for (unsigned i = 0; i < count / kFilesPerDirectory; ++i) {
    LB_ASSIGN(const auto made, fs_->mkdir(vfs::kRootId, str_cat("made-", i), 0755, {}));
    directories.push_back(made.id);
  }
  std::vector<NodeId> held(count);
  LB_TRY(measure("new file and its name, held by the client", count, [&](unsigned i) -> Result<void> {
    LB_ASSIGN(held[i], make_file(directories[i / kFilesPerDirectory], i));
    return {};
  }));
  LB_TRY(measure("further name of a file", count / 10, [&](unsigned i) -> Result<void> {
    LB_TRY(reactor_->block_on(
        fs_->link(*reactor_, held[i], directories[i / kFilesPerDirectory], str_cat("link-", i))));
    fs_->forget(held[i], 1);
    return {};
  }));
  return measure("new file, forgotten: what is given back", count, [&](unsigned i) -> Result<void> {
    fs_->forget(held[i], 1);
    return {};
  });
}

Result<void> Upper::measure_files_of_the_image() {
  const unsigned count = source_->tree->node_count() - 1;
  std::vector<NodeId> files;
  for (std::uint32_t row = 1; row <= count; ++row) {
    if (S_ISREG(source_->tree->node(row).mode)) files.push_back(row);
  }
  std::vector<NodeId> directories;
  for (const auto file : files) {
    const auto parent = source_->tree->parent(static_cast<tree::NodeId>(file));
    LB_ASSIGN(const auto directory, fs_->lookup(vfs::kRootId, source_->tree->name_in_parent(parent)));
    directories.push_back(directory.id);
  }
  vfs::AttrChange change;
  change.mode = 0600;
  const auto find = [&](unsigned i) {
    return fs_->lookup(directories[i], source_->tree->name_in_parent(static_cast<tree::NodeId>(files[i])));
  };
  // What their directories take is not theirs.
  for (unsigned i = 0; i < files.size(); i += kGrowthFilesPerDirectory) {
    LB_TRY(reactor_->block_on(fs_->setattr(*reactor_, directories[i], change)));
  }
  const auto many = static_cast<unsigned>(files.size());
  LB_TRY(measure("file of the image, touched (chmod) and held", many, [&](unsigned i) -> Result<void> {
    LB_ASSIGN(const auto entry, find(i));
    LB_TRY(reactor_->block_on(fs_->setattr(*reactor_, entry.id, change)));
    return {};
  }));
  return measure("the same, forgotten: what is given back", many, [&](unsigned i) -> Result<void> {
    fs_->forget(files[i], 1);
    return {};
  });
}

Result<void> Upper::measure_objects() {
  std::printf(
      "| what memory keeps | objects | paid for, bytes each | heap, bytes each |\n|---|---|---|---|\n");
  LB_TRY(measure_new_files());
  return measure_files_of_the_image();
}

Result<void> report_starts(Upper& upper, const Wishes& wishes) {
  LB_ASSIGN(const double stopped, upper.stop());
  std::printf(
      "\n| %u new files, and a tenth of that of the image touched | best of %u, s | worst, s "
      "|\n|---|---|---|\n",
      wishes.files, wishes.rounds);
  std::printf("| stop after the session that wrote them%s | %.3f | |\n",
              upper.is_clean() ? "" : ", which leaves **no** count", stopped);
  for (const bool in_order : {true, false}) {
    std::vector<double> times;
    for (unsigned i = 0; i < wishes.rounds; ++i) {
      // The first one may find that the session before has left no count.
      if (in_order && !upper.is_clean()) {
        LB_TRY(upper.start());
        LB_TRY(upper.stop());
      }
      LB_ASSIGN(const double took, upper.start());
      times.push_back(took);
      if (in_order) LB_TRY(upper.stop());
    }
    // Of those that were not stopped, the first start was after a stop.
    if (!in_order && times.size() > 1) times.erase(times.begin());
    std::ranges::sort(times);
    std::printf("| start after %s | %.3f | %.3f |\n", in_order ? "a stop (goal: 0.5)" : "a kill",
                times.front(), times.back());
    std::fflush(stdout);
  }
  return {};
}

Result<void> run(const Wishes& wishes) {
  std::filesystem::create_directories(wishes.directory);
  Upper upper(wishes);
  LB_TRY(upper.prepare());
  LB_TRY(upper.start());
  LB_TRY(upper.measure_objects());
  return report_starts(upper, wishes);
}

}  // namespace
}  // namespace layerboot::bench

int main(int argc, char** argv) {
  using namespace layerboot;
  bench::Wishes wishes;
  CLI::App app("Measures starts on an upper of many files, and the memory of its objects.", "upper_costs");
  app.add_option("directory", wishes.directory, "made, and removed in the end")->required();
  app.add_option("--before-start", wishes.before_start, "a shell command before each start");
  app.add_option("--files", wishes.files, "that the upper gets")->check(CLI::Range(1000, 4'000'000));
  app.add_option("--rounds", wishes.rounds, "of each kind of start")->check(CLI::Range(1, 100));
  CLI11_PARSE(app, argc, argv);
  log_setup("upper_costs", LogLevel::kInfo);
  if (std::filesystem::exists(wishes.directory)) {
    log_error(wishes.directory.string(), " is there already; name a directory that can be made");
    return 1;
  }
  const auto done = bench::run(wishes);
  std::filesystem::remove_all(wishes.directory);
  if (done) return 0;
  log_error(done.error().describe());
  return 1;
}
