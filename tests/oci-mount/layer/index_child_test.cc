// Layers indexed by children of this test program.
#include "oci-mount/layer/index_child.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zstd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

#include "oci-mount/base/sanitizers.h"
#include "oci-mount/layer/index_child_main.h"
#include "oci-mount/layer/index_messages.h"
#include "oci-mount/layer/layer_index.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::layer {
namespace {

using test::TarBuilder;

// Which digests a child of ours that lies finds its layer to have; the prefix is of what a child's
// environment keeps.
constexpr const char* kLies = "LD_LAYERBOOT_TEST_LIES";

/// Stands for a child that its layer has taken over: it makes the index that it is asked for, of whatever
/// bytes.
class Lies {
 public:
  explicit Lies(const ExpectedLayer& found) {
    ::setenv(kLies, str_cat(found.digests->blob.text(), " ", found.digests->diff_id.text()).c_str(), 1);
  }
  ~Lies() { ::unsetenv(kLies); }
  Lies(const Lies&) = delete;
  Lies& operator=(const Lies&) = delete;
};

/// The request as it would be of those digests, to the child's own work; what that says, to the program.
[[noreturn]] void lie(const std::string& lies) {
  std::array<std::byte, kMaxIndexMessageBytes> room;
  const ssize_t got = ::recv(kChildSocketFd, room.data(), room.size(), 0);
  IndexRequest request;
  if (got < static_cast<ssize_t>(sizeof(request))) ::_exit(1);
  std::memcpy(&request, room.data(), sizeof(request));
  const std::size_t space = lies.find(' ');
  request.blob = identity_record(*store::Digest::parse(lies.substr(0, space)));
  request.diff_id = identity_record(*store::Digest::parse(lies.substr(space + 1)));
  std::memcpy(room.data(), &request, sizeof(request));
  std::array<int, 2> ends{};
  ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data());
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], kChildSocketFd);
    ::close_range(kChildSocketFd + 1, ~0U, 0);
    ::_exit(index_child_main());
  }
  ::close(ends[1]);
  ::send(ends[0], room.data(), static_cast<std::size_t>(got), 0);
  for (ssize_t said = 0; (said = ::recv(ends[0], room.data(), room.size(), 0)) > 0;)
    ::send(kChildSocketFd, room.data(), static_cast<std::size_t>(said), 0);
  ::_exit(0);
}

store::Digest digest(std::string_view bytes) { return *store::Digest::parse(test::sha256_text(bytes)); }

std::string one_frame(std::string_view text) {
  std::string out(::ZSTD_compressBound(text.size()), '\0');
  out.resize(::ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 1));
  return out;
}

