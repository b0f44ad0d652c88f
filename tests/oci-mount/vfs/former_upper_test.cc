// An upper as earlier versions wrote it, laid out by hand: it opens as before, and nothing in it is lost.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "oci-mount/base/files.h"
#include "oci-mount/overlay/body.h"
#include "oci-mount/overlay/upper_calls.h"
#include "tests/oci-mount/vfs/writable_fixture.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;
using overlay::Keeping;

class FormerUpperTest : public WritableFsTest, public testing::WithParamInterface<Keeping> {
 protected:
  void SetUp() override {
    if (native() && ::geteuid() != 0) GTEST_SKIP() << "only root has a native upper";
    record_owners = !native();
    lay_out();
  }
  [[nodiscard]] bool native() const { return GetParam() == Keeping::kNative; }
  [[nodiscard]] const overlay::Marks& former_marks() const { return overlay::marks_of(GetParam()); }

  void put(const std::string& path, const overlay::RecordedStat& nature, std::string_view content = {}) {
    const fs::path at = upper(path);
    const UniqueFd parent = *open_path(at.parent_path(), O_RDONLY | O_DIRECTORY);
    const std::string name = at.filename();
    const std::string_view target = S_ISLNK(nature.mode) ? content : std::string_view();
    const auto body = overlay::make_body(GetParam(), overlay::Making::kElsewhere,
                                         {parent.get(), name.c_str()}, nature, target);
    ASSERT_TRUE(body) << path << ": " << body.error().describe();
    if (S_ISREG(nature.mode)) write_text(at, content);
  }
  void put_file(const std::string& path, std::string_view content, std::uint32_t mode = 0644) {
    put(path, {.mode = S_IFREG | mode, .uid = 1, .gid = 2, .rdev = 0}, content);
  }
  void put_directory(const std::string& path) {
    put(path, {.mode = S_IFDIR | 0755, .uid = 0, .gid = 0, .rdev = 0});
  }
  void mark(const std::string& path, std::string_view name, std::string_view value) {
    ASSERT_EQ(::lsetxattr(upper(path).c_str(), std::string(name).c_str(), value.data(), value.size(), 0), 0)
        << path;
  }
  void whiteout(const std::string& path) {
    const fs::path shared = directory / "vm/work/whiteout";
    if (!fs::exists(shared)) {
      ASSERT_EQ(::mknod(shared.c_str(), S_IFCHR, makedev(0, 0)), 0);
    }
    ASSERT_EQ(::link(shared.c_str(), upper(path).c_str()), 0);
  }
  void lay_out() {
    fs::create_directories(upper());
    fs::create_directories(directory / "vm/work");
    write_text(directory / "vm/lock", "");
    write_text(directory / "vm/image", source->image.chain_id.text() + (native() ? "\n" : "\nrecorded\n"));
    // Written whole, and by chmod alone; renamed; removed.
    put_directory("etc");
    put_file("etc/small", "changed by the guest");
    mark("etc/small", former_marks().origin, "/etc/small");
    put_file("etc/big", {}, 0600);
    ASSERT_EQ(::truncate(upper("etc/big").c_str(), static_cast<off_t>(lower_big().size())), 0);
    mark("etc/big", former_marks().metacopy, {});
    mark("etc/big", former_marks().origin, "/etc/big");
    put_file("etc/setid.orig", {}, 06755);
    ASSERT_EQ(::truncate(upper("etc/setid.orig").c_str(), 6), 0);
    mark("etc/setid.orig", former_marks().metacopy, {});
    mark("etc/setid.orig", former_marks().redirect, "/etc/setid");
    mark("etc/setid.orig", former_marks().origin, "/etc/setid");
    whiteout("etc/setid");
    whiteout("etc/link");
    // A renamed directory of the image, and one that replaced another.
    put_directory("moved");
    mark("moved", former_marks().redirect, "/deep/er");
    put_directory("deep");
    whiteout("deep/er");
    put_directory("empty");
    mark("empty", former_marks().opaque, "y");
    put_file("empty/inside", "x");
    // One name of a file with three.
    put_directory("links");
    whiteout("links/a");
    // Special ones, and what the guest's own overlayfs made.
    put("fifo", {.mode = S_IFIFO | 0640, .uid = 0, .gid = 0, .rdev = 0});
    put("symlink", {.mode = S_IFLNK | 0777, .uid = 3, .gid = 4, .rdev = 0}, "nowhere");
    put("char00", {.mode = S_IFCHR, .uid = 0, .gid = 0, .rdev = 0});
    put_directory("docker");
    mark("docker",
         native() ? "trusted.overlay.overlay.opaque" : "user.overlay.layerboot.trusted.overlay.opaque", "y");
    // Left by a crash.
    write_text(directory / "vm/work/t7", "half a copy");
  }
};
INSTANTIATE_TEST_SUITE_P(EachKeeping, FormerUpperTest, testing::Values(Keeping::kNative, Keeping::kRecorded),
                         [](const auto& keeping) {
                           return keeping.param == Keeping::kNative ? "Native" : "Recorded";
                         });

