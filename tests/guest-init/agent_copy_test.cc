// Copies by the agent's real loop, between this machine's directories.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "guest-init/copy_files.h"
#include "guest-init/tar_header.h"
#include "tests/guest-init/agent_peer.h"

namespace guest_init {
namespace {

namespace fs = std::filesystem;

class AgentCopy : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "the agent is root in its guest: chroot needs root here too";
    char name[] = "/var/tmp/layerboot-copy-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
  }
  void TearDown() override {
    if (!dir_.empty()) fs::remove_all(dir_);
  }

  void put(const std::string& name, const std::string& text) const {
    fs::create_directories((dir_ / name).parent_path());
    std::ofstream(dir_ / name) << text;
  }
  std::string get(const std::string& name) const {
    std::ifstream file(dir_ / name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  [[nodiscard]] std::string at(const std::string& name) const { return (dir_ / name).string(); }

  /// The tar of what is copied out; `code` and `said` are how that went.
  std::string out(CopyRequest copy) {
    SessionRequest request;
    request.copy = std::move(copy);
    AgentPeer peer;
    peer.start(1, request);
    const Heard& heard = peer.finish(1);
    code_ = heard.code;
    said_ = heard.error;
    return heard.output;
  }
  void in(CopyRequest copy, const std::string& tar) {
    copy.in = true;
    SessionRequest request;
    request.copy = std::move(copy);
    AgentPeer peer;
    peer.start(1, request);
    constexpr std::size_t kPiece = 8192;
    std::size_t sent = 0;
    while (sent < tar.size() && !peer.heard[1].over) {
      const std::size_t piece = std::min(kPiece, tar.size() - sent);
      peer.until([&] { return peer.heard[1].over || sent + piece <= peer.heard[1].credit + kWindowBytes; });
      peer.frame(1, FrameType::kInput, tar.substr(sent, piece));
      sent += piece;
    }
    peer.frame(1, FrameType::kInputEnd);
    const Heard& heard = peer.finish(1);
    code_ = heard.code;
    said_ = heard.error;
  }

  fs::path dir_;
  std::uint32_t code_ = 0;
  std::string said_;
};

TEST_F(AgentCopy, ATreeComesBackAsItWas) {
  const std::string deep = std::string(90, 'd') + "/" + std::string(200, 'f');
  put("a/file", "text");
  put("a/" + deep, std::string(300'000, 'x'));
  put("a/empty", "");
  fs::create_symlink(std::string(150, 't'), dir_ / "a/link");
  ASSERT_EQ(mkfifo(at("a/pipe").c_str(), 0600), 0);
  ASSERT_EQ(chmod(at("a/file").c_str(), 04751), 0);
  const std::string tar = out({.path = at("a"), .name = "b"});
  EXPECT_EQ(code_, 0U) << said_;
  in({.path = at("new"), .name = "b", .directory = true}, tar);
  EXPECT_EQ(code_, 0U) << said_;
  EXPECT_EQ(get("new/file"), "text");
  EXPECT_EQ(get("new/" + deep), std::string(300'000, 'x'));
  EXPECT_EQ(fs::read_symlink(dir_ / "new/link"), std::string(150, 't'));
  struct stat st{};
  ASSERT_EQ(stat(at("new/file").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 04751U);
  ASSERT_EQ(stat(at("new/pipe").c_str(), &st), 0);
  EXPECT_TRUE(S_ISFIFO(st.st_mode));
  // GNU's tar reads the same.
  std::ofstream(dir_ / "tar") << tar;
  fs::create_directory(dir_ / "by-tar");
  ASSERT_EQ(std::system(("tar -C " + at("by-tar") + " -xf " + at("tar")).c_str()), 0);
  EXPECT_EQ(std::system(("diff -r " + at("a/" + deep) + " " + at("by-tar/b/" + deep)).c_str()), 0);
}

TEST_F(AgentCopy, WhatGnusTarWritesIsTaken) {
  put("a/file", std::string(100'001, 'y'));
  put("a/" + std::string(200, 'n'), "long");
  fs::create_hard_link(dir_ / "a/file", dir_ / "a/same");
  for (const char* format : {"gnu", "ustar"}) {
    const std::string skip = std::string(format) == "ustar" ? " --exclude=nnn*" : "";
    ASSERT_EQ(std::system(("cd " + at("") + " && tar --format=" + format + skip + " -cf tar a").c_str()), 0);
    fs::create_directories(dir_ / format);
    in({.path = at(format), .name = "a", .directory = true}, get("tar"));
    EXPECT_EQ(code_, 0U) << said_;
    EXPECT_EQ(get(std::string(format) + "/a/file"), std::string(100'001, 'y'));
    EXPECT_EQ(fs::hard_link_count(dir_ / format / "a/same"), 2U);
  }
}

TEST_F(AgentCopy, FollowsDockersRulesOfWhatIsThere) {
  put("file", "new");
  put("there/file", "old");
  const std::string tar = out({.path = at("file"), .name = "file"});
  in({.path = at("there"), .name = "file", .file = true}, tar);
  EXPECT_EQ(get("there/file"), "new") << "into a directory, under its name";
  in({.path = at("other"), .name = "file", .file = true}, tar);
  EXPECT_EQ(get("other"), "new") << "under the name that was given";
  in({.path = at("none/"), .name = "file", .file = true}, tar);
  EXPECT_EQ(code_, 1U);
  EXPECT_NE(said_.find("no directory"), std::string::npos) << said_;
  in({.path = at("no/where"), .name = "file", .file = true}, tar);
  EXPECT_EQ(code_, 1U);
  const std::string tree = out({.path = at("there"), .name = "."});
  in({.path = at("other"), .name = {}, .directory = true}, tree);
  EXPECT_EQ(code_, 1U) << "a directory over a file";
  in({.path = at("copy"), .name = {}, .directory = true}, tree);
  EXPECT_EQ(code_, 0U) << said_;
  EXPECT_EQ(get("copy/file"), "new") << "what it holds, into one that was made";
  EXPECT_EQ(out({.path = at("there"), .name = "x", .file = true}), "");
  EXPECT_EQ(code_, std::uint32_t{kNothingCopied});
  EXPECT_EQ(out({.path = at("not-there"), .name = "x"}), "");
  EXPECT_EQ(code_, std::uint32_t{kNothingCopied});
}

/// COPY's directories, and its file that goes into one that is there.
TEST_F(AgentCopy, WhatIsThereIsSetWhereThatIsMeant) {
  fs::create_directories(dir_ / "kept");
  fs::create_directories(dir_ / "set");
  fs::create_directories(dir_ / "end");
  fs::create_directory_symlink("end", dir_ / "link");
  const std::string text = "text";
  const auto file = [&](const std::string& name, const std::string& within) {
    return encode_tar_entry({.kind = TarKind::kFileOrInto,
                             .name = name,
                             .target = within,
                             .size_bytes = text.size(),
                             .mode = 0640,
                             .mtime = 1}) +
           text + std::string(tar_padding(text.size()), '\0');
  };
  const auto directory = [](TarKind kind, const std::string& name) {
    return encode_tar_entry({.kind = kind, .name = name, .target = {}, .mode = 0711, .uid = 7, .gid = 8});
  };
  in({.path = dir_.string(), .name = {}, .owners = true},
     directory(TarKind::kDirectory, "kept") + directory(TarKind::kSetDirectory, "set") +
         directory(TarKind::kSetDirectory, "link") + directory(TarKind::kSetDirectory, "made") +
         file("set", "name") + file("plain", "name") + std::string(2 * kTarBlock, '\0'));
  EXPECT_EQ(code_, 0U) << said_;
  const auto is_set = [&](const char* name) {
    struct stat st{};
    EXPECT_EQ(stat(at(name).c_str(), &st), 0) << name;
    return (st.st_mode & 07777) == 0711 && st.st_uid == 7 && st.st_gid == 8;
  };
  EXPECT_FALSE(is_set("kept"));
  EXPECT_FALSE(is_set("end")) << "at the end of a symlink";
  EXPECT_TRUE(is_set("set"));
  EXPECT_TRUE(is_set("made"));
  EXPECT_EQ(get("set/name"), text);
  EXPECT_EQ(get("plain"), text);
  in({.path = dir_.string(), .name = {}, .owners = true},
     file("set", "../out") + std::string(2 * kTarBlock, '\0'));
  EXPECT_EQ(code_, 1U) << said_;
  EXPECT_FALSE(fs::exists(dir_ / "out"));
}

TEST_F(AgentCopy, AttributesAreThoseOfTheNextEntry) {
  const auto with_data = [](TarKind kind, const std::string& name, const std::string& data) {
    return encode_tar_entry({.kind = kind,
                             .name = name,
                             .target = {},
                             .size_bytes = kind == TarKind::kDirectory ? 0 : data.size(),
                             .mode = 0711,
                             .uid = 7,
                             .gid = 8}) +
           data + std::string(tar_padding(data.size()), '\0');
  };
  const std::string long_name = "user." + std::string(200, 'l');
  in({.path = dir_.string(), .name = {}, .owners = true},
     with_data(TarKind::kAttribute, "user.one", "1") + with_data(TarKind::kAttribute, long_name, "2") +
         with_data(TarKind::kFile, "file", "text") + with_data(TarKind::kFile, "plain", "") +
         with_data(TarKind::kAttribute, "user.dir", "3") + with_data(TarKind::kDirectory, "made", "") +
         std::string(2 * kTarBlock, '\0'));
  if (said_.find("Operation not supported") != std::string::npos) GTEST_SKIP() << said_;
  EXPECT_EQ(code_, 0U) << said_;
  const auto attribute = [&](const char* file, const std::string& name) {
    char value[8];
    const ssize_t size = getxattr(at(file).c_str(), name.c_str(), value, sizeof(value));
    return size < 0 ? std::string("none") : std::string(value, static_cast<std::size_t>(size));
  };
  EXPECT_EQ(attribute("file", "user.one"), "1");
  EXPECT_EQ(attribute("file", long_name), "2");
  EXPECT_EQ(get("file"), "text");
  EXPECT_EQ(attribute("plain", "user.one"), "none");
  EXPECT_EQ(attribute("made", "user.dir"), "3");
  EXPECT_EQ(attribute("made", "user.one"), "none");
  in({.path = dir_.string(), .name = {}, .owners = true}, with_data(TarKind::kAttribute, "nonsense", "1") +
                                                              with_data(TarKind::kFile, "odd", "text") +
                                                              std::string(2 * kTarBlock, '\0'));
  EXPECT_EQ(code_, 1U);
  EXPECT_NE(said_.find("odd: its attribute nonsense"), std::string::npos) << said_;
  EXPECT_EQ(get("odd"), "text");
}

TEST_F(AgentCopy, NamesThatLeadOutAndWhatIsNoTarAreRefused) {
  put("a/file", "x");
  ASSERT_EQ(
      std::system(("cd " + at("a") + " && tar -P --transform 's,file,../out,' -cf ../tar file").c_str()), 0);
  fs::create_directory(dir_ / "into");
  in({.path = at("into"), .name = {}, .directory = true}, get("tar"));
  EXPECT_EQ(code_, 1U);
  EXPECT_FALSE(fs::exists(dir_ / "out"));
  in({.path = at("into"), .name = {}, .directory = true}, std::string(1024, 'n'));
  EXPECT_EQ(code_, 1U);
  in({.path = at("into"), .name = "a", .file = true},
     out({.path = at("a/file"), .name = "a"}).substr(0, 600));
  EXPECT_EQ(code_, 1U);
  EXPECT_NE(said_.find("cut off"), std::string::npos) << said_;
}

TEST_F(AgentCopy, ADetachedProgramGoesOnWithoutUs) {
  SessionRequest request;
  request.arguments = {"sh", "-c", "echo lost; sleep 0.2; echo done > " + at("mark")};
  request.detached = true;
  AgentPeer peer;
  peer.start(1, request);
  EXPECT_EQ(peer.finish(1).code, 0U);
  EXPECT_EQ(peer.finish(1).output, "");
  peer.greet(2);
  for (int i = 0; i < 600 && !fs::exists(dir_ / "mark"); ++i) usleep(50'000);
  EXPECT_TRUE(fs::exists(dir_ / "mark")) << "it was ended with the conversation";
}

}  // namespace
}  // namespace guest_init