class IndexChildTest : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(in_process_);
    std::filesystem::create_directories(by_child_);
  }
  std::shared_ptr<const store::FileBlob> blob_of(std::string_view bytes) const {
    const auto path = dir_ / "blob";
    test::write_text(path, bytes);
    return *store::FileBlob::open(path, "layer X");
  }
  static ExpectedLayer expect(std::string_view blob, std::string_view tar, store::Compression compression) {
    ExpectedLayer expected;
    expected.identity = LayerIdentity::of_blob(digest(blob));
    expected.compression = compression;
    expected.digests = ExpectedLayer::Digests{digest(blob), blob.size(), digest(tar)};
    return expected;
  }
  Result<LayerIndex> build(const store::Blob& blob, const ExpectedLayer& expected) {
    return build_index_in_child(blob, expected, by_child_ / "x.lidx",
                                [this](std::uint64_t done) { progress_ = done; });
  }
  void expect_same(const store::Blob& blob, const ExpectedLayer& expected) {
    const auto built = build(blob, expected);
    ASSERT_TRUE(built) << built.error().text;
    EXPECT_EQ(progress_, blob.size_bytes());
    ASSERT_TRUE(build_index(blob, expected, in_process_ / "x.lidx", [](std::uint64_t) {}));
    for (const char* name : {"x.lidx", "x.zst"}) {
      EXPECT_EQ(std::filesystem::exists(by_child_ / name), std::filesystem::exists(in_process_ / name))
          << name;
      if (!std::filesystem::exists(in_process_ / name)) continue;
      EXPECT_TRUE(test::read_text(by_child_ / name) == test::read_text(in_process_ / name)) << name;
      std::filesystem::remove(by_child_ / name);
      std::filesystem::remove(in_process_ / name);
    }
  }
  void expect_failure(const Result<LayerIndex>& built, std::initializer_list<std::string_view> parts) {
    ASSERT_FALSE(built);
    for (const auto part : parts)
      EXPECT_NE(built.error().text.find(part), std::string::npos) << part << " in: " << built.error().text;
    EXPECT_EQ(built.error().text.find('\n'), std::string::npos);
    EXPECT_TRUE(std::filesystem::is_empty(by_child_)) << "something half-made was left behind";
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child that nobody waits for";
  }
  /// A plain tar of one huge file of holes: reading it takes seconds.
  std::shared_ptr<const store::FileBlob> slow_blob(ExpectedLayer& expected) const {
    constexpr std::uint64_t kFileBytes = 6ULL << 30U;
    const auto path = dir_ / "slow.tar";
    test::TarMember huge;
    huge.name = "huge";
    huge.pax = {{"size", std::to_string(kFileBytes)}};
    std::string head = TarBuilder().add(huge).without_end();
    test::write_text(path, head);
    std::filesystem::resize_file(path, head.size() + kFileBytes);
    struct stat st{};
    ::stat(path.c_str(), &st);
    expected.identity = LayerIdentity::of_file(st);
    expected.source = path;
    return *store::FileBlob::open(path, "layer slow");
  }
  /// Sends `signal` to the child as soon as it is at work.
  Result<LayerIndex> build_and_signal(int signal) {
    ExpectedLayer expected;
    const auto blob = slow_blob(expected);
    bool sent = false;
    return build_index_in_child(*blob, expected, by_child_ / "x.lidx", [&](std::uint64_t) {
      if (std::exchange(sent, true)) return;
      std::ifstream children(str_cat("/proc/self/task/", ::gettid(), "/children"));
      pid_t child = 0;
      ASSERT_TRUE(children >> child);
      ::kill(child, signal);
    });
  }

  test::TempDir dir_;
  std::filesystem::path in_process_ = dir_ / "in_process";
  std::filesystem::path by_child_ = dir_ / "by_child";
  std::string tar_ = TarBuilder()
                         .directory("d")
                         .file("d/big", test::sample_bytes(5'500'000, 1))
                         .symlink("d/s", "big")
                         .finish();
  std::uint64_t progress_ = 0;
};

TEST_F(IndexChildTest, MakesTheSameIndexOfEveryKind) {
  const std::string zipped = test::gzip(tar_);
  expect_same(*blob_of(zipped), expect(zipped, tar_, store::Compression::kGzip));
  expect_same(*blob_of(tar_), expect(tar_, tar_, store::Compression::kNone));
  const std::string framed = one_frame(tar_);
  expect_same(*blob_of(framed), expect(framed, tar_, store::Compression::kZstd));
  const auto within = blob_of("before" + zipped + "after")->part(6, zipped.size(), "a part");
  expect_same(*within, expect(zipped, tar_, store::Compression::kGzip));
  ExpectedLayer local;
  local.identity = LayerIdentity::of_file({});
  local.source = "/where/it/lies";
  expect_same(*blob_of(zipped), local);
}

TEST_F(IndexChildTest, SaysWhatIsWrongWithALayer) {
  std::string zipped = test::gzip(tar_);
  const auto expected = expect(zipped, tar_, store::Compression::kGzip);
  zipped[zipped.size() / 2] ^= 1;
  expect_failure(build(*blob_of(zipped), expected), {"layer X is damaged", "fetch the image again"});
  const std::string bad = TarBuilder().file(std::string(300, '\x1b'), "").finish();
  const auto built = build(*blob_of(bad), expect(bad, bad, store::Compression::kNone));
  expect_failure(built, {"layer X", "limit of 255"});
  EXPECT_EQ(built.error().text.find('\x1b'), std::string::npos);
}

// Else it could put its own entries in the place of another image's, by what they both call their layer.
TEST_F(IndexChildTest, AChildThatLiesOfItsBlobIsNotBelieved) {
  const std::string other = TarBuilder().file("bin/su", "x", 04755).finish();
  for (const auto compression : {store::Compression::kNone, store::Compression::kGzip}) {
    const bool plain = compression == store::Compression::kNone;
    const std::string forged = plain ? other : test::gzip(other);
    auto expected = expect(forged, other, compression);
    const Lies lies(expected);
    const auto whole = build(*blob_of(forged), expected);
    ASSERT_TRUE(whole) << whole.error().text;
    std::filesystem::remove(by_child_ / "x.lidx");
    expected = expect("what another image has", plain ? "what another image has" : other, compression);
    expected.digests->size_bytes = forged.size();
    expect_failure(build(*blob_of(forged), expected), {"layer X is damaged: its bytes hash to ",
                                                       digest(forged).text(), "fetch the image again"});
  }
}

