// What COPY takes of a context: the tar, and its digest.
#include "launcher/images/context_copy.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <csignal>
#include <filesystem>

#include "guest-init/tar_header.h"
#include "launcher/host/run_tool.h"
#include "oci-mount/base/bytes.h"
#include "tests/support/image_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::launcher {
namespace {

namespace fs = std::filesystem;

class ContextCopyTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(dir_ / "d/sub");
    test::write_text(dir_ / "a.txt", "first");
    test::write_text(dir_ / "b.txt", std::string(600, 'b'));
    test::write_text(dir_ / ".hidden", "h");
    test::write_text(dir_ / "d/x", "x");
    test::write_text(dir_ / "d/sub/y", "y");
    fs::create_symlink("../a.txt", dir_ / "d/link");
    fs::permissions(dir_ / "d/x", fs::perms::owner_all);
  }
  ContextCopy copy(std::vector<std::string> sources, const std::string& target, bool into) const {
    ContextCopy made{.context = context_, .action = {}};
    made.action.sources = std::move(sources);
    made.action.target = target;
    made.action.into_directory = into;
    return made;
  }
  /// A line an entry: kind, name, mode, and what is in it.
  static Result<std::string> list(const ContextCopy& copy) {
    std::string tar;
    LB_TRY(write_context_tar(copy, [&tar](std::span<const std::byte> bytes) {
      tar += as_text(bytes);
      return Result<void>();
    }));
    std::string lines;
    for (std::size_t at = 0; at + guest_init::kTarBlock <= tar.size();) {
      char block[guest_init::kTarBlock];
      tar.copy(block, sizeof(block), at);
      const auto entry = guest_init::decode_tar_block(block);
      if (!entry) return fail(EINVAL, "no tar");
      if (entry->kind == guest_init::TarKind::kFile && entry->name.empty()) break;
      at += sizeof(block);
      char mode[8];
      std::snprintf(mode, sizeof(mode), "%o", entry->mode);
      lines += str_cat(static_cast<char>(entry->kind), ' ', entry->name, ' ', mode, ' ', entry->uid, ' ',
                       entry->kind == guest_init::TarKind::kSymlink
                           ? entry->target
                           : tar.substr(at, std::min<std::size_t>(entry->size_bytes, 5)),
                       '\n');
      at += entry->size_bytes + guest_init::tar_padding(entry->size_bytes);
    }
    return lines;
  }
  static std::string why(const ContextCopy& copy) {
    const auto listed = list(copy);
    return listed ? "not refused" : listed.error().describe();
  }
  static std::string digest(const ContextCopy& copy) {
    const auto found = digest_of_copy(copy);
    return found ? found->text() : found.error().describe();
  }

  void leave_out(const std::string& rules) {
    test::write_text(dir_ / ".dockerignore", rules);
    const auto context = open_build_context(dir_.path(), dir_ / "Containerfile");
    ASSERT_TRUE(context) << context.error().describe();
    context_ = *context;
  }

  test::TempDir dir_;
  BuildContext context_{.directory = dir_.path(), .ignore = {}, .ignore_file = {}};
};

TEST_F(ContextCopyTest, FilesAndWhatDirectoriesHold) {
  fs::permissions(dir_ / "a.txt", fs::perms(0644));
  fs::permissions(dir_ / "b.txt", fs::perms(0600));
  fs::permissions(dir_ / "d/sub/y", fs::perms(0640));
  fs::permissions(dir_ / "d/sub", fs::perms(0750));
  EXPECT_EQ(list(copy({"a.txt"}, "/etc/app/conf", false)).value_or("?"),
            "5 etc 755 0 \n5 etc/app 755 0 \nF etc/app/conf 644 0 first\n");
  EXPECT_EQ(list(copy({"*.txt"}, "/srv", true)).value_or("?"),
            "5 srv 755 0 \n0 srv/a.txt 644 0 first\n0 srv/b.txt 600 0 bbbbb\n");
  EXPECT_EQ(list(copy({"./d/", "/a.txt"}, "/", true)).value_or("?"),
            "2 link 777 0 ../a.txt\nP sub 750 0 \n0 sub/y 640 0 y\n0 x 700 0 x\n0 a.txt 644 0 first\n");
  EXPECT_EQ(list(copy({"d/link"}, "/l", false)).value_or("?"), "F l 644 0 first\n") << "what it leads to";
  ContextCopy owned = copy({"d/sub"}, "/s", false);
  owned.action.uid = 33;
  owned.action.mode = 0711;
  EXPECT_EQ(list(owned).value_or("?"), "5 s 755 33 \n0 s/y 711 33 y\n")
      << "directories on the way have the owner, and not the mode, as buildah has it";
  const std::string long_name(150, 'n');
  test::write_text(dir_ / "d" / long_name, "");
  EXPECT_NE(list(copy({"d"}, "/x", false)).value_or("?").find("L "), std::string::npos);
}

