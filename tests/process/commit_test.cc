// layerboot commit, of a VM whose files were written by the mount of its upper: the new image is what the VM
// showed, and a failure leaves the store as it was.
#include <csignal>
#include <iostream>

#include "tests/process/commit_fixture.h"

namespace layerboot::test {
namespace {

TEST_F(CommitTest, TheImageIsTheOldOneAndWhatTheVmWrote) {
  const Outcome made = commit({"web", "app:2"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_EQ(line_of(made).substr(0, 7), "sha256:");
  EXPECT_EQ(made.out.size(), 7U + 64U + 1U) << "the digest alone";
  const Outcome list = oci_mount({"ls", "-R", "app:2"});
  EXPECT_EQ(list.out, "etc\netc/hosts\netc/kept\netc/new\n") << list.err;
  EXPECT_TRUE(oci_mount({"cat", "app:2", "/etc/new"}).out == sample_bytes(600'000, 3));
  EXPECT_EQ(oci_mount({"cat", "app:2", "/etc/hosts"}).out, "the image's");

  const Json manifest = blob(line_of(made));
  ASSERT_EQ(manifest["layers"].size(), 2U) << manifest;
  EXPECT_EQ(manifest["layers"][1]["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
  const Json config = blob(manifest["config"]["digest"]);
  EXPECT_EQ(config["config"]["Cmd"], Json({"/bin/sh"}));
  EXPECT_EQ(config["author"], "before");
  ASSERT_EQ(config["history"].size(), 2U);
  EXPECT_EQ(config["history"][1]["created_by"], "layerboot commit");
  EXPECT_TRUE(
      fs::exists(dir_ / "cache/layerboot/index" /
                 ("sha256-" + manifest["layers"][1]["digest"].get<std::string>().substr(7) + ".lidx")))
      << "it is ready to run";
}

// buildah refuses an image whose history tells of some layers and not of others.
TEST_F(CommitTest, AHistoryThatWasNotToldIsMadeWhole) {
  fs::remove_all(dir_ / "image");
  ImageBuilder image(dir_ / "image");
  image.add_gzip_layer(TarBuilder().file("a", "1").finish());
  image.add_gzip_layer(TarBuilder().file("b", "2").finish()).write();
  fs::remove_all(vm("web") / "disk");
  fs::create_directories(dir_ / "mnt");
  {
    Mounted mounted({"--upper", (vm("web") / "disk").string(), reference_}, dir_ / "cache", dir_ / "mnt");
    ASSERT_TRUE(is_mountpoint(dir_ / "mnt")) << mounted.messages();
    EXPECT_EQ(mounted.stop(SIGTERM), 0);
  }
  const Outcome made = commit({"web"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_EQ(blob(blob(line_of(made))["config"]["digest"])["history"].size(), 3U);
}

TEST_F(CommitTest, AnImageWithAGivenPasswordIsNotPushedByMistake) {
  Json record = Json::parse(read_text(vm("web") / "config.json"));
  record["has_given_password"] = true;
  write_text(vm("web") / "config.json", record.dump());
  const Outcome made = commit({"web", "app:2"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_NE(made.err.find("/etc/shadow"), std::string::npos) << made.err;
  const Json config = blob(blob(line_of(made))["config"]["digest"]);
  EXPECT_EQ(config["config"]["Labels"]["layerboot.root-password"], "web");
  const Outcome refused = layerboot({"push", "app:2", "localhost:1/app:2"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("--with-identity"), std::string::npos) << refused.err;

  record.erase("has_given_password");
  record["run"]["root_password_hash"] = "$6$x$y";
  write_text(vm("web") / "config.json", record.dump());
  const Outcome last = commit({"web"});
  EXPECT_TRUE(
      blob(blob(line_of(last))["config"]["digest"])["config"]["Labels"].contains("layerboot.root-password"))
      << "of the last run";
  record["run"].erase("root_password_hash");
  write_text(vm("web") / "config.json", record.dump());
  EXPECT_FALSE(blob(blob(line_of(commit({"web"})))["config"]["digest"])["config"].contains("Labels"));
}

TEST_F(CommitTest, ByItsDigestAlone) {
  const Outcome made = commit({"web"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_EQ(oci_mount({"cat", "image@" + line_of(made), "/etc/kept"}).out, "kept");
  const auto images = Json::parse(layerboot({"images", "--json"}).out, nullptr, false);
  ASSERT_EQ(images.size(), 1U);
  EXPECT_EQ(images[0]["name"], "");
  EXPECT_EQ(layerboot({"gc"}).exit_code, 0);
  EXPECT_EQ(blob_count(), 4U) << "gc keeps it";
  EXPECT_EQ(layerboot({"rmi", line_of(made)}).exit_code, 0);
}

TEST_F(CommitTest, ConfigIsChangedAsAsked) {
  const Outcome made = commit({"web", "app", "--change", "CMD [\"/bin/new\"]", "-c", "ENV A=1", "--author",
                               "me", "-m", "what was done"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const Json config = blob(blob(line_of(made))["config"]["digest"]);
  EXPECT_EQ(config["config"]["Cmd"], Json({"/bin/new"}));
  EXPECT_EQ(config["config"]["Env"], Json({"PATH=/bin", "A=1"}));
  EXPECT_EQ(config["author"], "me");
  EXPECT_EQ(config["history"][1]["comment"], "what was done");

  const Outcome refused = commit({"web", "app:3", "--change", "RUN x"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("change \"RUN x\": known are CMD"), std::string::npos) << refused.err;
}

TEST_F(CommitTest, SquashedItHasOneLayer) {
  const Outcome made = commit({"web", "app", "--squash", "--compression", "zstd"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const Json manifest = blob(line_of(made));
  ASSERT_EQ(manifest["layers"].size(), 1U);
  EXPECT_EQ(manifest["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
  EXPECT_EQ(blob(manifest["config"]["digest"])["history"][0]["empty_layer"], true);
  const Json history = blob(manifest["config"]["digest"])["history"];
  ASSERT_EQ(history.size(), 2U);
  EXPECT_FALSE(history[1].contains("empty_layer"));
  EXPECT_EQ(oci_mount({"ls", "-R", "app"}).out, "etc\netc/hosts\netc/kept\netc/new\n");
}

TEST_F(CommitTest, TheSameFilesGiveTheSameImage) {
  const auto digest = [&] {
    std::vector<std::string> all = words({"commit", "--oci-mount", LAYERBOOT_OCI_MOUNT, "web", "app"});
    all.insert(all.begin() + 1, "SOURCE_DATE_EPOCH=1600000000");
    const Outcome made = run_program(all, dir_ / "cache");
    EXPECT_EQ(made.exit_code, 0) << made.err;
    return line_of(made);
  };
  const std::string once = digest();
  EXPECT_EQ(blob(blob(once)["config"]["digest"])["created"], "2020-09-13T12:26:40Z");
  fs::remove_all(store());
  EXPECT_EQ(digest(), once);
}

TEST_F(CommitTest, WhatCannotBeCommittedLeavesNothing) {
  const auto expect_refused = [&](const std::vector<std::string>& how, const char* why) {
    const Outcome refused = commit(how);
    EXPECT_EQ(refused.exit_code, 1) << why;
    EXPECT_NE(refused.err.find(why), std::string::npos) << refused.err;
    EXPECT_EQ(blob_count(), 0U) << why;
    EXPECT_FALSE(fs::exists(store() / "index.json")) << why;
  };
  expect_refused({"none"}, "no VM none");
  make_vm("fresh");
  expect_refused({"fresh"}, "has not run yet");
  expect_refused({"web", "app@sha256:" + std::string(64, '0')}, "a digest can't be given");
  fs::create_directories(vm("web") / "disk/upper/x");
  write_text(dir_ / "image/index.json", "{}");
  expect_refused({"web"}, "oci:");
}

TEST_F(CommitTest, RebasedItGoesOnFromTheNewImage) {
  fs::create_directories(vm("web") / "volumes/data");
  const Listing before = shown("web");
  const Outcome made = commit({"web", "app:2", "--rebase", "--keep-identity"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_EQ(made.out.size(), 7U + 64U + 1U) << "the digest alone";
  const Json record = Json::parse(read_text(vm("web") / "config.json"), nullptr, false);
  EXPECT_EQ(record["image"], "app:2");
  EXPECT_FALSE(record.contains("spent_upper"));
  EXPECT_FALSE(fs::exists(vm("web") / "disk"));
  EXPECT_TRUE(fs::exists(vm("web") / "volumes/data")) << "what it has in volumes is in no image";
  expect_same(before, "before", shown("web"), "rebased");

  const Outcome nothing = commit({"web"});
  EXPECT_EQ(nothing.exit_code, 1);
  EXPECT_NE(nothing.err.find("nothing to commit"), std::string::npos) << nothing.err;
  const Outcome in_use = layerboot({"rmi", "app:2"});
  EXPECT_EQ(in_use.exit_code, 1) << "the VM needs it";
}

TEST_F(CommitTest, RebasedOnAnImageWithoutAName) {
  const Listing before = shown("web");
  const Outcome made = commit({"web", "--rebase", "--keep-identity"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const Json record = Json::parse(read_text(vm("web") / "config.json"), nullptr, false);
  EXPECT_EQ(record["image"], "image@" + line_of(made));
  expect_same(before, "before", shown("web"), "rebased");
}

/// At each change of a name that layerboot makes on the way.
TEST_F(CommitTest, KilledAnywhereARebaseLeavesTheOldVmOrTheNewOne) {
  const std::string calls =
      "rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,fsync,fdatasync";
  if (run_program({"strace", "-o", "/dev/null", "true"}, dir_ / "cache").exit_code != 0)
    GTEST_SKIP() << "strace (Debian package strace) is not there, or may trace nothing";
  const Listing expected = shown("web");
  constexpr int kMostSteps = 300;
  int old_ones = 0;
  int new_ones = 0;
  int step = 1;
  for (;; ++step) {
    ASSERT_LT(step, kMostSteps);
    ASSERT_EQ(run_program({"cp", "-a", vm("web").string(), vm("copy").string()}, dir_ / "cache").exit_code,
              0);
    auto traced =
        words({"commit", "--oci-mount", LAYERBOOT_OCI_MOUNT, "copy", "app", "--rebase", "--keep-identity"});
    traced.insert(traced.begin(), {"strace", "-o", "/dev/null", "-e", "trace=" + calls, "-e",
                                   "inject=" + calls + ":signal=KILL:when=" + std::to_string(step)});
    const int how = run_program(traced, dir_ / "cache").exit_code;
    SCOPED_TRACE("killed at its call number " + std::to_string(step));
    ASSERT_TRUE(how == 0 || how == -SIGKILL) << how;
    ASSERT_EQ(layerboot({"rename", "copy", "after"}).exit_code, 0) << "whoever opens it next ends the work";
    const Json record = Json::parse(read_text(vm("after") / "config.json"), nullptr, false);
    const bool is_new = record["image"] == "app";
    ++(is_new ? new_ones : old_ones);
    EXPECT_FALSE(record.contains("spent_upper"));
    EXPECT_FALSE(fs::exists(vm("after") / "disk.old"));
    EXPECT_EQ(fs::exists(vm("after") / "disk/image"), !is_new);
    expect_same(expected, "before", shown("after"), is_new ? "the new one" : "the old one");
    fs::remove_all(vm("after"));
    if (how == 0) break;
    if (HasFailure()) return;
  }
  EXPECT_GT(old_ones, 3);
  EXPECT_GT(new_ones, 3) << "killed on its last steps, too";
  std::cout << "killed at " << step - 1 << " steps: " << old_ones << " old, " << new_ones << " new\n";
}

/// Its new image would be one that nothing opens.
TEST_F(CommitTest, AnImageOfAllLayersThatThereMayBeTakesNoFurtherOne) {
  const auto make_layers = [&](std::size_t count) {
    fs::remove_all(dir_ / "image");
    ImageBuilder image(dir_ / "image");
    for (std::size_t i = 0; i < count; ++i)
      image.add_gzip_layer(TarBuilder().directory("etc").file(str_cat("file-", i), "1").finish());
    image.write();
    fs::remove_all(vm("web") / "disk");
    write("web");
  };
  make_layers(126);
  const Outcome fits = commit({"web", "fits:1"});
  EXPECT_EQ(fits.exit_code, 0) << fits.err << "the 127th, and one that the VM has on top";
  fs::remove_all(store());
  make_layers(128);
  for (const bool rebase : {true, false}) {
    std::vector<std::string> how = {"web", "app:2"};
    if (rebase) how.emplace_back("--rebase");
    const Outcome refused = commit(how);
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_NE(refused.err.find("--squash"), std::string::npos) << refused.err;
    EXPECT_EQ(blob_count(), 0U);
    EXPECT_TRUE(fs::exists(vm("web") / "disk/upper/etc/new")) << "what it has written";
  }
  const Outcome squashed = commit({"web", "app:2", "--squash", "--rebase"});
  EXPECT_EQ(squashed.exit_code, 0) << squashed.err;
  EXPECT_EQ(oci_mount({"cat", "app:2", "/file-127"}).out, "1");
}

TEST_F(CommitTest, SquashedItHasNotTheIdentityThatTheImageBelowIsLabelledWith) {
  ASSERT_EQ(commit({"web", "app:2", "--keep-identity"}).exit_code, 0);
  EXPECT_EQ(oci_mount({"cat", "app:2", "/etc/machine-id"}).out, "the VM's");
  reference_ = "app:2";
  make_vm("next");
  fs::create_directories(dir_ / "mnt");
  {
    Mounted mounted({"--upper", (vm("next") / "disk").string(), reference_}, dir_ / "cache", dir_ / "mnt");
    ASSERT_TRUE(is_mountpoint(dir_ / "mnt")) << mounted.messages();
    write_text(dir_ / "mnt/etc/more", "more");
    EXPECT_EQ(mounted.stop(SIGTERM), 0);
  }
  const auto labels = [&](const Outcome& made) {
    EXPECT_EQ(made.exit_code, 0) << made.err;
    return blob(blob(line_of(made))["config"]["digest"])["config"]["Labels"];
  };
  EXPECT_TRUE(labels(commit({"next", "app:3"})).contains("layerboot.identity")) << "it is in the image below";
  EXPECT_FALSE(labels(commit({"next", "app:4", "--squash"})).contains("layerboot.identity"));
  EXPECT_EQ(oci_mount({"ls", "-R", "app:4"}).out, "etc\netc/hosts\netc/kept\netc/more\netc/new\n");
  EXPECT_TRUE(
      labels(commit({"next", "app:5", "--squash", "--keep-identity"})).contains("layerboot.identity"));
  EXPECT_EQ(oci_mount({"cat", "app:5", "/etc/machine-id"}).out, "the VM's");

  const std::string file = (dir_ / "saved").string();
  const Outcome refused = layerboot({"save", "-q", "-o", file, "app:3"});
  EXPECT_EQ(refused.exit_code, 1) << "an archive is for others, too";
  EXPECT_NE(refused.err.find("--with-identity"), std::string::npos) << refused.err;
  EXPECT_NE(refused.err.find("--squash"), std::string::npos) << refused.err;
  EXPECT_FALSE(fs::exists(file));
  const Outcome saved = layerboot({"save", "-q", "--with-identity", "-o", file, "app:3"});
  EXPECT_EQ(saved.exit_code, 0) << saved.err;
  EXPECT_TRUE(fs::exists(file));
  const Outcome for_all = layerboot({"save", "-q", "-o", file, "app:4"});
  EXPECT_EQ(for_all.exit_code, 0) << for_all.err;
}

TEST_F(CommitTest, DeepDirectoriesAreCommitted) {
  const auto make_deep = [&](std::size_t depth) {
    std::string path;
    for (std::size_t i = 0; i < depth; ++i) path += "/d";
    Mounted mounted({"--upper", (vm("web") / "disk").string(), reference_}, dir_ / "cache", dir_ / "mnt");
    EXPECT_TRUE(is_mountpoint(dir_ / "mnt")) << mounted.messages();
    fs::create_directories(str_cat((dir_ / "mnt").string(), path));
    EXPECT_EQ(mounted.stop(SIGTERM), 0);
  };
  make_deep(200);
  std::vector<std::string> few = words({"commit", "--oci-mount", LAYERBOOT_OCI_MOUNT, "web", "app:2"});
  few.insert(few.begin(), {"sh", "-c", "ulimit -S -n 150; exec \"$@\"", "sh"});
  const Outcome made = run_program(few, dir_ / "cache");
  EXPECT_EQ(made.exit_code, 0) << made.err;
  make_deep(1030);
  const Outcome refused = commit({"web", "app:3"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("/d/d/d"), std::string::npos) << refused.err;
  EXPECT_NE(refused.err.find("1024 directories"), std::string::npos) << refused.err;
}

TEST_F(CommitTest, AStoppedVmThatAnotherCommandHoldsIsNotCalledRunning) {
  write_text(vm("web") / "lock", "");
  std::vector<std::string> held = words({"commit", "--oci-mount", LAYERBOOT_OCI_MOUNT, "web"});
  held.insert(held.begin(), {"flock", (vm("web") / "lock").string()});
  const Outcome refused = run_program(held, dir_ / "cache");
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("another command works on it"), std::string::npos) << refused.err;
  EXPECT_EQ(refused.err.find("--pause"), std::string::npos) << refused.err;
}

TEST_F(CommitTest, ATimeThatNoConfigCanSayIsRefused) {
  std::vector<std::string> all = words({"commit", "--oci-mount", LAYERBOOT_OCI_MOUNT, "web", "app"});
  all.insert(all.begin() + 1, "SOURCE_DATE_EPOCH=253402300800");
  const Outcome refused = run_program(all, dir_ / "cache");
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("SOURCE_DATE_EPOCH is \"253402300800\""), std::string::npos) << refused.err;
  EXPECT_EQ(blob_count(), 0U);
}

TEST_F(CommitTest, AnEntrypointTakesTheOldCommandAway) {
  const auto config_of = [&](const Outcome& made) {
    EXPECT_EQ(made.exit_code, 0) << made.err;
    return blob(blob(line_of(made))["config"]["digest"])["config"];
  };
  const Json config = config_of(commit({"web", "-c", "entrypoint [\"/init\"]", "-c", "ENV P=$PATH:/opt"}));
  EXPECT_EQ(config["Entrypoint"], Json({"/init"}));
  EXPECT_EQ(config["Cmd"], Json::array()) << "it would be the new program's arguments";
  EXPECT_EQ(config["Env"], Json({"PATH=/bin", "P=/bin:/opt"}));
  const Json both = config_of(commit({"web", "-c", "CMD [\"-x\"]", "-c", "ENTRYPOINT [\"/init\"]"}));
  EXPECT_EQ(both["Cmd"], Json({"-x"}));
}

/// In the middle: the layer's file has been made, and then the disk is full, or somebody stops it.
TEST_F(CommitTest, AFailureOnTheWayLeavesNothing) {
  write_text(dir_ / "broken", str_cat("#!/bin/sh\nfor last; do :; done\n", LAYERBOOT_OCI_MOUNT,
                                      " \"$@\" >/dev/null\necho 'no room' >&2\nexit 1\n"));
  fs::permissions(dir_ / "broken", fs::perms::owner_all);
  const Outcome refused = layerboot({"commit", "--oci-mount", (dir_ / "broken").string(), "web", "app"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("no room"), std::string::npos) << refused.err;
  EXPECT_EQ(blob_count(), 0U);
  for (const auto& entry : fs::recursive_directory_iterator(store()))
    EXPECT_TRUE(entry.is_directory() || entry.path().filename() == "lock") << entry.path();
}

}  // namespace
}  // namespace layerboot::test
