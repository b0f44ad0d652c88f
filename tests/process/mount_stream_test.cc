// oci-mount's tar, index, verify and diff, as a user meets them.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "oci-mount/base/str_cat.h"
#include "tests/process/mount_listing.h"
#include "tests/process/mount_support.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

class MountStreamTest : public testing::Test {
 protected:
  void SetUp() override {
    TarBuilder lower;
    lower.directory("etc")
        .file("etc/hostname", "lower\n", 0600)
        .file("etc/gone", "x")
        .symlink("conf", "/etc");
    lower.directory("dir", 01777).file("dir/kept", "kept").file("dir/removed", "removed");
    lower.file("old-name", "moved").directory("moved").file("moved/inside", "inside");
    lower.add(device("null", 1, 300)).add(special("pipe", '6'));
    TarMember odd = special("xattrs", '0');
    odd.content = "x";
    odd.mode = 04755;
    odd.uid = 3'000'000;
    odd.pax = {{"SCHILY.xattr.user.colour", std::string("blue\n=\0green", 12)},
               {"mtime", "1700000000.123456789"}};
    lower.add(odd);
    TarMember old = special("old", '0');
    old.pax = {{"mtime", "-1.25"}};
    lower.add(old).file(std::string(150, 'n'), "long").file("\xc3\xa4\xff", "odd");
    big_ = sample_bytes(3'000'000, 1);
    TarBuilder upper;
    upper.file("etc/hostname", "upper\n").whiteout("etc/gone").file("big", big_).hard_link("z-big", "big");
    upper.hard_link(std::string(120, 'h'), "big").file("empty", "");
    lower_tar_ = lower.finish();
    ImageBuilder image(dir_ / "image");
    image.add_gzip_layer(lower_tar_).add_gzip_layer(upper.finish());
    top_blob_ = image.blob_path(sha256_text(image.layers[1].blob));
    image.write();
  }
  static TarMember special(std::string name, char type) {
    TarMember member;
    member.name = std::move(name);
    member.type = type;
    member.gid = 7;
    return member;
  }
  static TarMember device(std::string name, std::uint64_t major_number, std::uint64_t minor_number) {
    TarMember member = special(std::move(name), '3');
    member.device_major = major_number;
    member.device_minor = minor_number;
    return member;
  }
  std::string image() const { return "oci:" + (dir_ / "image").string(); }
  fs::path cache() const { return dir_ / "cache"; }
  Outcome tool(std::vector<std::string> words) const {
    words.insert(words.begin(), LAYERBOOT_OCI_MOUNT);
    return run_program(words, cache());
  }
  void unpack(const std::string& tar, const fs::path& into) const {
    write_text(dir_ / "image.tar", tar);
    fs::create_directories(into);
    const Outcome unpacked =
        run_program({"tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--same-owner", "-xpf",
                     (dir_ / "image.tar").string(), "-C", into.string()},
                    cache());
    EXPECT_EQ(unpacked.exit_code, 0) << unpacked.err;
  }
  void flip(const fs::path& file, std::size_t offset) const {
    std::string bytes = read_text(file);
    ASSERT_LT(offset, bytes.size());
    bytes[offset] = static_cast<char>(bytes[offset] ^ 1);
    fs::permissions(file, fs::perms::owner_write, fs::perm_options::add);
    write_text(file, bytes);
  }
  fs::path only_file(std::string_view extension, std::string_view begin = "") const {
    for (const auto& entry : fs::directory_iterator(cache() / "layerboot/index")) {
      if (entry.path().extension() == extension && entry.path().filename().string().starts_with(begin))
        return entry.path();
    }
    return {};
  }

  TempDir dir_;
  std::string big_;
  std::string lower_tar_;
  fs::path top_blob_;
};

