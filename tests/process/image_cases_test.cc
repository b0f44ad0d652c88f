// Images at the edges: our tree is what umoci and containerd make of them, or the table says by which rule
// not.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <optional>

#include "oci-mount/base/str_cat.h"
#include "tests/process/image_cases.h"
#include "tests/process/mount_listing.h"
#include "tests/process/mount_support.h"
#include "tests/process/private_containerd.h"
#include "tests/support/image_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

/// The cases' own times are of 2023 and before.
constexpr long long kLongAfterAnyCase = 1'735'689'600;

std::string tag_of(std::size_t number) { return str_cat("case-", number); }

/// All cases as tags of one OCI layout.
class ImageCasesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_fuse(); !why.empty()) GTEST_SKIP() << why;
    if (::geteuid() != 0) GTEST_SKIP() << "only root can unpack owners and devices to compare with";
    ImageBuilder builder(layout());
    for (std::size_t i = 0; i < cases_.size(); ++i) {
      builder.layers.clear();
      for (const std::string& tar : cases_[i].layers) builder.add_gzip_layer(tar);
      builder.write(tag_of(i));
    }
    fs::create_directories(dir_ / "mnt");
  }
  fs::path layout() const { return dir_ / "image"; }
  fs::path cache() const { return dir_ / "cache"; }
  std::string reference(std::size_t i) const { return str_cat("oci:", layout().string(), ":", tag_of(i)); }

  /// Our tree; nothing when the image is refused.
  std::optional<Listing> ours(std::size_t i) {
    const Mounted mounted({reference(i)}, cache(), dir_ / "mnt");
    if (!is_mountpoint(dir_ / "mnt")) return std::nullopt;
    return list_tree(dir_ / "mnt");
  }

  static void compare(const ImageCase& one, Compared expected, const std::optional<Listing>& ours,
                      std::optional<Listing> theirs, std::string_view who) {
    SCOPED_TRACE(str_cat(one.section, ": \"", one.name, "\" against ", who,
                         one.rule.empty() ? "" : "; the rule: ", one.rule));
    EXPECT_EQ(ours.has_value(), expected != Compared::kWeRefuse && expected != Compared::kBothRefuse);
    EXPECT_EQ(theirs.has_value(), expected != Compared::kItFails && expected != Compared::kBothRefuse);
    EXPECT_TRUE(expected == Compared::kSame || !one.rule.empty()) << "a difference needs its rule";
    if (!ours || !theirs) return;
    Listing mine = *ours;
    leave_out_times_of_unpacking(mine, *theirs);
    if (expected == Compared::kSame) expect_same(mine, "ours", *theirs, who);
    if (expected == Compared::kDiffers) {
      EXPECT_NE(mine, *theirs) << "they are the same now: say so in the table";
    }
  }

  /// A directory that a layer changes, or makes for want of an entry, without giving it a time has the lower
  /// layer's here, or 0. Elsewhere it has the time of unpacking, which no test can know.
  static void leave_out_times_of_unpacking(Listing& mine, Listing& theirs) {
    for (auto& [path, line] : mine) {
      const auto other = theirs.find(path);
      if (other == theirs.end()) continue;
      unsigned mode = 0;
      long long seconds = 0;
      if (std::sscanf(other->second.c_str(), "mode %u owner %*u:%*u mtime %lld", &mode, &seconds) != 2)
        continue;
      if (!S_ISDIR(mode) || seconds < kLongAfterAnyCase) continue;
      for (std::string* const text : {&line, &other->second}) {
        const auto begin = text->find(" mtime ");
        text->erase(begin, text->find(' ', begin + 1 + std::string_view("mtime ").size()) - begin);
      }
    }
  }

  const std::vector<ImageCase> cases_ = image_cases();
  TempDir dir_;
};

TEST_F(ImageCasesTest, AsUmociUnpacks) {
  EXPECT_GE(cases_.size(), 28U);
  std::size_t same = 0;
  for (std::size_t i = 0; i < cases_.size(); ++i) {
    const fs::path bundle = dir_ / str_cat("bundle-", i);
    const Outcome unpacked = run_program(
        {"umoci", "unpack", "--image", str_cat(layout().string(), ":", tag_of(i)), bundle.string()}, cache());
    std::optional<Listing> theirs;
    if (unpacked.exit_code == 0) theirs = list_tree(bundle / "rootfs");
    compare(cases_[i], cases_[i].umoci, ours(i), std::move(theirs), "umoci");
    if (cases_[i].umoci == Compared::kSame) ++same;
  }
  std::printf("%zu cases, %zu the same as umoci's, %zu by rule\n", cases_.size(), same, cases_.size() - same);
}

TEST_F(ImageCasesTest, AsContainerdMounts) {
  PrivateContainerd containerd(dir_ / "containerd");
  if (!containerd.works()) GTEST_SKIP() << containerd.why_not();
  std::size_t same = 0;
  for (std::size_t i = 0; i < cases_.size(); ++i) {
    std::optional<Listing> theirs;
    const auto mounted = containerd.mount(layout(), tag_of(i));
    if (mounted) theirs = list_tree(*mounted);
    const testing::ScopedTrace why(__FILE__, __LINE__, mounted ? std::string() : mounted.error().text);
    compare(cases_[i], cases_[i].containerd, ours(i), std::move(theirs), "containerd");
    if (cases_[i].containerd == Compared::kSame) ++same;
  }
  std::printf("%zu cases, %zu the same as containerd's, %zu by rule\n", cases_.size(), same,
              cases_.size() - same);
}

}  // namespace
}  // namespace layerboot::test
