// WritableFsTest: a writable file system over a small image; after each test what the quota has booked is
// held against what the host has allocated.
#pragma once

#include <sys/xattr.h>

#include <filesystem>
#include <string>
#include <vector>

#include "oci-mount/overlay/marks.h"
#include "tests/oci-mount/vfs/image_fixture.h"
#include "tests/support/host_usage.h"

namespace layerboot::test {

inline constexpr std::uint64_t kTestQuotaBytes = 1 << 30;
inline constexpr std::uint64_t kTestQuotaInodes = 65536;

inline std::string lower_small() { return "the image's small file"; }
inline std::string lower_big() { return sample_bytes(2'500'000, 3); }

inline std::vector<std::string> test_image() {
  return {TarBuilder()
              .directory("etc")
              .file("etc/small", lower_small())
              .file("etc/big", lower_big())
              .file("etc/setid", "set-id", 06755)
              .symlink("etc/link", "small")
              .directory("links")
              .file("links/a", "hard-linked")
              .hard_link("links/b", "links/a")
              .directory("links2")
              .hard_link("links2/c", "links/a")
              .directory("deep")
              .directory("deep/er")
              .directory("deep/er/est")
              .file("deep/er/est/file", "far down")
              .directory("empty")
              .finish(),
          TarBuilder().directory("deep").file("deep/second", "of the second layer").finish()};
}

/// Of an upper that this process makes.
inline const overlay::Marks& marks() {
  return ::geteuid() == 0 ? overlay::kNativeMarks : overlay::kRecordedMarks;
}

/// "none" where there is no such attribute.
inline std::string host_xattr(const std::filesystem::path& path, std::string_view name) {
  std::string value(256, '\0');
  const ssize_t length = ::lgetxattr(path.c_str(), std::string(name).c_str(), value.data(), value.size());
  return length < 0 ? "none" : value.substr(0, static_cast<std::size_t>(length));
}

class WritableFsTest : public testing::Test, protected ImageFixture {
 protected:
  WritableFsTest() : ImageFixture(test_image()) {}
  explicit WritableFsTest(const std::vector<std::string>& tars) : ImageFixture(tars) {}

  void SetUp() override {
    restart();
    nothing_ = booked();
  }
  void TearDown() override {
    if (!fs) return;
    expect_usage_agrees();
    expect_same_after_a_stop();
  }
  /// A session that ends in order leaves a count, and the next one trusts it.
  void expect_same_after_a_stop() {
    const Snapshot before = driver->snapshot();
    driver.reset();
    const auto stopped = fs->stop();
    ASSERT_TRUE(stopped) << stopped.error().describe();
    fs.reset();
    EXPECT_TRUE(std::filesystem::exists(directory / "vm" / "clean"));
    restart();
    EXPECT_FALSE(std::filesystem::exists(directory / "vm" / "clean"));
    // Untouched yet: what was counted at the stop.
    expect_booked_as_the_host_has();
    EXPECT_EQ(driver->snapshot(), before);
    expect_usage_agrees();
  }
  /// Or the first start.
  void restart() { open_writable(kTestQuotaBytes, kTestQuotaInodes); }
  FsDriver& drive() { return *driver; }
  /// Of the host that the upper is on.
  [[nodiscard]] overlay::Tariff tariff() const { return tariff_of_host(directory.path()); }

  /// What an upper is charged that nobody has written to: a host may count the root's attributes.
  [[nodiscard]] HostUsage nothing() const { return nothing_; }
  HostUsage booked() {
    const auto statfs = fs->statfs();
    EXPECT_TRUE(statfs);
    return {kTestQuotaBytes - statfs->blocks_free * statfs->block_size_bytes,
            kTestQuotaInodes - statfs->inodes_free};
  }
  /// A walk first: directories' growth is booked when they are next looked at, and what the host allocates
  /// late when a file is synced.
  void expect_usage_agrees() {
    static_cast<void>(driver->snapshot());
    static_cast<void>(fs->getattr(vfs::kRootId));
    expect_booked_as_the_host_has();
  }
  /// Or more, where the host keeps what it does not show.
  void expect_booked_as_the_host_has() {
    const HostUsage host = host_usage(directory / "vm");
    if (tariff().keeps_what_is_cut()) {
      EXPECT_GE(booked().bytes, host.bytes);
    } else {
      EXPECT_EQ(booked().bytes, host.bytes);
    }
    EXPECT_EQ(booked().inodes, host.inodes);
  }
  [[nodiscard]] std::filesystem::path upper(const std::string& path = {}) const {
    return directory.path() / "vm" / "upper" / path;
  }
  [[nodiscard]] bool upper_is_empty() const { return std::filesystem::is_empty(upper()); }
  [[nodiscard]] std::size_t upper_entries() const {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::recursive_directory_iterator(upper())) ++count;
    return count;
  }

  template <typename T>
  T wait(Task<T> task) {
    return driver->reactor->block_on(std::move(task));
  }
  int write_node(vfs::NodeId node, std::uint64_t offset, std::string_view bytes,
                 vfs::Writer writer = vfs::Writer::kPrivileged) {
    const iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
    const auto put = wait(fs->write(*driver->reactor, node, offset, {&piece, 1}, writer));
    return put ? 0 : put.error().code;
  }
  /// All but a few bytes of what may be kept, so that nobody else gets any; how many, to be given back.
  [[nodiscard]] std::uint64_t take_all_memory() {
    constexpr std::uint64_t kLeast = 64;
    std::uint64_t taken = 0;
    for (std::uint64_t piece = 1U << 20; piece >= kLeast; piece /= 2) {
      while (source->memory.try_take(piece)) taken += piece;
    }
    return taken;
  }
  int set_mode(std::string_view path, std::uint32_t mode) {
    vfs::AttrChange change;
    change.mode = mode;
    return driver->setattr(path, change);
  }
  std::string xattr(std::string_view path, std::string_view name) {
    const auto node = driver->acquire(path);
    const auto value = fs->getxattr(node, name);
    driver->release(node);
    return value ? *value : "error: " + std::to_string(value.error().code);
  }

 private:
  HostUsage nothing_;
};

template <typename T>
int code_of(const Result<T>& result) {
  return result ? 0 : result.error().code;
}

}  // namespace layerboot::test
