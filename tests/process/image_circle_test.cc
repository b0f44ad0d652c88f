// The way of an image out and back: pull, change, commit, push, and pulled into another store it is the same
// tree; archives; and a build, by buildah. A real registry, on loopback.
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "oci-mount/base/files.h"
#include "tests/process/store_fixture.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class ImageCircleTest : public StoreFixture {
 protected:
  /// With a store of its own.
  Outcome elsewhere(std::vector<std::string> words) const {
    words.insert(words.begin(),
                 {"env", "XDG_DATA_HOME=" + (dir_ / "elsewhere").string(), LAYERBOOT_LAUNCHER});
    return run_program(words, dir_ / "cache");
  }
  /// All of an image, as one tar.
  std::string tree_of(const char* data, const std::string& image) const {
    const Outcome tar = run_program(
        {"env", "XDG_DATA_HOME=" + (dir_ / data).string(), LAYERBOOT_OCI_MOUNT, "-q", "tar", image},
        dir_ / "cache");
    EXPECT_EQ(tar.exit_code, 0) << tar.err;
    return sha256_text(tar.out);
  }
  /// A VM of the image that has removed a file, moved a directory and written another.
  void make_vm(const std::string& name, const std::string& image) {
    const fs::path vm = dir_ / "data/layerboot/vms" / name;
    fs::create_directories(vm);
    write_text(vm / "config.json", str_cat(R"({"image":")", image,
                                           R"(","machine_id":"0123456789abcdef0123456789abcdef","name":")",
                                           name, R"(","quota_bytes":1000000000,"run":{},"version":1})"));
    fs::create_directories(dir_ / "mnt");
    const Outcome mounted =
        run_program({"env", "XDG_DATA_HOME=" + (dir_ / "data").string(), LAYERBOOT_OCI_MOUNT, "-q", "mount",
                     "--upper", (vm / "disk").string(), image, (dir_ / "mnt").string()},
                    dir_ / "cache");
    ASSERT_EQ(mounted.exit_code, 0) << mounted.err;
    fs::remove(dir_ / "mnt/own");
    fs::create_directory(dir_ / "mnt/new");
    write_text(dir_ / "mnt/new/file", sample_bytes(400'000, 9));
    ASSERT_EQ(run_program({"fusermount3", "-u", (dir_ / "mnt").string()}, dir_ / "cache").exit_code, 0);
    // The mount's process is gone when the upper's lock is.
    for (int i = 0; i < 200 && !fs::exists(vm / "disk/clean"); ++i) ::usleep(50'000);
    ASSERT_TRUE(fs::exists(vm / "disk/clean"));
  }
  Outcome commit(const std::string& vm, const std::string& image) const {
    return layerboot({"commit", "--oci-mount", LAYERBOOT_OCI_MOUNT, vm, image});
  }
};

std::string line_of(const Outcome& outcome) { return outcome.out.substr(0, outcome.out.find('\n')); }

TEST_F(ImageCircleTest, WhatAVmWroteIsTheSameInAnotherStore) {
  if (const std::string why = why_no_fuse(); !why.empty()) GTEST_SKIP() << why;
  push("one", "1");
  ASSERT_EQ(layerboot({"pull", "--tls-verify=false", name("one")}).exit_code, 0);
  make_vm("web", name("one"));
  const Outcome made = commit("web", name("two"));
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const std::size_t sent_before = registry_.blobs_taken(0);
  const Outcome pushed = layerboot({"push", "--tls-verify=false", name("two")});
  ASSERT_EQ(pushed.exit_code, 0) << pushed.err;
  EXPECT_EQ(pushed.out, name("two") + "\n");
  EXPECT_EQ(registry_.blobs_taken(sent_before + 2) - sent_before, 2U) << "the new layer and the config alone";
  ASSERT_EQ(layerboot({"push", "--tls-verify=false", name("two"), name("three")}).exit_code, 0);
  EXPECT_EQ(registry_.blobs_taken(0) - sent_before, 2U) << "nothing twice";

  const Outcome pulled = elsewhere({"pull", "--tls-verify=false", name("three")});
  ASSERT_EQ(pulled.exit_code, 0) << pulled.err;
  EXPECT_EQ(tree_of("elsewhere", name("three")), tree_of("data", name("two")));
  const auto images = Json::parse(elsewhere({"images", "--json"}).out, nullptr, false);
  EXPECT_EQ(images.at(0).at("digest"), line_of(made)) << "byte by byte";
}

TEST_F(ImageCircleTest, WhatCannotBePushedSaysWhy) {
  const Outcome none = layerboot({"push", "none:1"});
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_NE(none.err.find("no image \"none:1\""), std::string::npos) << none.err;
  push("one", "1");
  ASSERT_EQ(layerboot({"pull", "--tls-verify=false", name("one")}).exit_code, 0);
  const Outcome tls = layerboot({"push", name("one")});
  EXPECT_EQ(tls.exit_code, 1);
  EXPECT_NE(tls.err.find("which --tls-verify=false takes"), std::string::npos) << tls.err;
}

TEST_F(ImageCircleTest, ArchivesOfBothKindsComeBackAsTheyWere) {
  push("one", "1");
  ASSERT_EQ(layerboot({"pull", "--tls-verify=false", name("one")}).exit_code, 0);
  const std::string tree = tree_of("data", name("one"));
  for (const char* kind : {"oci-archive", "docker-archive"}) {
    const std::string file = (dir_ / kind).string() + ".tar";
    const Outcome saved = layerboot({"save", "--format", kind, "-o", file, name("one")});
    ASSERT_EQ(saved.exit_code, 0) << saved.err;
    fs::remove_all(dir_ / "elsewhere");
    const Outcome loaded = elsewhere({"load", "-i", file});
    ASSERT_EQ(loaded.exit_code, 0) << loaded.err;
    EXPECT_EQ(loaded.out, name("one") + "\n");
    EXPECT_EQ(tree_of("elsewhere", name("one")), tree) << kind;
    const Outcome renamed = elsewhere({"load", "-i", file, "other:2"});
    EXPECT_EQ(renamed.out, "docker.io/library/other:2\n") << renamed.err;
  }
  // Through a pipe.
  std::string both;
  for (const std::string& word : layerboot_words({"save", name("one")})) both += word + " ";
  both += "| env XDG_DATA_HOME=" + (dir_ / "piped").string() + " " + LAYERBOOT_LAUNCHER + " load";
  const Outcome piped = run_program({"sh", "-c", both}, dir_ / "cache");
  EXPECT_EQ(piped.out, name("one") + "\n") << piped.err;
  EXPECT_EQ(tree_of("piped", name("one")), tree);

  write_text(dir_ / "no-archive", "text");
  const Outcome refused = elsewhere({"load", "-i", (dir_ / "no-archive").string()});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("no-archive"), std::string::npos) << refused.err;
}