/// As `COPY package.json package-lock.json* /app/` is written.
TEST_F(ContextCopyTest, APatternMayFitNothingWhereAnotherSourceIsThere) {
  fs::permissions(dir_ / "a.txt", fs::perms(0644));
  EXPECT_EQ(list(copy({"a.txt", "a-lock.txt*"}, "/app", true)).value_or("?"),
            "5 app 755 0 \n0 app/a.txt 644 0 first\n");
  EXPECT_NE(why(copy({"a.txt", "a-lock.txt"}, "/app", true)).find("no a-lock.txt in"), std::string::npos);
  EXPECT_NE(why(copy({"x*", "[y]"}, "/app", true)).find("no x* in"), std::string::npos);
  leave_out("b*");
  EXPECT_EQ(list(copy({"b*", "a.txt"}, "/app", true)).value_or("?"),
            "5 app 755 0 \n0 app/a.txt 644 0 first\n");
  EXPECT_NE(why(copy({"b*"}, "/app", true)).find("leaves it out"), std::string::npos);
}

TEST_F(ContextCopyTest, TheDigestIsOfAllButTimes) {
  const std::string before = digest(copy({"d"}, "/x", false));
  EXPECT_EQ(before.substr(0, 7), "sha256:");
  fs::last_write_time(dir_ / "d/x", fs::file_time_type::clock::now() - std::chrono::hours(5));
  EXPECT_EQ(digest(copy({"d"}, "/x", false)), before);
  EXPECT_NE(digest(copy({"d"}, "/y", false)), before);
  fs::permissions(dir_ / "d/x", fs::perms(0644));
  const std::string other_mode = digest(copy({"d"}, "/x", false));
  EXPECT_NE(other_mode, before);
  test::write_text(dir_ / "d/sub/y", "z");
  EXPECT_NE(digest(copy({"d"}, "/x", false)), other_mode);
}

/// The guest may have a directory at the target, where a file has its own name.
TEST_F(ContextCopyTest, TheDigestIsOfAFilesNameToo) {
  test::write_text(dir_ / "same", "first");
  fs::permissions(dir_ / "same", fs::status(dir_ / "a.txt").permissions());
  EXPECT_NE(digest(copy({"a.txt"}, "/etc", false)), digest(copy({"same"}, "/etc", false)));
  EXPECT_EQ(digest(copy({"a.txt"}, "/etc", false)), digest(copy({"./a.tx?"}, "/etc", false)));
  EXPECT_NE(digest(copy({"a.txt"}, "/etc", false)), digest(copy({"a.txt"}, "/srv", false)));
}