TEST_F(IndexChildTest, AChildThatIsKilled) {
  expect_failure(build_and_signal(SIGKILL), {"layer slow", "was killed", "short of memory"});
}

TEST_F(IndexChildTest, AChildThatBreaksDown) {
  if (kSanitizer) GTEST_SKIP() << "a sanitizer's library takes the signal";
  expect_failure(build_and_signal(SIGSEGV), {"layer slow", "broke down (Segmentation fault)", "attack"});
  expect_failure(build_and_signal(SIGSYS), {"layer slow", "was stopped", "attack"});
}

/// In a process of its own: what a child's parent has in memory when it starts counts as the child's.
void in_a_process(const std::function<void()>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    work();
    ::_exit(testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(IndexChildTest, ManyFilesTakeLittleMemory) {
  if (kSanitizer) GTEST_SKIP() << "a sanitizer's build takes several times as much";
  constexpr std::uint32_t kFiles = 400'000;
  const auto path = dir_ / "layer.tar.gz";
  in_a_process([&path] {
    TarBuilder many;
    for (std::uint32_t i = 0; i < kFiles; ++i) {
      many.file(
          str_cat("usr/lib/python3/dist-packages/module", i / 4000, "/part", i / 40, "/file_", i, ".py"), "");
    }
    test::write_text(path, test::gzip(many.finish()));
  });
  in_a_process([&] {
    const auto blob = *store::FileBlob::open(path, "layer X");
    struct stat st{};
    ASSERT_EQ(::stat(path.c_str(), &st), 0);
    ExpectedLayer expected;
    expected.identity = LayerIdentity::of_file(st);
    const auto built = build(*blob, expected);
    ASSERT_TRUE(built) << built.error().text;
    const auto entries = built->load_entries();
    ASSERT_TRUE(entries);
    EXPECT_EQ(entries->entry_count(), kFiles);
    rusage of_child{};
    ASSERT_EQ(::getrusage(RUSAGE_CHILDREN, &of_child), 0);
    EXPECT_GT(of_child.ru_maxrss, 1024);
    EXPECT_LT(of_child.ru_maxrss, 64 * 1024) << "KiB";
  });
}

TEST_F(IndexChildTest, ALayerThatTakesMoreMemoryThanThereIs) {
  if (kSanitizer) GTEST_SKIP() << "a sanitizer's build has no limit";
  ExpectedLayer expected;
  const auto path = dir_ / "layer.tar";
  in_a_process([&path] {
    TarBuilder many;
    for (int i = 0; i < 300'000; ++i) many.symlink(str_cat(std::string(80, 's'), i), std::string(99, 't'));
    test::write_text(path, many.finish());
  });
  const auto blob = *store::FileBlob::open(path, "layer X");
  struct stat st{};
  ASSERT_EQ(::stat(path.c_str(), &st), 0);
  expected.identity = LayerIdentity::of_file(st);
  // Enough to begin with; the names and targets of this layer alone take twice as much.
  constexpr rlim_t kBytes = 32U << 20U;
  ::malloc_trim(0);
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit little{kBytes, kBytes};
    ::setrlimit(RLIMIT_DATA, &little);
    const auto built = build(*blob, expected);
    const bool told =
        !built && built.error().code == ENOMEM && built.error().text.find("layer X takes more than") == 0;
    if (!told) std::cerr << (built ? "it was built" : built.error().text) << "\n";
    ::_exit(told ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(std::filesystem::is_empty(by_child_));
}

TEST_F(IndexChildTest, SeveralAtOnce) {
  const std::string zipped = test::gzip(tar_);
  const auto blob = blob_of(zipped);
  const auto expected = expect(zipped, tar_, store::Compression::kGzip);
  std::vector<std::thread> threads;
  std::atomic<int> built{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      const auto path = by_child_ / str_cat(i, ".lidx");
      if (build_index_in_child(*blob, expected, path, [](std::uint64_t) {})) ++built;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(built, 4);
}

TEST_F(IndexChildTest, NobodyElseCanStartOne) {
  const char* words[] = {"program", "--index-layer", nullptr};
  const pid_t child = ::fork();
  if (child == 0) {
    ::close_range(3, ~0U, 0);
    ::_exit(run_as_index_child(2, words).value_or(77));
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 1);
}

}  // namespace
}  // namespace layerboot::layer

int main(int argc, char** argv) {
  const char* const lies = ::getenv(layerboot::layer::kLies);
  if (lies != nullptr && argc == 2 && std::string_view(argv[1]) == "--index-layer")
    layerboot::layer::lie(lies);
  if (const auto exit_code = layerboot::layer::run_as_index_child(argc, argv)) return *exit_code;
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