/// Whose layers are not compressed, as skopeo would do by itself.
TEST_F(ImageCircleTest, AnArchiveKeepsTheDigest) {
  ImageBuilder image(store());
  const std::string tar = TarBuilder().file("own", "plain").finish();
  image.add_layer({"application/vnd.oci.image.layer.v1.tar", tar, sha256_text(tar)})
      .write("docker.io/library/plain:1");
  const auto digest_in = [](const Outcome& images) {
    const auto list = Json::parse(images.out, nullptr, false);
    return list.is_array() && list.size() == 1 ? list[0]["digest"].get<std::string>() : images.err;
  };
  // A name that skopeo would cut at its colon.
  const std::string file = (dir_ / "plain:1.tar").string();
  const Outcome saved = layerboot({"save", "-q", "-o", file, "plain:1"});
  ASSERT_EQ(saved.exit_code, 0) << saved.err;
  const Outcome loaded = elsewhere({"load", "-q", "-i", file});
  EXPECT_EQ(loaded.out, "docker.io/library/plain:1\n") << loaded.err;
  EXPECT_EQ(digest_in(elsewhere({"images", "--json"})), digest_in(layerboot({"images", "--json"})));
  const Outcome none = elsewhere({"load", "-q", "-i", (dir_ / "none:1.tar").string()});
  EXPECT_NE(none.err.find("none:1.tar"), std::string::npos) << none.err;
}