TEST_F(ContextCopyTest, NothingOfElsewhere) {
  const test::TempDir elsewhere;
  test::write_text(elsewhere / "secret", "s");
  fs::create_symlink(elsewhere.path(), dir_ / "out");
  EXPECT_NE(why(copy({"../x"}, "/y", false)).find("leads out of the context"), std::string::npos);
  EXPECT_NE(why(copy({"d/../../x"}, "/y", false)).find("leads out of the context"), std::string::npos);
  EXPECT_NE(why(copy({"out/secret"}, "/y", false)).find("leads out of the context"), std::string::npos);
  EXPECT_NE(why(copy({"out"}, "/y", false)).find("leads out of the context"), std::string::npos);
  EXPECT_NE(why(copy({"none"}, "/y", false)).find("no none in the context"), std::string::npos);
  EXPECT_NE(why(copy({"*.none"}, "/y", false)).find("no *.none"), std::string::npos);
  EXPECT_NE(why(copy({"*.txt"}, "/y", false)).find("several files need a directory"), std::string::npos);
  ASSERT_EQ(::mkfifo((dir_ / "d/fifo").c_str(), 0600), 0);
  EXPECT_NE(why(copy({"d"}, "/y", false)).find("neither a file"), std::string::npos);
  test::write_text(dir_ / "x.tgz", "\x1f\x8b\x08");
  ContextCopy added = copy({"x.tgz"}, "/", true);
  EXPECT_TRUE(list(added));
  added.action.refuses_archives = true;
  EXPECT_NE(why(added).find("which ADD would unpack"), std::string::npos);
  test::write_text(dir_ / "x.zst", "\x28\xb5\x2f\xfd\x04");
  added.action.sources = {"x.zst"};
  EXPECT_NE(why(added).find("which ADD would unpack"), std::string::npos);
  added.action.sources = {"x.*"};
  EXPECT_NE(why(added).find("which ADD would unpack"), std::string::npos);
}

TEST_F(ContextCopyTest, WhatTheIgnoreFileLeavesOutIsNotThere) {
  fs::permissions(dir_ / "a.txt", fs::perms(0644));
  fs::permissions(dir_ / "d/sub/y", fs::perms(0640));
  fs::permissions(dir_ / "d/sub", fs::perms(0750));
  fs::create_symlink("d/x", dir_ / "to_x");
  const std::string all = digest(copy({"d"}, "/", true));
  leave_out("# what is not to be seen\nb.*\nd/x\n.*\nd/link\n");
  EXPECT_EQ(list(copy({"."}, "/", true)).value_or("?"),
            "0 a.txt 644 0 first\nP d 755 0 \nP d/sub 750 0 \n0 d/sub/y 640 0 y\n2 to_x 777 0 d/x\n");
  EXPECT_EQ(list(copy({"*.txt"}, "/", true)).value_or("?"), "0 a.txt 644 0 first\n");
  EXPECT_NE(digest(copy({"d"}, "/", true)), all);
  for (const char* source : {"b.txt", "b*", "./d/x"}) {
    const std::string said = why(copy({source}, "/", true));
    EXPECT_NE(said.find(".dockerignore leaves it out"), std::string::npos) << source << ": " << said;
  }
  EXPECT_NE(why(copy({"to_x"}, "/", true)).find("leaves it out"), std::string::npos)
      << "a symlink to it leads to nothing";
}

TEST_F(ContextCopyTest, WhatIsTakenBackInIsThereWithItsDirectories) {
  fs::permissions(dir_ / "d/sub/y", fs::perms(0640));
  fs::permissions(dir_ / "d/sub", fs::perms(0700));
  leave_out("*\n!d/sub/y\n");
  EXPECT_EQ(list(copy({"."}, "/", true)).value_or("?"), "5 d 755 0 \n5 d/sub 755 0 \n0 d/sub/y 640 0 y\n");
  EXPECT_EQ(list(copy({"d"}, "/to", true)).value_or("?"),
            "5 to 755 0 \n5 to/sub 755 0 \n0 to/sub/y 640 0 y\n");
  leave_out("d/*\n!d/sub\n");
  EXPECT_EQ(list(copy({"d"}, "/", true)).value_or("?"), "P sub 700 0 \n0 sub/y 640 0 y\n");
}

TEST_F(ContextCopyTest, AnArchiveWithinADirectoryIsAFile) {
  test::write_text(dir_ / "d/sub/x.tgz", "\x1f\x8b\x08");
  ContextCopy added = copy({"d"}, "/", true);
  added.action.refuses_archives = true;
  EXPECT_EQ(why(added), "not refused");
}

TEST_F(ContextCopyTest, AnInterruptEndsTheDigest) {
  {
    const InterruptScope scope;
    EXPECT_TRUE(digest_of_copy(copy({"d"}, "/x", false)));
    ASSERT_EQ(::raise(SIGINT), 0);
    const auto found = digest_of_copy(copy({"d"}, "/x", false));
    ::signal(SIGINT, SIG_IGN);  // or the scope's end would end us
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().code, EINTR);
  }
  ::signal(SIGINT, SIG_DFL);
}

