// The same random operations on an image's tree, through ours and on ext4: after each the same errno, and the
// same to see of what it was about; now and then the same tree.
//
// 8 sequences of steps, half of them with a client that forgets everything after each operation, half with
// one that keeps names and objects, also removed ones. LAYERBOOT_TEST_STEPS=20000 makes them as long as they
// are meant to be (two to four minutes); the usual length fits between other tests. LAYERBOOT_TEST_SEED for
// the first.
//
// Not compared, because it differs and may (overlay/DESIGN.md, "What ext4 does that a root served by this
// does not", says why where there is anything to say):
//   sizes and link counts of directories, blocks, inode numbers, times of change (ctime);
//   what is found and made in a directory that was removed while somebody has it open (its attributes are);
//   where exactly holes are: what lseek(2) tells must be true, no more;
//   the owner and ACL of what RENAME_WHITEOUT leaves, and S_ISGID without S_IXGRP after a chown by who is not
//   root (both are kept out of what is compared, in differential_host.cc and differential_inventor.cc).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "tests/oci-mount/vfs/differential.h"
#include "tests/oci-mount/vfs/differential_image.h"
#include "tests/oci-mount/vfs/differential_inventor.h"
#include "tests/oci-mount/vfs/host_disk.h"
#include "tests/oci-mount/vfs/image_fixture.h"

namespace layerboot::test {
namespace {

constexpr std::uint64_t kSequences = 8;
constexpr std::int64_t kUsualSteps = 5'000;
constexpr int kTreeEvery = 500;  // steps; then the whole tree is compared, and mostly all is opened anew

std::int64_t number_or(const char* variable, std::int64_t usual) {
  const char* text = std::getenv(variable);
  return text != nullptr ? std::strtoll(text, nullptr, 10) : usual;
}

class Ext4DifferentialTest : public testing::TestWithParam<std::uint64_t> {
 protected:
  void SetUp() override {
    if (!disk_.mounted()) GTEST_SKIP() << disk_.why_not();
    // Access times are not kept here.
    ASSERT_EQ(::mount(nullptr, disk_.path().c_str(), nullptr, MS_REMOUNT | MS_NOATIME, nullptr), 0);
    image_.upper = disk_.path() / "vm";
    std::filesystem::create_directory(tree());
  }
  std::string tree() const { return (disk_.path() / "tree").string(); }

  void open(OurSide::Client client) {
    ours_.reset();
    // Half the time it ends in order.
    if (image_.fs && ++opened_ % 2 == 0) {
      ASSERT_TRUE(image_.fs->stop());
    }
    image_.open_writable();
    ours_ = std::make_unique<OurSide>(*image_.fs, client);
  }
  void compare(const Spot& spot, const std::string& what) {
    EXPECT_EQ(ours_->look(spot), host_->look(spot))
        << (spot.slot == Spot::kNone ? spot.path : "held " + std::to_string(spot.slot)) << ", after " << what;
  }
  static std::string parent_of(const std::string& path) { return path.substr(0, path.rfind('/')); }
  void step(const Operation& op);
  void compare_trees(Inventor& inventor, const std::string& what);

  HostDisk disk_{"ext4"};
  ImageFixture image_{image_of_all_kinds()};
  std::unique_ptr<OurSide> ours_;
  std::unique_ptr<HostSide> host_;
  int opened_ = 0;
};

void Ext4DifferentialTest::step(const Operation& op) {
  const std::string what = op.describe();
  const Answer mine = ours_->run(op);
  const Answer theirs = host_->run(op);
  EXPECT_EQ(mine.code, theirs.code) << what;
  EXPECT_EQ(mine.told, theirs.told) << what;
  for (const Spot* spot : {&op.object, &op.other}) {
    if (spot->slot == Spot::kNone && spot->path.empty()) continue;
    compare(*spot, what);
    if (spot->slot == Spot::kNone) compare({.path = parent_of(spot->path)}, what);
  }
}

void Ext4DifferentialTest::compare_trees(Inventor& inventor, const std::string& what) {
  for (const auto& path : inventor.paths()) {
    compare({.path = path}, what + ", in the whole tree");
    EXPECT_EQ(ours_->names_in(path), host_->names_in(path)) << path << what;
  }
}

TEST_P(Ext4DifferentialTest, RandomOperationsShowWhatTheyShowOnADisk) {
  const auto first = static_cast<std::uint64_t>(number_or("LAYERBOOT_TEST_SEED", 40'000));
  const std::uint64_t seed = first + GetParam();
  SCOPED_TRACE("LAYERBOOT_TEST_SEED=" + std::to_string(seed));
  const auto client = GetParam() % 2 == 0 ? OurSide::Client::kCold : OurSide::Client::kWarm;
  image_.record_owners = GetParam() % 4 >= 2;
  open(client);
  copy_tree(*ours_, tree());
  host_ = std::make_unique<HostSide>(tree());
  Inventor inventor(*host_, seed, client);
  compare_trees(inventor, "nothing");
  const std::int64_t steps = number_or("LAYERBOOT_TEST_STEPS", kUsualSteps);
  for (std::int64_t done = 0; done < steps && !HasFailure();) {
    const auto op = inventor.invent();
    if (!op) continue;
    SCOPED_TRACE("step " + std::to_string(done));
    step(*op);
    if (++done % kTreeEvery != 0) continue;
    compare_trees(inventor, op->describe());
    if (HasFailure()) break;
    host_->drop_slots();
    inventor.lose_slots();
    open(client);
    compare_trees(inventor, "a restart");
  }
}

INSTANTIATE_TEST_SUITE_P(Sequences, Ext4DifferentialTest, testing::Range<std::uint64_t>(0, kSequences));

}  // namespace
}  // namespace layerboot::test