TEST_F(ImageCircleTest, AnOutputThatIsNoFileIsWrittenTo) {
  push("one", "1");
  ASSERT_EQ(layerboot({"pull", "-q", "--tls-verify=false", name("one")}).exit_code, 0);
  ASSERT_EQ(::mkfifo((dir_ / "fifo").c_str(), 0600), 0);
  fs::create_directory(dir_ / "elsewhere-file");
  fs::create_symlink("elsewhere-file/archive", dir_ / "link");
  std::string save;
  for (const std::string& word : layerboot_words({"save", "-q", name("one"), "-o", ""})) save += word + " ";
  const std::string at = dir_.path().string();
  const Outcome done =
      run_program({"sh", "-c",
                   "cat " + at + "/fifo > " + at + "/from-fifo & " + save + at + "/fifo && wait && " + save +
                       "/dev/stdout > " + at + "/from-stdout && " + save + at + "/link && " + save + at},
                  dir_ / "cache");
  EXPECT_NE(done.exit_code, 0) << "a directory";
  EXPECT_NE(done.err.find(at), std::string::npos) << done.err;
  EXPECT_TRUE(fs::is_fifo(dir_ / "fifo"));
  EXPECT_TRUE(fs::is_symlink(dir_ / "link"));
  for (const char* const file : {"from-fifo", "from-stdout", "elsewhere-file/archive"}) {
    fs::remove_all(dir_ / "elsewhere");
    EXPECT_EQ(elsewhere({"load", "-q", "-i", (dir_ / file).string()}).out, name("one") + "\n") << file;
  }
}

/// Killed, they leave what they had made so far.
TEST_F(ImageCircleTest, GcRemovesWhatLoadAndSaveHaveLeft) {
  push("one", "1");
  ASSERT_EQ(layerboot({"pull", "-q", "--tls-verify=false", name("one")}).exit_code, 0);
  // As run_program() has the cache.
  const fs::path left = dir_ / "cache/layerboot/.load.making-killed";
  fs::create_directories(left);
  write_text(left / "archive", "half of one");
  EXPECT_EQ(layerboot({"gc"}).exit_code, 0);
  EXPECT_FALSE(fs::exists(left));
}

TEST_F(ImageCircleTest, AnImageOfAnotherPlatformIsCarriedAsAnyOther) {
  ImageBuilder image(dir_ / "foreign");
  image.architecture = "s390x";
  image.config_more_json = R"("history":[{"created_by":"made for s390x"}],)";
  image.add_gzip_layer(TarBuilder().file("own", "s390x").finish()).write();
  push_layout(image.layout(), name("foreign"));
  ASSERT_EQ(
      layerboot({"pull", "-q", "--tls-verify=false", "--platform", "linux/s390x", name("foreign")}).exit_code,
      0);
  const Outcome history = layerboot({"history", name("foreign")});
  EXPECT_EQ(history.exit_code, 0) << history.err;
  EXPECT_NE(history.out.find("made for s390x"), std::string::npos) << history.out;
  const Outcome shown = layerboot({"inspect", name("foreign")});
  EXPECT_EQ(shown.exit_code, 0) << shown.err;
  EXPECT_NE(shown.out.find("\"chain_id\""), std::string::npos) << shown.out;
  EXPECT_EQ(layerboot({"tag", name("foreign"), name("tagged")}).exit_code, 0);
  const Outcome pushed = layerboot({"push", "-q", "--tls-verify=false", name("tagged")});
  EXPECT_EQ(pushed.exit_code, 0) << pushed.err;
  for (const char* const kind : {"oci-archive", "docker-archive"}) {
    const std::string file = (dir_ / kind).string();
    ASSERT_EQ(layerboot({"save", "-q", "--format", kind, "-o", file, name("foreign")}).exit_code, 0);
    const Outcome loaded = elsewhere({"load", "-q", "-i", file, str_cat("loaded:", kind)});
    EXPECT_EQ(loaded.exit_code, 0) << loaded.err;
  }
  EXPECT_NE(elsewhere({"images"}).out.find("for linux/s390x"), std::string::npos);
}