TEST_F(MountStreamTest, GnuTarUnpacksWhatTheMountShows) {
  if (const std::string why = why_no_fuse(); !why.empty()) GTEST_SKIP() << why;
  if (::geteuid() != 0) GTEST_SKIP() << "only root can unpack owners and devices to compare with";
  const Outcome tar = tool({"tar", image(), "-q"});
  ASSERT_EQ(tar.exit_code, 0) << tar.err;
  EXPECT_EQ(tar.err, "");
  unpack(tar.out, dir_ / "unpacked");
  fs::create_directories(dir_ / "mnt");
  const Mounted mounted({image()}, cache(), dir_ / "mnt");
  ASSERT_TRUE(is_mountpoint(dir_ / "mnt")) << mounted.messages();
  const Listing listing = list_tree(dir_ / "mnt");
  EXPECT_EQ(listing.size(), 20U);
  expect_same(listing, "mounted", list_tree(dir_ / "unpacked"), "unpacked by GNU tar");
  EXPECT_TRUE(tool({"tar", image(), "-q"}).out == tar.out) << "the same image gives the same bytes";
}

TEST_F(MountStreamTest, TheTarIsALayerOfTheSameTree) {
  const Outcome tar = tool({"tar", image(), "-q"});
  ImageBuilder flat(dir_ / "flat");
  flat.add_gzip_layer(tar.out).write();
  const Outcome again = tool({"tar", "oci:" + (dir_ / "flat").string(), "-q"});
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_TRUE(again.out == tar.out);
}

TEST_F(MountStreamTest, IndexSaysWhatItBuiltAndWhatItFound) {
  const Outcome first = tool({"index", image(), "-q"});
  ASSERT_EQ(first.exit_code, 0) << first.err;
  EXPECT_EQ(std::count(first.out.begin(), first.out.end(), '\n'), 5) << first.out;
  EXPECT_NE(first.out.find("MB/s"), std::string::npos) << first.out;
  const Outcome second = tool({"index", image(), "--json"});
  const auto report = nlohmann::json::parse(second.out, nullptr, false);
  ASSERT_EQ(report["layers"].size(), 2U) << second.out;
  EXPECT_EQ(report["layers"][0]["stream_bytes"], lower_tar_.size());
  EXPECT_FALSE(report["layers"][0].contains("build_seconds"));
  EXPECT_EQ(report["nodes"], 18U);
}

TEST_F(MountStreamTest, IndexingThatIsKilledLeavesNothingHalfMade) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(str_cat("seed ", seed));
  std::mt19937 random(seed);
  constexpr unsigned kLongestMicros = 120'000;  // about what it takes
  for (int round = 0; round < 12; ++round) {
    fs::remove_all(cache());
    const pid_t pid = start_program({LAYERBOOT_OCI_MOUNT, "index", image(), "-q"}, cache());
    ASSERT_GT(pid, 0);
    ::usleep(static_cast<useconds_t>(random() % kLongestMicros));
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(cache() / "layerboot/index", ignored)) {
      const std::string extension = entry.path().extension().string();
      EXPECT_TRUE(extension == ".lidx" || extension == ".tree") << entry.path() << " is left over";
    }
    // What is there is whole: it is taken as it is, or verify would name it.
    const Outcome outcome = tool({"verify", image(), "-q"});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
  }
}

TEST_F(MountStreamTest, VerifyFindsNothingWrong) {
  for (int i = 0; i < 2; ++i) {  // without indexes, and with
    const Outcome outcome = tool({"verify", image(), "-q"});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
    EXPECT_EQ(outcome.out.find("BAD"), std::string::npos) << outcome.out;
    EXPECT_NE(outcome.out.find("tree good"), std::string::npos) << outcome.out;
    tool({"index", image(), "-q"});
  }
  for (const auto& entry : fs::directory_iterator(cache() / "layerboot/index"))
    EXPECT_FALSE(entry.is_directory()) << entry.path() << " is left over";
}

