// SmallImage: an image of a few objects in memory, and an upper directory of its own, for the tests of the
// parts of a writable union.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "oci-mount/layer/index_builder.h"
#include "oci-mount/layer/layer.h"
#include "oci-mount/layer/span_reader.h"
#include "oci-mount/overlay/body.h"
#include "oci-mount/overlay/parts.h"
#include "oci-mount/overlay/upper.h"
#include "tests/oci-mount/tree/built_tree.h"
#include "tests/support/counting_blob.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::overlay {

/// The tree is written down by hand; all data lies in one plain layer, whose blob counts and can hold or fail
/// its readers.
///
///   dir/file          "0123456789", mode 0640, of 5:6, with user.tag
///   dir/link          -> file
///   dir/pipe          a fifo
///   dir/sub/below     empty
///   hard/a hard/b hard2/c   one file of 11 bytes
///   big               kBigBytes
///   sparse            6000 bytes: 10 at 0, 5 at 5000
///   only/child        in a directory of its own
struct SmallImage {
  static constexpr std::size_t kBigBytes = (2U << 20U) + 5000;
  static constexpr std::int64_t kMtime = 1'500'000'000;
  static constexpr std::uint32_t kMtimeNsec = 123;

  SmallImage() : reader({open_layer()}, cache, workers) {}

  [[nodiscard]] tree::NodeId row(std::string_view path) const { return tree::node_at(*tree, path); }
  [[nodiscard]] Lower lower() { return {*tree, reader}; }

  static constexpr std::uint64_t kTarHeaderBytes = 512;
  const std::string small = "0123456789hard-linkedtail!";
  const std::string data = small + test::sample_bytes(kBigBytes, 7);
  std::shared_ptr<test::CountingBlob> blob =
      std::make_shared<test::CountingBlob>(test::TarBuilder().file("data", data).finish());
  std::unique_ptr<const tree::Tree> tree = make_tree();
  test::TempDir index;
  MemoryBudget memory;
  layer::SpanCache cache{memory, layer::SpanCache::kDefaultBytes};
  WorkerPool workers{1};
  layer::SpanReader reader;

 private:
  std::shared_ptr<const layer::Layer> open_layer() {
    layer::ExpectedLayer expected;
    expected.identity = layer::LayerIdentity::of_file({});
    const auto path = index / expected.identity.index_file_name();
    const auto built = layer::build_index(*blob, expected, path, [](std::uint64_t) {});
    EXPECT_TRUE(built) << built.error().describe();
    return std::make_shared<const layer::Layer>(blob, expected.identity,
                                                *layer::LayerIndex::open(path, expected.identity));
  }
  static std::unique_ptr<const tree::Tree> make_tree() {
    tree::FakeLayer layer("small");
    const auto owned = [](layer::EntryView& entry) {
      entry.mode = 0640;
      entry.uid = 5;
      entry.gid = 6;
      entry.mtime_sec = kMtime;
      entry.mtime_nsec = kMtimeNsec;
    };
    for (const char* path : {"dir", "dir/sub", "hard", "hard2", "only"}) {
      layer.directory(path).mtime_sec = kMtime;
    }
    auto& file = layer.file("dir/file", 10, kTarHeaderBytes);
    owned(file);
    file.xattrs = {{layer.keep("user.tag"), layer.keep("of the image")}};
    layer.symlink("dir/link", "file");
    layer.add(layer::EntryType::kFifo, "dir/pipe");
    layer.file("dir/sub/below");
    owned(layer.file("hard/a", 11, kTarHeaderBytes + 10));
    layer.hard_link("hard/b", "hard/a");
    layer.hard_link("hard2/c", "hard/a");
    layer.file("big", kBigBytes, kTarHeaderBytes + 26);
    auto& sparse = layer.file("sparse");
    sparse.size_bytes = 6000;
    sparse.extents = layer.extents({{0, kTarHeaderBytes, 10}, {5000, kTarHeaderBytes + 21, 5}});
    layer.file("only/child");
    layer.sort();
    const tree::LayerEntries* const layers[] = {&layer};
    return std::move(*tree::build_and_open(layers));
  }
};

