// A host that refuses io_uring: every program works there, and says once by what.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <functional>
#include <iterator>
#include <thread>

#include "tests/process/mount_support.h"
#include "tests/process/vfsd_process.h"
#include "tests/support/fake_guest_fuse.h"
#include "tests/support/image_builder.h"
#include "tests/support/refuse_io_uring.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kLine = "works by epoll and threads";

std::size_t count_of(std::string_view line, std::string_view text) {
  std::size_t count = 0;
  for (auto at = text.find(line); at != text.npos; at = text.find(line, at + 1)) ++count;
  return count;
}

class RefusedRingTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    // LAYERBOOT_IO_ENGINE is for runs that try none; here it is tried.
    ::unsetenv("LAYERBOOT_IO_ENGINE");
    content_ = sample_bytes(3U << 20, 5);
    ImageBuilder image(dir_ / "image");
    image.add_gzip_layer(TarBuilder().directory("etc").file("etc/hostname", "lower\n").finish());
    image.add_plain_layer(TarBuilder().file("big", content_).finish());
    image.write();
  }
  /// `work` starts programs, which get GetParam() from io_uring.
  void without_io_uring(const std::function<void()>& work) const {
    std::thread([&] {
      ASSERT_TRUE(refuse_io_uring(GetParam()));
      work();
    }).join();
  }
  [[nodiscard]] std::string image() const { return "oci:" + (dir_ / "image").string(); }
  std::unique_ptr<VfsdProcess> start_vfsd(std::vector<std::string> more) const {
    std::unique_ptr<VfsdProcess> vfsd;
    more.insert(more.begin(), {"--socket-path", dir_ / "s", "--image", image(), "--upper", dir_ / "upper",
                               "--quota", "64M"});
    without_io_uring([&] { vfsd = std::make_unique<VfsdProcess>(more, dir_ / "cache"); });
    return vfsd;
  }
  [[nodiscard]] Outcome run_oci_mount(std::vector<std::string> words) const {
    words.insert(words.begin(), LAYERBOOT_OCI_MOUNT);
    Outcome outcome;
    without_io_uring([&] { outcome = run_program(words, dir_ / "cache"); });
    return outcome;
  }

  TempDir dir_;
  std::string content_;
};

INSTANTIATE_TEST_SUITE_P(Ways, RefusedRingTest, testing::Values(EPERM, ENOSYS, EACCES),
                         [](const auto& code) { return strerrorname_np(code.param); });

TEST_P(RefusedRingTest, VfsdIndexesServesAndEnds) {
  const auto vfsd = start_vfsd({});
  ASSERT_TRUE(vfsd->ready()) << vfsd->messages();
  EXPECT_EQ(count_of(kLine, vfsd->messages()), 1U) << vfsd->messages();
  auto guest = FakeGuest::connect(dir_ / "s", {});
  ASSERT_TRUE(guest) << guest.error().describe();
  ASSERT_TRUE((*guest)->boot());
  FuseClient client(**guest, 1);
  ASSERT_TRUE(client.init());
  const auto big = client.lookup(1, "big");
  ASSERT_TRUE(big);
  EXPECT_TRUE(client.read(big->nodeid, 1'000'000, 100'000).value_or("") ==
              content_.substr(1'000'000, 100'000));
  EXPECT_EQ(client.write(big->nodeid, 3, "copied up").value_or(0), 9U);
  EXPECT_EQ(client.read(big->nodeid, 3, 9).value_or(""), "copied up");
  EXPECT_TRUE(client.fallocate(big->nodeid, 0, content_.size(), 100'000));
  EXPECT_TRUE(client.fsync(big->nodeid));
  const auto etc = client.lookup(1, "etc");
  ASSERT_TRUE(etc);
  const auto made = client.create(etc->nodeid, "new", 0644, 0);
  ASSERT_TRUE(made);
  EXPECT_EQ(client.write(made->nodeid, 0, "kept").value_or(0), 4U);
  EXPECT_TRUE(client.fsync(made->nodeid));
  (*guest)->hang_up();
  vfsd->signal(SIGTERM);
  EXPECT_EQ(vfsd->wait(), 0) << vfsd->messages();
  std::ifstream kept(dir_ / "upper/upper/etc/new");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(kept), {}), "kept");
}

TEST_P(RefusedRingTest, VfsdThatMustHaveARingSaysWhyItHasNone) {
  const auto vfsd = start_vfsd({"--io-engine", "uring"});
  EXPECT_FALSE(vfsd->ready());
  EXPECT_EQ(vfsd->wait(), 1);
  EXPECT_NE(vfsd->messages().find("io_uring is not available"), std::string::npos) << vfsd->messages();
}

TEST_P(RefusedRingTest, OciMountReadsImages) {
  EXPECT_EQ(run_oci_mount({"index", image()}).exit_code, 0);
  const Outcome cat = run_oci_mount({"cat", image(), "big", "etc/hostname"});
  EXPECT_EQ(cat.exit_code, 0) << cat.err;
  EXPECT_TRUE(cat.out == content_ + "lower\n");
  EXPECT_EQ(cat.err, "");
  const Outcome verified = run_oci_mount({"verify", image(), "--quiet"});
  EXPECT_EQ(verified.exit_code, 0) << verified.out << verified.err;
  const Outcome tar = run_oci_mount({"tar", image()});
  EXPECT_EQ(tar.exit_code, 0) << tar.err;
  EXPECT_NE(tar.out.find(content_.substr(0, 1000)), std::string::npos);
}

TEST_P(RefusedRingTest, OciMountMounts) {
  if (const std::string why = why_no_fuse(); !why.empty()) GTEST_SKIP() << why;
  if (::geteuid() != 0) GTEST_SKIP() << "fusermount3 gets no rights under the filter of this test";
  const fs::path at = dir_ / "mnt";
  fs::create_directories(at);
  std::unique_ptr<Mounted> mounted;
  without_io_uring([&] {
    mounted = std::make_unique<Mounted>(
        std::vector<std::string>{image(), "--upper", (dir_ / "upper").string(), "--quota", "64M"},
        dir_ / "cache", at);
  });
  ASSERT_TRUE(is_mountpoint(at)) << mounted->messages();
  EXPECT_EQ(count_of(kLine, mounted->messages()), 1U) << mounted->messages();
  std::ifstream big(at / "big");
  EXPECT_TRUE(std::string(std::istreambuf_iterator<char>(big), {}) == content_);
  std::ofstream(at / "big", std::ios::app) << "more";
  EXPECT_EQ(fs::file_size(at / "big"), content_.size() + 4);
  EXPECT_EQ(mounted->stop(SIGTERM), 0) << mounted->messages();
}

}  // namespace
}  // namespace layerboot::test