TEST_F(ContextCopyTest, ANameForgesNoLineOfAMessage) {
  ASSERT_EQ(::mkfifo((dir_ / "d/a\nerror: b").c_str(), 0600), 0);
  const std::string said = why(copy({"d"}, "/y", false));
  EXPECT_NE(said.find("a\\012error: b is neither a file"), std::string::npos) << said;
  fs::create_symlink("/", dir_ / "c\nd");
  const std::string led = why(copy({"c?d"}, "/y", false));
  EXPECT_NE(led.find("c\\012d leads out"), std::string::npos) << led;
}

TEST_F(ContextCopyTest, ADocumentIsAFile) {
  ContextCopy one = copy({}, "/etc/x.conf", false);
  one.action.documents = {{.name = "EOF", .text = "a = 1\n"}};
  EXPECT_EQ(list(one).value_or("?"), "5 etc 755 0 \nF etc/x.conf 644 0 a = 1\n");
  const std::string before = digest(one);
  one.action.documents[0].text = "a = 2\n";
  EXPECT_NE(digest(one), before);
  ContextCopy several = copy({"a.txt"}, "/srv", true);
  fs::permissions(dir_ / "a.txt", fs::perms(0644));
  several.action.documents = {{.name = "b", .text = ""}, {.name = "c", .text = std::string(512, 'c')}};
  several.action.uid = 7;
  EXPECT_EQ(list(several).value_or("?"),
            "5 srv 755 7 \n0 srv/a.txt 644 7 first\n0 srv/b 644 7 \n0 srv/c 644 7 ccccc\n");
  one.action.target = "/etc/hosts";
  EXPECT_TRUE(left_out_of_layers(one)->paths.empty()) << "the plan has said so";
  several.action.target = "/etc";
  several.action.documents[0].name = "hosts";
  EXPECT_EQ(left_out_of_layers(several)->paths, (std::vector<std::string>{"/etc/hosts"}));
}

/// As a program in the image would find it.
TEST_F(ContextCopyTest, LinksOfAnImageLeadToWhatIsInIt) {
  fs::permissions(dir_ / "a.txt", fs::perms(0644));
  fs::permissions(dir_ / "d/sub/y", fs::perms(0640));
  fs::create_symlink("/d", dir_ / "absolute");
  fs::create_symlink("../../../../../a.txt", dir_ / "up");
  fs::create_symlink("/absolute/sub", dir_ / "twice");
  fs::create_symlink("/etc/passwd", dir_ / "elsewhere");
  fs::create_symlink("/", dir_ / "root");
  EXPECT_NE(why(copy({"absolute/x"}, "/y", false)).find("no absolute/x in the context"), std::string::npos)
      << "this machine has no /d, it is hoped";
  context_ = {.directory = fs::canonical(dir_.path()), .called = "the stage x", .is_root = true};
  EXPECT_EQ(list(copy({"/absolute/x"}, "/y", false)).value_or("?"), "F y 700 0 x\n");
  EXPECT_EQ(list(copy({"up", "twice/*"}, "/z", true)).value_or("?"),
            "5 z 755 0 \n0 z/up 644 0 first\n0 z/y 640 0 y\n");
  EXPECT_EQ(list(copy({"twice"}, "/z", true)).value_or("?"), "5 z 755 0 \n0 z/y 640 0 y\n");
  EXPECT_EQ(list(copy({"root/root/a.txt"}, "/z", true)).value_or("?"), "5 z 755 0 \n0 z/a.txt 644 0 first\n");
  EXPECT_NE(why(copy({"elsewhere"}, "/y", false)).find("elsewhere"), std::string::npos);
  EXPECT_NE(why(copy({"elsewhere"}, "/y", false)), "not refused");
  EXPECT_EQ(why(copy({"none"}, "/y", false)), "no none in the stage x");
  EXPECT_EQ(why(copy({"../x"}, "/y", false)), "../x leads out of the stage x");
}