TEST_F(MountStreamTest, VerifyNamesTheRangeOfAFlippedByte) {
  tool({"index", image(), "-q"});
  const std::size_t at = fs::file_size(top_blob_) / 2;
  flip(top_blob_, at);
  const Outcome outcome = tool({"verify", image(), "-q"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.out.find("is damaged: its bytes hash to"), std::string::npos) << outcome.out;
  const auto where = outcome.out.find("  bytes ");
  ASSERT_NE(where, std::string::npos) << outcome.out;
  std::size_t begin = 0;
  std::size_t end = 0;
  ASSERT_EQ(std::sscanf(outcome.out.c_str() + where, "  bytes %zu to %zu of the blob", &begin, &end), 2);
  EXPECT_LE(begin, at);
  EXPECT_GE(end, at);
  EXPECT_LT(end - begin, fs::file_size(top_blob_) / 2) << "one span, not the blob";
}

TEST_F(MountStreamTest, VerifyOfABadBlobThatWasNeverWhole) {
  flip(top_blob_, fs::file_size(top_blob_) / 2);
  const Outcome outcome = tool({"verify", image(), "-q"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.out.find("no index was kept"), std::string::npos) << outcome.out;
  EXPECT_NE(outcome.out.find(" good ("), std::string::npos) << "the layer below: " << outcome.out;
}

TEST_F(MountStreamTest, VerifyFindsADamagedIndexAndTree) {
  tool({"index", image(), "-q"});
  const fs::path tree = only_file(".tree");
  flip(tree, fs::file_size(tree) - 1);
  const Outcome bad_tree = tool({"verify", image(), "-q"});
  EXPECT_EQ(bad_tree.exit_code, 1);
  EXPECT_NE(
      bad_tree.out.find(str_cat("index ", tree.string(), " is wrong from byte ", fs::file_size(tree) - 1)),
      std::string::npos)
      << bad_tree.out;
  const fs::path index = only_file(".lidx");
  flip(index, fs::file_size(index) / 2);
  const Outcome bad_index = tool({"verify", image(), "-q"});
  EXPECT_EQ(bad_index.exit_code, 1);
  EXPECT_NE(bad_index.out.find(index.string()), std::string::npos) << bad_index.out;
}

TEST_F(MountStreamTest, DiffTellsWhatAVmChanged) {
  if (const std::string why = why_no_fuse(); !why.empty()) GTEST_SKIP() << why;
  if (::geteuid() != 0) GTEST_SKIP() << "an upper directory needs root";
  const fs::path upper = dir_ / "upper";
  const fs::path root = dir_ / "mnt";
  fs::create_directories(root);
  {
    Mounted mounted({image(), "--upper", upper.string()}, cache(), root);
    ASSERT_TRUE(is_mountpoint(root)) << mounted.messages();
    const Outcome nothing = tool({"diff", image(), upper.string(), "-q"});  // while it is in use
    EXPECT_EQ(nothing.exit_code, 0) << nothing.err;
    EXPECT_EQ(nothing.out, "");
    std::ofstream(root / "dir/kept", std::ios::app) << "more";
    fs::remove(root / "dir/removed");
    fs::create_directories(root / "new/deep");
    write_text(root / "new/deep/file", "new");
    fs::rename(root / "old-name", root / "new-name");
    fs::rename(root / "moved", root / "moved2");
    fs::remove_all(root / "etc");
    fs::create_directory(root / "etc");
    write_text(root / "etc/fresh", "");
    EXPECT_EQ(mounted.stop(SIGTERM), 0) << mounted.messages();
  }
  const Outcome outcome = tool({"diff", image(), upper.string(), "-q"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(
      outcome.out,
      "C /dir\nC /dir/kept\nD /dir/removed\nC /etc\nA /etc/fresh\nD /etc/hostname\nD /moved\nA /moved2\n"
      "A /moved2/inside\nA /new\nA /new/deep\nA /new/deep/file\nA /new-name\nD /old-name\n");
  ImageBuilder other(dir_ / "other");
  other.add_gzip_layer(TarBuilder().file("a", "b").finish()).write();
  const Outcome refused = tool({"diff", "oci:" + (dir_ / "other").string(), upper.string(), "-q"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("belongs to another image"), std::string::npos) << refused.err;
  EXPECT_NE(tool({"diff", image(), root.string(), "-q"}).err.find("no upper directory"), std::string::npos);
}

}  // namespace
}  // namespace layerboot::test
