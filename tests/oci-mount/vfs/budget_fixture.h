// BudgetTest: an upper with a small budget on a host of a given kind, and what its free space falls by.
#pragma once

#include <algorithm>
#include <chrono>
#include <thread>

#include "oci-mount/base/str_cat.h"
#include "tests/oci-mount/vfs/host_disk.h"
#include "tests/oci-mount/vfs/image_fixture.h"

namespace layerboot::test {

inline constexpr std::uint64_t kMiB = 1U << 20;
inline constexpr std::uint64_t kBudgetBytes = 16 * kMiB;
inline constexpr std::uint64_t kManyInodes = 1U << 20;  // bytes are what runs out
/// What makes room may pass the budget by.
inline constexpr std::uint64_t kRoomBytes = kMiB;
inline constexpr int kDirectories = 1500;
inline constexpr std::uint64_t kBlockBytes = 4096;

inline std::string numbered(const char* stem, int i) { return stem + std::to_string(i); }
inline std::string long_name(int i) {
  const std::string number = std::to_string(i);
  return std::string(255 - number.size(), 'n') + number;
}

inline std::vector<std::string> image_of_many_directories() {
  TarBuilder tar;
  for (int i = 0; i < kDirectories; ++i) {
    const auto directory = std::to_string(i);
    tar.directory(directory).file(directory + "/f", i % 100 == 0 ? std::string(300'000, 'i') : "");
  }
  return {tar.finish()};
}

class BudgetTest : public testing::TestWithParam<const char*>, protected ImageFixture {
 protected:
  static constexpr std::string_view kRecorded = "_recorded";
  static std::string host_of(std::string_view param) {
    return std::string(param.substr(0, param.find(kRecorded)));
  }

  BudgetTest() : ImageFixture(image_of_many_directories()), disk_(host_of(GetParam())) {}

  void SetUp() override {
    if (!disk_.mounted()) GTEST_SKIP() << GetParam() << ": " << disk_.why_not();
    before_ = disk_.taken_bytes();
    start();
  }
  void TearDown() override {
    driver.reset();
    fs.reset();
  }
  void start() {
    driver.reset();
    fs.reset();
    vfs::UpperOptions options;
    options.directory = disk_.path() / "vm";
    options.quota_bytes = kBudgetBytes;
    options.quota_inodes = kManyInodes;
    options.record_owners = std::string_view(GetParam()).ends_with(kRecorded);
    auto opened = vfs::make_writable_fs(*source, options);
    ASSERT_TRUE(opened) << opened.error().describe();
    fs = std::move(*opened);
    driver = std::make_unique<FsDriver>(*fs);
  }

  [[nodiscard]] std::uint64_t taken() const {
    const std::uint64_t now = disk_.taken_bytes();
    return now > before_ ? now - before_ : 0;
  }
  /// By what df in the guest shows.
  [[nodiscard]] std::uint64_t used() const { return kBudgetBytes - fs->statfs()->blocks_free * kBlockBytes; }
  /// Neither the budget nor what df shows is less than what the host has given.
  void expect_held(const std::string& when) {
    const std::uint64_t host = taken();
    const std::uint64_t shown = used();
    EXPECT_LE(host, kBudgetBytes + kRoomBytes + disk_.own_bytes()) << when << ": the host has given more";
    if (shown < kBudgetBytes - kBlockBytes) {
      EXPECT_LE(host, shown + disk_.own_bytes()) << when << ": df shows less than the host has given";
    }
  }

  /// The same for as long as requests are at work, of what can be told then.
  void watch(const std::stop_token& stopped) {
    constexpr std::chrono::milliseconds kBetween{2};
    std::uint64_t most_host = 0;
    std::uint64_t most_shown = 0;
    for (; !stopped.stop_requested(); ++looks_while_at_work_) {
      const std::uint64_t host = disk_.taken_bytes_now().value_or(0);
      most_host = std::max(most_host, host > before_ ? host - before_ : 0);
      most_shown = std::max(most_shown, used());
      std::this_thread::sleep_for(kBetween);
    }
    EXPECT_LE(most_host, kBudgetBytes + kRoomBytes + disk_.own_bytes()) << "the host had given more";
    EXPECT_LE(most_shown, kBudgetBytes) << "df had shown less than nothing free";
  }

  /// What has been booked step by step is what a count finds. Forgets all that the client holds.
  void expect_counted(const std::string& when) {
    const std::uint64_t booked = used();
    fs->reset();
    EXPECT_EQ(booked, used()) << when;
  }

  template <typename T>
  T wait(Task<T> task) {
    return driver->reactor->block_on(std::move(task));
  }
  int write_node(vfs::NodeId node, std::uint64_t offset, const std::string& bytes) {
    const iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
    const auto put = wait(fs->write(*driver->reactor, node, offset, {&piece, 1}, vfs::Writer::kPrivileged));
    return put ? 0 : put.error().code;
  }
  int allocate(vfs::NodeId node, std::uint32_t mode, std::uint64_t offset, std::uint64_t length) {
    const auto done = wait(fs->fallocate(*driver->reactor, node, mode, offset, length));
    return done ? 0 : done.error().code;
  }
  int truncate_node(vfs::NodeId node, std::uint64_t size) {
    vfs::AttrChange change;
    change.size_bytes = size;
    const auto done = wait(fs->setattr(*driver->reactor, node, change));
    return done ? 0 : done.error().code;
  }
  int sync_node(vfs::NodeId node) {
    const auto done = wait(fs->fsync(*driver->reactor, node, false));
    return done ? 0 : done.error().code;
  }
  vfs::NodeId make(const std::string& path) {
    EXPECT_EQ(driver->create(path, ""), 0) << path;
    return driver->acquire(path);
  }
  /// More pieces than an inode of ext4 has room for.
  int scattered_writes(vfs::NodeId file) {
    for (std::uint64_t piece = 0; piece < 6; ++piece) {
      if (const int code = write_node(file, piece * 16 * kBlockBytes, "piece"); code != 0) return code;
    }
    return 0;
  }
  void scatter(vfs::NodeId file) { ASSERT_EQ(scattered_writes(file), 0); }
  /// Steps until one is refused; its errno, or 0.
  int until_refused(int most, const std::function<int(int)>& step) {
    for (int i = 0; i < most; ++i) {
      if (const int code = step(i); code != 0) return code;
    }
    return 0;
  }
  /// The same where there is no other reason to refuse one than that there is no room.
  void until_full(int most, const std::function<int(int)>& step) {
    const int code = until_refused(most, step);
    EXPECT_TRUE(code == 0 || code == ENOSPC) << code;
  }
  void fill() {
    const auto node = make("filler");
    std::uint64_t at = 0;
    for (const std::size_t piece : {256U << 10, 4U << 10}) {
      while (write_node(node, at, std::string(piece, 'f')) == 0) at += piece;
    }
    driver->release(node);
  }
  void remove_below(const std::string& top) {
    for (const auto& name : driver->list(top)) {
      const std::string path = top.empty() ? name : str_cat(top, "/", name);
      const bool of_image = top.empty() && std::all_of(name.begin(), name.end(), ::isdigit);
      if (of_image) continue;
      if (S_ISDIR(driver->attr(path).mode)) {
        remove_below(path);
        EXPECT_EQ(driver->rmdir(path), 0) << path;
      } else {
        EXPECT_EQ(driver->unlink(path), 0) << path;
      }
    }
  }

  HostDisk disk_;
  std::uint64_t before_ = 0;
  std::uint64_t looks_while_at_work_ = 0;
};

}  // namespace layerboot::test