TEST_F(ContextCopyTest, AttributesOfAnImagesFilesComeAlong) {
  const auto set = [&](const char* file, const char* name, const std::string& value) {
    return ::setxattr((dir_ / file).c_str(), name, value.data(), value.size(), 0) == 0;
  };
  if (!set("d/x", "user.b", "2") || !set("d/x", "user.a", "1") || !set("d/sub", "user.dir", "3"))
    GTEST_SKIP() << "no attributes on the file system of the test's directory";
  const std::string before = digest(copy({"d"}, "/z", true));
  EXPECT_EQ(list(copy({"d/x"}, "/y", false)).value_or("?"), "F y 700 0 x\n")
      << "of a context: this host's own";
  context_ = {.directory = fs::canonical(dir_.path()), .called = "the stage x", .is_root = true};
  EXPECT_EQ(list(copy({"d/x"}, "/y", false)).value_or("?"), "Y user.a 0 0 1\nY user.b 0 0 2\nF y 700 0 x\n");
  const std::string with = digest(copy({"d"}, "/z", true));
  EXPECT_NE(with, before);
  ASSERT_TRUE(set("d/sub", "user.dir", "4"));
  EXPECT_NE(digest(copy({"d"}, "/z", true)), with);
}

TEST_F(ContextCopyTest, AScriptIsForEverybodyToRun) {
  std::string tar;
  ASSERT_TRUE(write_script_tar("/tmp/run", "#!/bin/sh\n", [&tar](std::span<const std::byte> bytes) {
    tar += as_text(bytes);
    return Result<void>();
  }));
  ASSERT_EQ(tar.size(), 5 * guest_init::kTarBlock);
  char block[guest_init::kTarBlock];
  tar.copy(block, sizeof(block));
  EXPECT_EQ(guest_init::decode_tar_block(block)->mode, 01777U) << "where a guest has no /tmp";
  tar.copy(block, sizeof(block), sizeof(block));
  const auto script = guest_init::decode_tar_block(block);
  EXPECT_EQ(script->name, "tmp/run");
  EXPECT_EQ(script->mode, 0755U);
  EXPECT_EQ(tar.substr(2 * sizeof(block), 10), "#!/bin/sh\n");
}

TEST_F(ContextCopyTest, WhatNoLayerWillHaveIsTold) {
  fs::create_directories(dir_ / "rootfs/etc/ssh");
  fs::create_directories(dir_ / "rootfs/tmp/many");
  fs::create_directories(dir_ / "rootfs/run");
  for (const char* name : {"etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/ssh/ssh_host_ed25519_key",
                           "etc/ssh/sshd_config", "tmp/many/a", "tmp/many/b", "run/r"})
    test::write_text(dir_ / "rootfs" / name, "x");
  const auto told = [](const ContextCopy& copy) {
    const auto found = left_out_of_layers(copy);
    EXPECT_TRUE(found) << found.error().describe();
    return found ? *found : LeftOut();
  };
  const LeftOut all = told(copy({"rootfs/"}, "/", true));
  EXPECT_EQ(all.paths, (std::vector<std::string>{"/etc/hostname", "/etc/hosts", "/etc/resolv.conf",
                                                 "/etc/ssh/ssh_host_ed25519_key", "/run/r", "/tmp/many"}));
  EXPECT_EQ(all.more, 0U);
  EXPECT_EQ(told(copy({"rootfs/etc/hosts"}, "/etc", false)).paths, (std::vector<std::string>{"/etc/hosts"}));
  EXPECT_TRUE(told(copy({"a.txt"}, "/etc/other", false)).paths.empty());
  EXPECT_TRUE(told(copy({"d"}, "/tmp", true)).paths.empty()) << "the plan has said so";
  for (int i = 0; i < 10; ++i) test::write_text(dir_ / "rootfs/run" / std::to_string(i), "x");
  EXPECT_EQ(told(copy({"rootfs/"}, "/", true)).paths.size(), kMaxLeftOut);
  EXPECT_EQ(told(copy({"rootfs/"}, "/", true)).more, 8U);
}

}  // namespace
}  // namespace layerboot::launcher