TEST_P(FormerUpperTest, IsServedAsItWas) {
  for (int start = 0; start < 2; ++start) {
    restart();
    EXPECT_EQ(drive().read("etc/small"), "changed by the guest");
    EXPECT_EQ(drive().attr("etc/small").uid, 1U);
    EXPECT_EQ(drive().read("etc/big"), lower_big());
    EXPECT_EQ(drive().attr("etc/big").mode, S_IFREG | 0600U);
    EXPECT_EQ(drive().read("etc/setid.orig"), "set-id");
    EXPECT_EQ(drive().attr("etc/setid.orig").mode, S_IFREG | 06755U);
    EXPECT_EQ(drive().list("etc"), (std::vector<std::string>{"big", "small", "setid.orig"}));
    EXPECT_EQ(drive().read("moved/est/file"), "far down");
    EXPECT_EQ(drive().list("deep"), (std::vector<std::string>{"second"}));
    EXPECT_EQ(drive().list("empty"), (std::vector<std::string>{"inside"}));
    EXPECT_EQ(drive().attr("links/b").nlink, 2U);
    EXPECT_EQ(drive().attr("fifo").mode, S_IFIFO | 0640U);
    EXPECT_EQ(drive().attr("symlink").gid, 4U);
    EXPECT_EQ(drive().attr("char00").mode, S_IFCHR | 0U);
    EXPECT_EQ(xattr("docker", "trusted.overlay.opaque"), "y");
    EXPECT_FALSE(fs::exists(directory / "vm/work/t7"));
    for (const char* path : {"etc/small", "etc/big"}) {
      EXPECT_EQ(drive().attr(path).ino,
                source->tree->lookup(source->tree->lookup(tree::kRoot, "etc"), path + 4))
          << "its number is the image's";
    }
    expect_usage_agrees();
  }
}

TEST_P(FormerUpperTest, CanBeChangedAndEmptied) {
  restart();
  EXPECT_EQ(drive().write("etc/big", 0, "new"), 0);
  EXPECT_EQ(drive().read("etc/big").substr(0, 3), "new");
  EXPECT_EQ(drive().read("etc/big").substr(3), lower_big().substr(3));
  EXPECT_EQ(drive().write("links/b", 0, "H"), 0);
  EXPECT_EQ(drive().read("links2/c"), "Hard-linked");
  EXPECT_EQ(drive().rename("moved", "etc/moved"), 0);
  for (const char* path : {"etc/small", "etc/setid.orig", "empty/inside", "fifo", "symlink", "char00"}) {
    EXPECT_EQ(drive().unlink(path), 0) << path;
  }
  restart();
  EXPECT_EQ(drive().read("etc/moved/est/file"), "far down");
  EXPECT_EQ(drive().list("etc"), (std::vector<std::string>{"big", "moved"}));
}

}  // namespace
}  // namespace layerboot::test