/// All parts of a union over a SmallImage and a new upper: native where root runs the test, else recorded.
/// Each test holds the lock, as the operations do, but for Tasks and Pins, which take it by themselves.
class PartsTest : public testing::Test {
 protected:
  static constexpr Quota::Limits kLimits{.bytes = 1U << 30U, .inodes = 10'000};

  /// The upper is made in a directory of its own in `host`.
  explicit PartsTest(const std::filesystem::path& host = test::temp_parent()) : top(host) { open(); }
  void SetUp() override { ASSERT_EQ(cannot_open, ""); }

  /// Anew, as at a start of the daemon; what the last session held goes.
  void open() {
    close();
    auto upper = Upper::open(vm(), "sha256:small");
    if (!upper) cannot_open = upper.error().describe();
    if (!upper) return;
    auto places = Places::open(*std::move(upper));
    if (!places) cannot_open = places.error().describe();
    if (!places) return;
    parts =
        std::make_unique<Parts>(lower, *std::move(places), kLimits, Quota::Usage{}, image.workers, memory);
    parts->objects.load_root();
  }
  void close() {
    if (parts) parts->objects.end_session();
    parts.reset();
  }
  void TearDown() override { close(); }

  [[nodiscard]] tree::NodeId row(std::string_view path) const { return image.row(path); }
  [[nodiscard]] std::filesystem::path vm() const { return top / "vm"; }
  [[nodiscard]] std::filesystem::path on_host(const std::string& path) const { return vm() / "upper" / path; }
  [[nodiscard]] NodePtr root() const { return parts->nodes.known(kRootId); }
  [[nodiscard]] const Marks& marks() const { return parts->places.marks(); }
  /// Of the upper's top; objects are made there behind the union's back, before it looks.
  [[nodiscard]] int root_fd() const { return parts->places.upper().root_fd(); }

  /// As the guest would have made it.
  struct stat make(const std::string& path, std::uint32_t mode, std::string_view target = {}) {
    const Nature nature{.mode = mode, .uid = ::geteuid(), .gid = ::getegid(), .rdev = 0};
    const auto body =
        make_body(parts->places.keeping(), Making::kElsewhere, {root_fd(), path.c_str()}, nature, target);
    EXPECT_TRUE(body) << path << ": " << body.error().describe();
    return body ? body->st : (struct stat){};
  }
  void make_whiteout(const std::string& path) {
    const auto made = parts->places.make_whiteout({root_fd(), path.c_str()});
    EXPECT_TRUE(made) << path << ": " << made.error().describe();
  }
  void mark(const std::string& path, std::string_view name, std::string_view value) {
    const auto set = set_xattr_at({root_fd(), path.c_str()}, name, value, 0);
    EXPECT_TRUE(set) << path << ": " << set.error().describe();
  }
  std::string marked(const std::string& path, std::string_view name) {
    return get_xattr_at({root_fd(), path.c_str()}, name).value_or("error").value_or("none");
  }
  /// The Node of an object of the upper, found by its path as a client would; null where there is none.
  NodePtr load(std::string_view path) {
    NodePtr at = root();
    while (at && !path.empty()) {
      const std::string name(path.substr(0, path.find('/')));
      path.remove_prefix(std::min(path.size(), name.size() + 1));
      const auto found = parts->directories.look(at, name);
      if (!found || !found->in_upper()) return nullptr;
      at = parts->objects.load(at, name, *found->child).value_or(nullptr);
    }
    return at;
  }
  [[nodiscard]] std::vector<std::string> work_names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(vm() / "work")) {
      if (entry.path().filename() != "whiteout") names.push_back(entry.path().filename());
    }
    return names;
  }
  /// No more is kept from now on, until give_memory_back().
  void take_all_memory() {
    while (memory.try_take(1U << 10U)) taken_bytes += 1U << 10U;
  }
  void give_memory_back() { memory.give_back(std::exchange(taken_bytes, 0)); }

  test::TempDir top;
  SmallImage image;
  Lower lower = image.lower();
  MemoryBudget memory;
  std::uint64_t taken_bytes = 0;
  std::unique_ptr<Parts> parts;
  std::string cannot_open;
};

/// On a file system whose blocks do not tell what names take.
class PartsOnTmpfsTest : public PartsTest {
 protected:
  PartsOnTmpfsTest() : PartsTest(kHost) {}
  void SetUp() override {
    if (!cannot_open.empty()) GTEST_SKIP() << cannot_open;
    if (parts->ledger.tariff().kind() != HostKind::kTmpfs) GTEST_SKIP() << kHost << " is no tmpfs";
  }

 private:
  static constexpr const char* kHost = "/dev/shm";
};

template <typename T>
int code_of(const Result<T>& result) {
  return result ? 0 : result.error().code;
}

}  // namespace layerboot::overlay
