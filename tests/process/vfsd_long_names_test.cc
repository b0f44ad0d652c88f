// A host whose file system has names that a guest's kernel has no room for (NTFS, vfat, FUSE): they are out
// of the guest's sight, and nothing else is.
#include <unistd.h>

#include <algorithm>
#include <set>
#include <string>

#include "tests/process/hung_file_system.h"
#include "tests/process/vfsd_share_fixture.h"

namespace layerboot::test {
namespace {

class VfsdLongNamesTest : public VfsdShareTest {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "mounts a FUSE file system, which takes root";
    VfsdShareTest::SetUp();
    fuse_.emplace(host(), std::vector<std::string>{std::string(256, 'n'), std::string(255, 'm'),
                                                   std::string(1000, 'n'), "last"});
    ASSERT_TRUE(fuse_->mounted()) << "no /dev/fuse";
  }
  void TearDown() override {
    guest_.reset();
    vfsd_.reset();
    fuse_.reset();
  }
  std::set<std::string> listed(bool plus) {
    std::set<std::string> names;
    for (std::uint64_t cookie = 0;;) {
      const auto page = client_->readdir_page(1, cookie, 4096, plus);
      EXPECT_TRUE(page) << page.error().describe();
      if (!page || page->empty()) return names;
      for (const auto& entry : *page) {
        if (entry.name != "." && entry.name != "..") names.insert(entry.name);
        cookie = entry.next_cookie;
      }
    }
  }

  const std::set<std::string> in_sight_{"file", std::string(255, 'm'), "last"};
  std::optional<HungFileSystem> fuse_;
};

TEST_F(VfsdLongNamesTest, EndNoListingOfAShare) {
  serve();
  for (const bool plus : {true, false}) EXPECT_EQ(listed(plus), in_sight_) << plus;
  EXPECT_EQ(client_->lookup(1, std::string(256, 'n')).error().code, ENAMETOOLONG);
}

TEST_F(VfsdLongNamesTest, KeepNoDirectoryFromBeingAnImage) {
  vfsd_ = std::make_unique<VfsdProcess>(
      std::vector<std::string>{"--socket-path", dir_ / "s", "--image", "dir:" + host().string(),
                               "--read-only", "--quiet"},
      dir_ / "cache");
  ASSERT_TRUE(vfsd_->ready()) << vfsd_->messages();
  EXPECT_NE(vfsd_->messages().find("left out 2 names of more than 255 bytes"), std::string::npos)
      << vfsd_->messages();
  boot({.request_queues = 1});
  EXPECT_EQ(listed(true), in_sight_);
}

}  // namespace
}  // namespace layerboot::test
