#include "oci-mount/layer/tar_entry.h"
#include "oci-mount/base/device_number.h"

#include <gtest/gtest.h>

#include "oci-mount/base/path_rules.h"
#include "oci-mount/layer/limits.h"

namespace layerboot::layer {
namespace {

TarHeader header(char type, std::string name, std::string link = "") {
  TarHeader made;
  made.type = type;
  made.name = std::move(name);
  made.link = std::move(link);
  return made;
}

Result<std::optional<TarEntry>> make(const TarHeader& made) { return make_entry(made, {}, 1024); }

void expect_header_refused(const TarHeader& made, std::string_view reason) {
  const auto entry = make(made);
  ASSERT_FALSE(entry) << made.name.substr(0, 50);
  EXPECT_NE(entry.error().text.find(reason), std::string::npos) << entry.error().text;
}

TEST(CleanPath, ClampsToTheRoot) {
  for (const auto& [name, clean] :
       std::vector<std::pair<std::string, std::string>>{{"a/b", "a/b"},
                                                        {"/a//b/", "a/b"},
                                                        {"./a/./b", "a/b"},
                                                        {"../../etc/passwd", "etc/passwd"},
                                                        {"a/../../b", "b"},
                                                        {"a/../b/..", ""},
                                                        {"/", ""},
                                                        {".", ""},
                                                        {"", ""},
                                                        {"..a/...", "..a/..."}}) {
    EXPECT_EQ(*clean_path(name), clean) << name;
  }
}

TEST(CleanPath, NamesTheLimitItBreaks) {
  const auto error_of = [](const std::string& name) { return clean_path(name).error().text; };
  EXPECT_TRUE(clean_path(std::string(kMaxNameBytes, 'a')));
  EXPECT_NE(error_of(std::string(kMaxNameBytes + 1, 'a')).find("limit of 255"), std::string::npos);
  const std::string longest(kMaxNameBytes, 'a');
  EXPECT_TRUE(clean_path("d/.wh." + longest)) << "what hides the longest name";
  EXPECT_FALSE(clean_path("d/.wh.a" + longest));
  EXPECT_FALSE(clean_path("d/.wh." + longest + "/x")) << "a directory is no mark";
  EXPECT_FALSE(clean_path("d/.wh..wh." + longest.substr(4)));
  EXPECT_NE(error_of(std::string(10'000, '/')).find("limit of 4096"), std::string::npos);
  std::string deep;
  for (std::size_t i = 0; i < kMaxPathDepth; ++i) deep += "a/";
  EXPECT_TRUE(clean_path(deep));
  EXPECT_NE(error_of(deep + "a").find("limit of 1024"), std::string::npos);
  std::string wide;
  for (int i = 0; i < 33; ++i) wide += std::string(127, 'b') + "/";
  EXPECT_NE(error_of(wide).find("limit of 4096"), std::string::npos);
  EXPECT_FALSE(clean_path(std::string("a\0b", 3)));
  EXPECT_EQ(error_of(std::string(300, '\n')).find('\n'), std::string::npos)
      << "no control bytes in a message";
}

TEST(MakeEntry, GivesEachKind) {
  const auto type_of = [](char type, const std::string& name) {
    return make(header(type, name, "target")).value()->type;
  };
  EXPECT_EQ(type_of('0', "f"), EntryType::kFile);
  EXPECT_EQ(type_of('\0', "f"), EntryType::kFile);
  EXPECT_EQ(type_of('7', "f"), EntryType::kFile);
  EXPECT_EQ(type_of('0', "f/"), EntryType::kFile);
  EXPECT_EQ(type_of('\0', "d/"), EntryType::kDirectory);
  EXPECT_EQ(type_of('5', "d"), EntryType::kDirectory);
  EXPECT_EQ(type_of('2', "l"), EntryType::kSymlink);
  EXPECT_EQ(type_of('1', "l"), EntryType::kHardLink);
  EXPECT_EQ(type_of('3', "c"), EntryType::kCharDevice);
  EXPECT_EQ(type_of('4', "b"), EntryType::kBlockDevice);
  EXPECT_EQ(type_of('6', "p"), EntryType::kFifo);
  for (const char type : {'V', 'M', 'D', 'S', '8', '\xff'}) EXPECT_FALSE(make(header(type, "x")));
}

TEST(MakeEntry, AFileHasItsDataWhereTheyAre) {
  TarHeader file = header('0', "f");
  file.size_bytes = 7;
  file.mode = 0104755;
  const auto entry = make(file);
  ASSERT_TRUE(entry && *entry);
  EXPECT_EQ((*entry)->mode, 04755U);
  EXPECT_EQ((*entry)->size_bytes, 7U);
  ASSERT_EQ((*entry)->extents.size(), 1U);
  EXPECT_EQ((*entry)->extents[0].stream_offset, 1024U);
  EXPECT_EQ((*entry)->extents[0].length_bytes, 7U);
  file.size_bytes = 0;
  EXPECT_TRUE(make(file).value()->extents.empty());
}

TEST(MakeEntry, LinksKeepOrCleanTheirTarget) {
  EXPECT_EQ(make(header('2', "l", "../x//y"))->value().link, "../x//y");
  EXPECT_EQ(make(header('1', "l", "/../x//y"))->value().link, "x/y");
  expect_header_refused(header('2', "l", ""), "symlink");
  expect_header_refused(header('2', "l", std::string(kMaxSymlinkBytes + 1, 'x')), "4095");
  expect_header_refused(header('1', "l", "/"), "hard link to the root");
}

// CVE-2021-29136: the root itself replaced.
TEST(MakeEntry, TheRootStaysADirectory) {
  EXPECT_EQ(make(header('5', "./"))->value().path, "");
  expect_header_refused(header('2', "/.", "elsewhere"), "replace the root");
  expect_header_refused(header('0', ".."), "replace the root");
}

TEST(MakeEntry, WhiteoutsGoByNameWhateverTheirType) {
  for (const char type : {'0', '1', '2', '3', '5'}) {
    const auto entry = make(header(type, "a/.wh.b", "gone"));
    ASSERT_TRUE(entry && *entry) << type;
    EXPECT_EQ((*entry)->type, EntryType::kWhiteout);
    EXPECT_EQ((*entry)->path, "a/b");
  }
  EXPECT_EQ(make(header('0', ".wh.b"))->value().path, "b");
  EXPECT_EQ(make(header('0', "a/.wh..wh..opq"))->value().type, EntryType::kOpaque);
  EXPECT_EQ(make(header('0', "a/.wh..wh..opq"))->value().path, "a");
  EXPECT_EQ(make(header('0', ".wh..wh..opq"))->value().path, "");
}

TEST(MakeEntry, HidesAufsMetadata) {
  for (const char* name : {".wh..wh.plnk", "a/.wh..wh.aufs", ".wh..wh.plnk/1.2", "a/.wh.b/c", ".wh.a/b"}) {
    const auto entry = make(header('0', name));
    ASSERT_TRUE(entry && *entry) << name;
    EXPECT_TRUE((*entry)->hidden) << name << ": only hard links may lead there";
    for (const char type : {'5', '2', '1', '3'}) {
      const auto other = make(header(type, name, "target"));
      ASSERT_TRUE(other) << name;
      EXPECT_TRUE(!*other || (*other)->type == EntryType::kOpaque) << name;
    }
  }
  EXPECT_EQ(make(header('0', "a.wh./b.wh.c"))->value().path, "a.wh./b.wh.c") << "only at a name's begin";
}

TEST(MakeEntry, RefusesWhiteoutsThatNameNothing) {
  for (const char* name : {".wh.", "a/.wh.", ".wh..", "a/.wh..."})
    expect_header_refused(header('0', name), "names nothing");
}

TEST(MakeEntry, XattrsOfTheHostsOverlayAreDropped) {
  const auto entry = make_entry(header('0', "f"),
                                {{"user.b", "2"},
                                 {"trusted.overlay.opaque", "y"},
                                 {"trusted.overlay.layerboot.guest.trusted.x", "1"},
                                 {"trusted.x", "1"},
                                 {"security.capability", "c"}},
                                0);
  ASSERT_TRUE(entry && *entry);
  ASSERT_EQ((*entry)->xattrs.size(), 3U);
  EXPECT_EQ((*entry)->xattrs[0].first, "security.capability");
  EXPECT_EQ((*entry)->xattrs[1].first, "trusted.overlay.layerboot.guest.trusted.x") << "a guest's own";
  EXPECT_EQ((*entry)->xattrs[2].first, "user.b");
}

TEST(MakeEntry, XattrsThatOnlyFilesAndDirectoriesHaveAreDroppedElsewhere) {
  const std::vector<std::pair<std::string, std::string>> all{
      {"security.x", "1"}, {"system.posix_acl_access", "2"}, {"user.x", "3"}};
  for (const char type : {'0', '5'})
    EXPECT_EQ(make_entry(header(type, "f"), all, 0)->value().xattrs.size(), 3U);
  for (const char type : {'3', '4', '6'})
    EXPECT_EQ(make_entry(header(type, "f"), all, 0)->value().xattrs.size(), 2U);
  const auto symlink = make_entry(header('2', "l", "x"), all, 0);
  ASSERT_EQ(symlink->value().xattrs.size(), 1U);
  EXPECT_EQ(symlink->value().xattrs[0].first, "security.x");
}

TEST(MakeEntry, ASymlinkHasNoModeOfItsOwn) {
  TarHeader symlink = header('2', "l", "x");
  symlink.mode = 0644;
  EXPECT_EQ(make(symlink)->value().mode, 0777U);
}

TEST(MakeEntry, XattrsAreBounded) {
  EXPECT_TRUE(make_entry(header('0', "f"), {{"user.a", std::string(kMaxXattrBytes - 6, 'x')}}, 0));
  EXPECT_FALSE(make_entry(header('0', "f"), {{"user.a", std::string(kMaxXattrBytes - 5, 'x')}}, 0));
  EXPECT_FALSE(make_entry(header('0', "f"), {{std::string(256, 'n'), "x"}}, 0));
}

TEST(MakeEntry, OwnersAreAsChownTakesThem) {
  const std::vector<std::pair<std::int64_t, std::uint32_t>> owners{{4'294'967'294, 4'294'967'294},
                                                                   {4'294'967'295, 0},
                                                                   {-1, 0},
                                                                   {-2, 4'294'967'294},
                                                                   {1LL << 32, 0},
                                                                   {(1LL << 32) + 5, 5}};
  for (const auto& [in_tar, taken] : owners) {
    TarHeader file = header('0', "f");
    file.uid = in_tar;
    file.gid = in_tar;
    EXPECT_EQ(make(file)->value().uid, taken) << in_tar;
    EXPECT_EQ(make(file)->value().gid, taken) << in_tar;
  }
}

TEST(MakeEntry, DevicesAreInRange) {
  TarHeader device = header('4', "d");
  device.device_major = kMaxDeviceMajor;
  device.device_minor = kMaxDeviceMinor;
  EXPECT_TRUE(make(device));
  device.device_minor = kMaxDeviceMinor + 1;
  expect_header_refused(device, "4095:1048575");
}

TEST(DataBytes, OnlyFilesHaveData) {
  TarHeader file = header('0', "f");
  file.size_bytes = 5;
  EXPECT_EQ(*data_bytes(file), 5U);
  for (const char type : {'1', '2', '3', '4', '5', '6'}) {
    file.type = type;
    EXPECT_EQ(*data_bytes(file), 0U) << type;
  }
  file.type = '0';
  file.size_bytes = -1;
  EXPECT_FALSE(data_bytes(file));
  file.size_bytes = static_cast<std::int64_t>(kMaxStreamBytes) + 1;
  EXPECT_FALSE(data_bytes(file));
}

}  // namespace
}  // namespace layerboot::layer