TEST_F(ImageCircleTest, HistoryAndTagsAreOfTheImage) {
  ImageBuilder image(dir_ / "steps");
  image.config_more_json =
      R"("history":[{"created_by":"first\u009b step"},{"created_by":"no layer","empty_layer":true}],)";
  image.add_gzip_layer(TarBuilder().file("a", "1").finish());
  image.add_gzip_layer(TarBuilder().file("b", "2").finish()).write();
  push_layout(image.layout(), name("steps"));
  ASSERT_EQ(layerboot({"pull", "-q", "--tls-verify=false", name("steps")}).exit_code, 0);
  const Outcome tagged = layerboot({"tag", name("steps"), "steps:2"});
  ASSERT_EQ(tagged.exit_code, 0) << tagged.err;
  const Outcome history = layerboot({"history", "steps:2"});
  ASSERT_EQ(history.exit_code, 0) << history.err;
  EXPECT_EQ(std::ranges::count(history.out, '\n'), 4) << "a heading, and three steps: " << history.out;
  EXPECT_LT(history.out.find("no layer"), history.out.find("first")) << "the last comes first";
  const Outcome json = layerboot({"history", "--json", "steps:2"});
  EXPECT_EQ(json.out.find("\xc2\x9b"), std::string::npos) << "a command to a terminal";
  const auto steps = Json::parse(json.out, nullptr, false);
  ASSERT_EQ(steps.size(), 3U);
  EXPECT_EQ(steps[2]["created_by"], "first\xc2\x9b step");
  EXPECT_TRUE(steps[1]["layer"].is_null());
  EXPECT_EQ(layerboot({"rmi", name("steps")}).exit_code, 0);
  EXPECT_EQ(layerboot({"history", "steps:2"}).exit_code, 0) << "the tag is a name of its own";
  EXPECT_EQ(layerboot({"tag", "none:1", "steps:3"}).exit_code, 1);
}

TEST_F(ImageCircleTest, AnArchiveIsReadableByWhomTheUmaskSays) {
  push("one", "1");
  ASSERT_EQ(layerboot({"pull", "-q", "--tls-verify=false", name("one")}).exit_code, 0);
  const std::string file = (dir_ / "saved").string();
  std::string save = "umask 027;";
  for (const std::string& word : layerboot_words({"save", "-q", "-o", file, name("one")})) save += " " + word;
  ASSERT_EQ(run_program({"sh", "-c", save}, dir_ / "cache").exit_code, 0);
  EXPECT_EQ(fs::status(file).permissions(), fs::perms{0640});
}

