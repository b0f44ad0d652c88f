// What is in the layer of a VM's upper, case by case. layer_differential_test.cc has whole trees.
#include "oci-mount/mount/layer_tar.h"

#include <sys/stat.h>

#include <algorithm>

#include "tests/oci-mount/mount/committed_image.h"
#include "tests/oci-mount/vfs/writable_fixture.h"
#include "tests/support/acl_text.h"

namespace layerboot::test {
namespace {

using Names = std::vector<std::string>;

class LayerTarTest : public testing::Test, protected ImageFixture {
 protected:
  LayerTarTest() : ImageFixture(tars()) { open_writable(); }
  static std::vector<std::string> tars() {
    auto layers = test_image();
    layers.push_back(TarBuilder()
                         .directory("run")
                         .directory("tmp")
                         .file("tmp/below", "the image's")
                         .file("etc/machine-id", "the image's")
                         .file(std::string(255, 'n'), "a long name")
                         .finish());
    return layers;
  }
  FsDriver& vm() { return *driver; }
  /// What the VM shows, which is stopped then.
  ExactTree stop() {
    const ExactTree shown = exact_tree(*fs);
    driver.reset();
    EXPECT_TRUE(fs->stop());
    fs.reset();
    return shown;
  }
  std::string layer(const mount::LayerOptions& options = {}) {
    if (fs) stop();
    auto made = layer_of(*this, options);
    EXPECT_TRUE(made) << made.error().describe();
    return made.value_or("");
  }
  Names names(const mount::LayerOptions& options = {}) { return members_of(layer(options)); }
  /// The new image shows what the VM has shown.
  void expect_same_tree(const mount::LayerOptions& options = {}) {
    const ExactTree shown = stop();
    const auto layout = commit_into_layout(*this, tars(), options, store::Compression::kGzip);
    ASSERT_TRUE(layout) << layout.error().describe();
    vfs::ImageSourceOptions source_options;
    source_options.index_dir = directory / "index";
    source_options.show_progress = false;
    const auto committed = vfs::open_image_source("oci:" + *layout, source_options);
    ASSERT_TRUE(committed) << committed.error().describe();
    const auto read_only = vfs::make_read_only_fs(**committed);
    ASSERT_TRUE(read_only);
    EXPECT_EQ(difference_of(without_empty_xattrs(shown), exact_tree(**read_only)), "");
  }
};

TEST_F(LayerTarTest, OfAVmThatWroteNothingHasTheTopAlone) {
  EXPECT_EQ(names(), (Names{"5 ./"}));
  open_writable();
  expect_same_tree();
}

TEST_F(LayerTarTest, WhatIsGoneIsAWhiteout) {
  vm().unlink("etc/small");
  vm().unlink(std::string(255, 'n'));
  EXPECT_EQ(vm().create("etc/new", "x"), 0);
  EXPECT_EQ(vm().unlink("etc/new"), 0);
  const Names told = names();
  EXPECT_EQ(told, (Names{"5 ./", "5 etc/", "0 etc/.wh.small", "0 .wh." + std::string(255, 'n')}))
      << "and nothing of what the image never had";
  open_writable();
  expect_same_tree();
}

TEST_F(LayerTarTest, ADirectoryMadeAnewIsOpaqueOnlyWhereTheImageHasSomethingInIt) {
  EXPECT_EQ(vm().rename("deep", "gone"), 0);
  EXPECT_EQ(vm().mkdir("deep"), 0);
  EXPECT_EQ(vm().create("deep/a", "1"), 0);
  EXPECT_EQ(vm().rmdir("empty"), 0);
  EXPECT_EQ(vm().mkdir("empty"), 0);
  EXPECT_EQ(vm().mkdir("fresh"), 0);
  const Names told = names();
  const Names begin(told.begin(), told.begin() + std::min<std::ptrdiff_t>(6, std::ssize(told)));
  EXPECT_EQ(begin, (Names{"5 ./", "5 deep/", "0 deep/.wh..wh..opq", "0 deep/a", "5 empty/", "5 fresh/"}));
  open_writable();
  expect_same_tree();
}

TEST_F(LayerTarTest, ADirectoryThatMovedIsWhole) {
  EXPECT_EQ(vm().rename("deep", "etc/moved"), 0);
  EXPECT_EQ(vm().unlink("etc/moved/second"), 0);
  EXPECT_EQ(names(), (Names{"5 ./", "0 .wh.deep", "5 etc/", "5 etc/moved/", "5 etc/moved/er/",
                            "5 etc/moved/er/est/", "0 etc/moved/er/est/file"}));
  open_writable();
  expect_same_tree();
}

TEST_F(LayerTarTest, OfAChangedModeTheDataComesAlong) {
  vfs::AttrChange change;
  change.mode = 0600;
  EXPECT_EQ(vm().setattr("etc/big", change), 0);
  EXPECT_GT(layer().size(), lower_big().size());
  open_writable();
  expect_same_tree();
}

TEST_F(LayerTarTest, NamesOfOneFileAreTogether) {
  EXPECT_EQ(vm().write("links/a", 0, "HARD"), 0);
  EXPECT_EQ(vm().link("links/a", "etc/another"), 0);
  EXPECT_EQ(names(), (Names{"5 ./", "5 etc/", "0 etc/another", "5 links/", "1 links/a -> etc/another",
                            "1 links/b -> etc/another", "5 links2/", "1 links2/c -> etc/another"}));
  open_writable();
  expect_same_tree();
}

// Docker and containerd unpack each layer by itself, where a hard link to a file below leads to nothing.
TEST_F(LayerTarTest, AMovedDirectoryTakesAlongTheOtherNamesOfItsFiles) {
  EXPECT_EQ(vm().rename("links2", "other"), 0);
  EXPECT_EQ(names(), (Names{"5 ./", "5 links/", "0 links/a", "1 links/b -> links/a", "0 .wh.links2",
                            "5 other/", "1 other/c -> links/a"}));
  open_writable();
  expect_same_tree();
}

TEST_F(LayerTarTest, OtherNamesThatAreGoneAreNotTakenAlong) {
  EXPECT_EQ(vm().rename("links2", "other"), 0);
  EXPECT_EQ(vm().unlink("links/a"), 0);
  EXPECT_EQ(vm().unlink("links/b"), 0);
  expect_same_tree();
}

TEST_F(LayerTarTest, WhatALayerCannotHoldIsLeftOut) {
  EXPECT_EQ(vm().mknod("etc/socket", S_IFSOCK | 0600, 0), 0);
  EXPECT_EQ(vm().unlink("etc/setid"), 0);
  EXPECT_EQ(vm().mknod("etc/setid", S_IFSOCK | 0600, 0), 0);
  EXPECT_EQ(vm().create("etc/.wh.small", "no whiteout"), 0);
  EXPECT_EQ(vm().setxattr("etc/small", "user.a=b", "1"), 0);
  EXPECT_EQ(vm().setxattr("etc/small", "user.c", "2"), 0);
  EXPECT_EQ(vm().setxattr("etc/small", "user.empty", ""), 0);
  testing::internal::CaptureStderr();
  EXPECT_EQ(names(), (Names{"5 ./", "5 etc/", "0 etc/.wh.setid", "0 etc/small"}))
      << "in the place of a file of the image it hides that";
  const std::string said = testing::internal::GetCapturedStderr();
  for (const char* what :
       {"/etc/socket: a socket", "/etc/.wh.small: a name", "/etc/small: extended attribute user.a=b",
        "/etc/small: extended attribute user.empty"})
    EXPECT_NE(said.find(what), std::string::npos) << said;
}

TEST_F(LayerTarTest, AFileOfHolesThatNoLayerCanHoldIsRefusedAtOnce) {
  EXPECT_EQ(vm().create("etc/huge", "x"), 0);
  EXPECT_EQ(vm().truncate("etc/huge", std::uint64_t{1} << 40), 0);
  // Not by stop(), which reads all of it.
  driver.reset();
  EXPECT_TRUE(fs->stop());
  fs.reset();
  const auto made = layer_of(*this, {});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, E2BIG);
  EXPECT_NE(made.error().text.find("etc/huge"), std::string::npos) << made.error().text;
}

TEST_F(LayerTarTest, WhatBelongsToOneMachineIsLeftOut) {
  for (const char* made : {"etc/ssh", "var", "var/lib", "var/lib/systemd", "run/lock"})
    EXPECT_EQ(vm().mkdir(made), 0);
  for (const char* file : {"etc/ssh/ssh_host_rsa_key", "etc/ssh/ssh_host_rsa_key.pub", "etc/ssh/sshd_config",
                           "var/lib/systemd/random-seed", "run/pid", "tmp/x"})
    EXPECT_EQ(vm().create(file, "x"), 0);
  EXPECT_EQ(vm().write("etc/machine-id", 0, "THE VM'S "), 0);
  EXPECT_EQ(names(), (Names{"5 ./", "5 etc/", "5 etc/ssh/", "0 etc/ssh/sshd_config", "5 run/", "5 tmp/",
                            "5 var/", "5 var/lib/", "5 var/lib/systemd/"}));
  open_writable();
  expect_same_tree({.squash = false, .keep_identity = true, .not_the_images = {}, .newest_mtime_sec = {}});
}

// Or a private key that came with an image could never leave it.
TEST_F(LayerTarTest, WhatBelongsToOneMachineAndWasRemovedIsGone) {
  EXPECT_EQ(vm().unlink("etc/machine-id"), 0);
  EXPECT_EQ(vm().unlink("tmp/below"), 0);
  EXPECT_EQ(names(), (Names{"5 ./", "5 etc/", "0 etc/.wh.machine-id", "5 tmp/", "0 tmp/.wh.below"}));
  const Names all =
      names({.squash = true, .keep_identity = false, .not_the_images = {}, .newest_mtime_sec = {}});
  EXPECT_EQ(std::ranges::find(all, "0 etc/machine-id"), all.end());
  EXPECT_EQ(std::ranges::find(all, "0 tmp/below"), all.end());
}

TEST_F(LayerTarTest, ARemovedFileThatTheVmHadFromElsewhereStaysTheImages) {
  EXPECT_EQ(vm().unlink("etc/machine-id"), 0);
  EXPECT_EQ(names({.squash = false,
                   .keep_identity = false,
                   .not_the_images = {"/etc/machine-id"},
                   .newest_mtime_sec = {}}),
            (Names{"5 ./", "5 etc/"}));
}

TEST_F(LayerTarTest, FilesThatTheVmHadFromElsewhereAreLeftOut) {
  EXPECT_EQ(vm().create("etc/resolv.conf", "changed"), 0);
  EXPECT_EQ(vm().unlink("etc/small"), 0);
  EXPECT_EQ(names({.squash = false,
                   .keep_identity = false,
                   .not_the_images = {"/etc/resolv.conf", "/etc/small"},
                   .newest_mtime_sec = {}}),
            (Names{"5 ./", "5 etc/"}));
}

TEST_F(LayerTarTest, TheGuestsAttributesAreThereAndOursAreNot) {
  EXPECT_EQ(vm().rename("deep", "moved"), 0);  // a redirect
  EXPECT_EQ(vm().setxattr("moved", "trusted.overlay.opaque", "y"), 0);
  EXPECT_EQ(vm().setxattr("moved", "trusted.mine", "1"), 0);
  EXPECT_EQ(vm().setxattr("moved", "user.mine", "2"), 0);
  EXPECT_EQ(vm().setxattr("moved", "trusted.overlay.layerboot.guest.trusted.forged", "3"), 0);
  const std::string tar = layer();
  EXPECT_EQ(tar.find("SCHILY.xattr.trusted.overlay.layerboot.guest.trusted.forged=3"), std::string::npos)
      << "it would be another attribute";
  EXPECT_NE(tar.find("SCHILY.xattr.trusted.overlay.layerboot.guest.trusted.overlay.opaque=y"),
            std::string::npos);
  EXPECT_EQ(tar.find("SCHILY.xattr.trusted.overlay.opaque=y"), std::string::npos) << "nobody's mark";
  EXPECT_NE(tar.find("SCHILY.xattr.trusted.mine=1"), std::string::npos);
  EXPECT_NE(tar.find("SCHILY.xattr.user.mine=2"), std::string::npos);
  EXPECT_EQ(tar.find("redirect"), std::string::npos);
  EXPECT_EQ(tar.find("layerboot.origin"), std::string::npos);
  EXPECT_EQ(tar.find("override_stat"), std::string::npos);
  open_writable();
  expect_same_tree();
}

// No reader would take it by the name that it gets there.
TEST_F(LayerTarTest, ATrustedAttributeOfALongNameIsLeftOut) {
  const std::string name = "trusted." + std::string(222, 'x');
  EXPECT_EQ(vm().setxattr("etc", name, "1"), 0);
  EXPECT_EQ(layer().find("guest." + name), std::string::npos);
}

TEST_F(LayerTarTest, TheGuestsOwnWhiteoutsAreDevices) {
  EXPECT_EQ(vm().mknod("etc/zero", S_IFCHR | 0600, 0), 0);
  EXPECT_EQ(vm().unlink("etc/small"), 0);
  EXPECT_EQ(vm().mknod("etc/small", S_IFCHR | 0600, 0), 0);
  EXPECT_EQ(vm().link("etc/zero", "etc/zero2"), 0);
  EXPECT_EQ(names(), (Names{"5 ./", "5 etc/", "0 etc/.wh.small", "3 etc/small", "3 etc/zero",
                            "1 etc/zero2 -> etc/zero"}));
  open_writable();
  expect_same_tree();
}

TEST_F(LayerTarTest, InADirectoryMadeAnewWhatIsLeftOutIsTheImages) {
  EXPECT_EQ(vm().rename("etc", "etc.old"), 0);
  EXPECT_EQ(vm().mkdir("etc"), 0);
  EXPECT_EQ(vm().create("etc/machine-id", "the VM's"), 0);
  EXPECT_EQ(vm().create("etc/small", "the VM's"), 0);
  EXPECT_EQ(vm().create("etc/new", "the VM's"), 0);
  for (const bool squash : {false, true}) {
    const std::string tar = layer(
        {.squash = squash, .keep_identity = false, .not_the_images = {"/etc/small"}, .newest_mtime_sec = {}});
    const Names all = members_of(tar);
    for (const char* const name : {"0 etc/machine-id", "0 etc/small", "0 etc/new"})
      EXPECT_TRUE(std::ranges::find(all, name) != all.end()) << name << squash;
    const auto at = tar.find("etc/machine-id");
    ASSERT_NE(at, std::string::npos);
    EXPECT_TRUE(tar.substr(at, 2048).contains("the image's"));
  }
}

TEST_F(LayerTarTest, MoreEntriesThanAReaderTakesAreRefused) {
  EXPECT_EQ(vm().create("etc/new", "x"), 0);
  EXPECT_EQ(vm().unlink("etc/small"), 0);
  stop();
  mount::LayerOptions options;
  options.max_entries = 4;
  EXPECT_TRUE(layer_of(*this, options)) << "the top, etc, the file and the mark";
  options.max_entries = 3;
  const auto refused = layer_of(*this, options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, E2BIG);
}

// Or who unpacks the layer would give it what the directory's default ACL says.
TEST_F(LayerTarTest, WhatHasInheritedNoAclSaysSo) {
  EXPECT_EQ(vm().create("etc/before", "x", 0640), 0);
  EXPECT_EQ(vm().mkdir("etc/plain"), 0);
  EXPECT_EQ(vm().setxattr("etc", "system.posix_acl_default", acl_with_user(7, 7, 7)), 0);
  EXPECT_EQ(vm().create("etc/plain/below", "x"), 0);
  const std::string tar = layer();
  const std::string of_mode("SCHILY.xattr.system.posix_acl_access=\2\0\0\0\1\0\6\0", 45);
  const auto at = tar.find("etc/plain/below");
  ASSERT_NE(at, std::string::npos);
  EXPECT_EQ(tar.find("posix_acl_access", at), std::string::npos) << "its directory has none to inherit";
  EXPECT_NE(tar.find(of_mode), std::string::npos) << "etc/before";
  EXPECT_NE(tar.find(std::string("posix_acl_default=\2\0\0\0\n", 23)), std::string::npos) << "etc/plain";
  open_writable();
  expect_same_tree();
}

TEST_F(LayerTarTest, TheSameUpperGivesTheSameBytes) {
  EXPECT_EQ(vm().create("etc/new", sample_bytes(700'000, 4)), 0);
  stop();
  const mount::LayerOptions options{
      .squash = false, .keep_identity = false, .not_the_images = {}, .newest_mtime_sec = 1'700'000'000};
  for (const auto compression :
       {store::Compression::kNone, store::Compression::kGzip, store::Compression::kZstd}) {
    const auto once = layer_of(*this, options, compression);
    ASSERT_TRUE(once) << once.error().describe();
    EXPECT_TRUE(*once == layer_of(*this, options, compression).value_or(""));
  }
}

TEST_F(LayerTarTest, WhatIsNewerThanTheEpochGetsItsTime) {
  vfs::AttrChange change;
  change.mtime = vfs::TimeChange{.now = false, .time = {.sec = 1'000'000'000, .nsec = 5}};
  EXPECT_EQ(vm().create("old", "x"), 0);
  EXPECT_EQ(vm().setattr("old", change), 0);
  EXPECT_EQ(vm().create("new", "x"), 0);
  const std::string tar = layer(
      {.squash = false, .keep_identity = false, .not_the_images = {}, .newest_mtime_sec = 1'500'000'000});
  EXPECT_NE(tar.find("mtime=1000000000.000000005\n"), std::string::npos);
  EXPECT_NE(tar.find("13132027400"), std::string::npos) << "1'500'000'000 in octal";
}

TEST_F(LayerTarTest, SquashedItIsAllThatTheVmSees) {
  EXPECT_EQ(vm().rename("deep", "moved"), 0);
  EXPECT_EQ(vm().unlink("etc/small"), 0);
  EXPECT_EQ(vm().write("links/a", 0, "HARD"), 0);
  const mount::LayerOptions options{
      .squash = true, .keep_identity = false, .not_the_images = {}, .newest_mtime_sec = {}};
  const Names told = names(options);
  EXPECT_TRUE(
      std::ranges::none_of(told, [](const auto& name) { return name.find(".wh.") != std::string::npos; }));
  EXPECT_NE(std::ranges::find(told, "0 etc/machine-id"), told.end()) << "which is the image's";
  open_writable();
  expect_same_tree(options);
}

TEST_F(LayerTarTest, TheUpperOfAnotherImageIsRefused) {
  stop();
  const auto refused = mount::see_upper(upper, "sha256:another");
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().text.find("belongs to another image"), std::string::npos);
}

}  // namespace
}  // namespace layerboot::test