/// As docker save writes it since Docker 25, and ctr export: the tag alone, and the whole name beside it.
TEST_F(ImageCircleTest, ContainerdsNamesInArchivesAreWhole) {
  const fs::path layout = dir_ / "containerd";
  ImageBuilder image(layout);
  image.add_gzip_layer(TarBuilder().file("own", "1").finish()).write("12");
  const std::string by_tag = read_text(layout / "index.json");
  const auto load = [&](const std::string& index, const std::string& docker) {
    write_text(layout / "index.json", index);
    fs::remove(layout / "manifest.json");
    if (!docker.empty()) write_text(layout / "manifest.json", docker);
    write_text(layout / "oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
    const std::string file = (dir_ / "containerd.tar").string();
    EXPECT_EQ(run_program({"sh", "-c", "cd " + layout.string() + " && tar cf " + file + " *"}, dir_ / "cache")
                  .exit_code,
              0);
    const Outcome loaded = elsewhere({"load", "-q", "-i", file});
    EXPECT_EQ(loaded.exit_code, 0) << loaded.err;
    return loaded.out;
  };
  std::string by_name = by_tag;
  constexpr std::string_view kTag = R"("org.opencontainers.image.ref.name":"12")";
  by_name.insert(by_name.find(kTag), R"("io.containerd.image.name":"docker.io/library/debian:12",)");
  EXPECT_EQ(load(by_name, ""), "docker.io/library/debian:12\n");
  const Json index = Json::parse(by_tag);
  const Json manifest =
      Json::parse(read_text(image.blob_path(index["manifests"][0]["digest"].get<std::string>())));
  const auto blob = [](const Json& descriptor) {
    return "blobs/sha256/" + descriptor["digest"].get<std::string>().substr(7);
  };
  const Json docker = {{{"Config", blob(manifest["config"])},
                        {"RepoTags", {"fedora:12", "other/name:1"}},
                        {"Layers", {blob(manifest["layers"][0])}}}};
  EXPECT_EQ(load(by_tag, docker.dump()), "docker.io/library/fedora:12\ndocker.io/other/name:1\n");
  EXPECT_EQ(load(by_tag, ""), "docker.io/library/12:latest\n") << "nothing says more";
}

class BuildTest : public ImageCircleTest {
 protected:
  void SetUp() override {
    ImageCircleTest::SetUp();
    if (run_program({"buildah", "--version"}, dir_ / "cache").exit_code != 0)
      GTEST_SKIP() << "buildah is not installed (Debian package buildah)";
    if (::geteuid() != 0)
      GTEST_SKIP() << "without root, buildah needs ranges of user ids, which may not be there";
    fs::create_directories(dir_ / "context");
    write_text(dir_ / "context/file", "in the context");
    write_text(
        dir_ / "context/Containerfile",
        "ARG BASE=scratch\nFROM $BASE\nARG WHO=nobody\nCOPY file /file\nLABEL who=$WHO\nCMD [\"/file\"]\n");
  }
  Outcome build(std::vector<std::string> more) const {
    more.insert(more.begin(), "build");
    more.push_back((dir_ / "context").string());
    return layerboot(more);
  }
};

TEST_F(BuildTest, AContainerfileBecomesAnImageOfTheStore) {
  const Outcome built = build({"-t", "app:1", "--build-arg", "WHO=me"});
  ASSERT_EQ(built.exit_code, 0) << built.err;
  EXPECT_EQ(built.out.substr(0, 7), "sha256:");
  EXPECT_EQ(built.out.size(), 72U) << "the digest alone: " << built.out;
  EXPECT_NE(built.err.find("COPY file /file"), std::string::npos) << "the builder's own words: " << built.err;
  EXPECT_EQ(cat("app:1", "/file").out, "in the context");
  const Outcome labels = layerboot({"inspect", "app:1"});
  EXPECT_NE(labels.out.find("\"who\": \"me\""), std::string::npos) << labels.out;

  const Outcome again = build({"--build-arg", "WHO=me"});
  EXPECT_EQ(again.out, built.out);
  EXPECT_EQ(again.err.find("copying"), std::string::npos) << again.err;
  const auto images = Json::parse(layerboot({"images", "--json"}).out, nullptr, false);
  EXPECT_EQ(images.size(), 1U);
}

TEST_F(BuildTest, OnAnImageOfARegistry) {
  ImageBuilder image(dir_ / "base");
  image.config_more_json = R"("history":[{"created_by":"first"}],)";
  image.add_gzip_layer(TarBuilder().file("own", "1").finish()).write();
  push_layout(image.layout(), name("one"));
  const Outcome built = build({"--tls-verify=false", "--build-arg", "BASE=" + name("one")});
  ASSERT_EQ(built.exit_code, 0) << built.err;
  EXPECT_EQ(cat("image@" + line_of(built), "/own").out, "1");
  EXPECT_EQ(cat("image@" + line_of(built), "/file").out, "in the context");
}

/// Though a registry has something else of that name, or nobody has.
TEST_F(BuildTest, OnAnImageOfTheStore) {
  const auto push_with_history = [this](const std::string& tag, const std::string& own) {
    ImageBuilder image(dir_ / ("base-" + tag));
    image.config_more_json = R"("history":[{"created_by":"first"}],)";
    image.add_gzip_layer(TarBuilder().file("own", own).finish()).write();
    push_layout(image.layout(), name(tag));
  };
  push_with_history("one", "the registry's");
  push_with_history("two", "the store's");
  push_with_history("three", "only the registry's");
  ASSERT_EQ(layerboot({"pull", "-q", "--tls-verify=false", name("two")}).exit_code, 0);
  ASSERT_EQ(layerboot({"tag", name("two"), name("one")}).exit_code, 0);
  ASSERT_EQ(layerboot({"tag", name("two"), "my:1"}).exit_code, 0);
  const auto built_with = [&](const std::string& recipe, std::vector<std::string> more) {
    write_text(dir_ / "context/Containerfile", recipe);
    more.emplace_back("--tls-verify=false");
    const Outcome built = build(more);
    EXPECT_EQ(built.exit_code, 0) << recipe << built.err;
    return "image@" + line_of(built);
  };
  const std::string by_name = built_with("FROM " + name("one") + "\nCOPY file /file\n", {});
  EXPECT_EQ(cat(by_name, "/own").out, "the store's");
  EXPECT_EQ(cat(by_name, "/file").out, "in the context");
  const std::string with_stages = built_with(
      "ARG BASE=nobodys:1\nFROM $BASE AS my\nFROM my\nCOPY --from=my:1 /own /from-an-image\n"
      "COPY --from=0 /own /from-a-stage\nHEALTHCHECK NONE\n",
      {"--build-arg", "BASE=my:1"});
  for (const char* const path : {"/own", "/from-an-image", "/from-a-stage"})
    EXPECT_EQ(cat(with_stages, path).out, "the store's") << path;
  const std::string of_both = built_with("FROM my:1\nCOPY --from=" + name("three") + " /own /other\n", {});
  EXPECT_EQ(cat(of_both, "/own").out, "the store's");
  EXPECT_EQ(cat(of_both, "/other").out, "only the registry's");
}

/// What can't be looked for in the store is not left to a registry, where a stranger may have that name.
TEST_F(BuildTest, WhatNamesImagesNobodyCanTellIsRefused) {
  const auto expect_refused = [&](const std::vector<std::string>& more, const char* why) {
    const Outcome refused = build(more);
    EXPECT_EQ(refused.exit_code, 1) << why;
    EXPECT_NE(refused.err.find(why), std::string::npos) << refused.err;
    EXPECT_EQ(refused.err.find("STEP"), std::string::npos) << "buildah was asked: " << refused.err;
  };
  const fs::path recipe = dir_ / "context/Containerfile";
  write_text(recipe, "ARG X=my:1\nFROM scratch\nARG X\nCOPY --from=$X /own /own\n");
  expect_refused({}, "--from=$X");
  write_text(recipe, "FROM scratch\nRUN --mount=type=bind,from=${X},target=/x true\n");
  expect_refused({}, "from=${X}");
  write_text(recipe, "FROM ${X?}\n");
  expect_refused({}, "FROM ${X?}");
  write_text(recipe, "FROM scratch\n#" + std::string(1 << 20, 'x') + "\nCOPY file /file\n");
  expect_refused({}, "Containerfile");
  write_text(dir_ / "context/X.in", "FROM scratch\nCOPY file /file\n");
  expect_refused({"-f", (dir_ / "context/X.in").string()}, "X.in");
  expect_refused({"-f", "http://localhost:1/Containerfile"}, "http://localhost:1/Containerfile");
}

/// buildah is told of images by their names, whatever platform a FROM asks for.
TEST_F(BuildTest, OneNameForTwoPlatformsIsRefused) {
  ImageBuilder image(dir_ / "foreign");
  image.architecture = "s390x";
  image.add_gzip_layer(TarBuilder().file("own", "s390x").finish()).write();
  push_layout(image.layout(), name("foreign"));
  ASSERT_EQ(
      layerboot({"pull", "-q", "--tls-verify=false", "--platform", "linux/s390x", name("foreign")}).exit_code,
      0);
  write_text(dir_ / "context/Containerfile", "FROM --platform=linux/s390x " + name("foreign") +
                                                 " AS other\nFROM " + name("foreign") + "\nCOPY file /f\n");
  const Outcome refused = build({"--tls-verify=false"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("linux/s390x"), std::string::npos) << refused.err;
  EXPECT_NE(refused.err.find("another name"), std::string::npos) << refused.err;
  EXPECT_EQ(refused.err.find("STEP"), std::string::npos) << refused.err;
}

TEST_F(BuildTest, WhatCannotBeBuiltSaysWhy) {
  const Outcome missing = layerboot({"build", (dir_ / "none").string()});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_NE(missing.err.find("is no directory to build from"), std::string::npos) << missing.err;
  write_text(dir_ / "context/Containerfile", "FROM scratch\nCOPY nothing /\n");
  const Outcome failed = build({"-t", "app:1"});
  EXPECT_EQ(failed.exit_code, 1);
  EXPECT_EQ(failed.out, "");
  EXPECT_EQ(layerboot({"images", "--json"}).out, "[]\n");
  EXPECT_EQ(read_text("/proc/self/mounts").find(dir_.path().string()), std::string::npos)
      << "its container is gone";

  fs::create_directories(dir_ / "bin");
  const Outcome without =
      run_program({"env", "PATH=" + (dir_ / "bin").string(), "XDG_DATA_HOME=" + (dir_ / "data").string(),
                   LAYERBOOT_LAUNCHER, "build", (dir_ / "context").string()},
                  dir_ / "cache");
  if (!fs::exists("/usr/sbin/buildah") && !fs::exists("/sbin/buildah")) {
    EXPECT_NE(without.err.find("apt-get install buildah"), std::string::npos) << without.err;
  }
}

}  // namespace
}  // namespace layerboot::test
