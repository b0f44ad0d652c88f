// What layerboot makes of the names of images: those that are legal, those that are missing, those that are
// none.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "oci-mount/store/platform.h"
#include "tests/process/store_fixture.h"
#include "tests/support/fake_docker.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

class ImageSupplyTest : public StoreFixture {
 protected:
  /// `layerboot run`, which has no kernel and so ends before it starts a VM.
  Outcome run(const std::vector<std::string>& words) const {
    std::vector<std::string> all{"run",          "-q",        "--accel",           "tcg",
                                 "--name",       "supply",    "--kernel",          "/no/kernel/",
                                 "--guest-init", "/bin/true", "--tls-verify=false"};
    all.insert(all.end(), words.begin(), words.end());
    return layerboot(all);
  }
  static bool failed_for_want_of_a_kernel(const Outcome& outcome) {
    return outcome.exit_code == 1 && outcome.err.find("/no/kernel/") != std::string::npos;
  }
  std::vector<std::string> names() const {
    const auto list = nlohmann::json::parse(layerboot({"images", "--json"}).out, nullptr, false);
    std::vector<std::string> found;
    for (const auto& image : list) found.push_back(image["name"]);
    return found;
  }
  void expect_says(const Outcome& outcome, const std::vector<std::string>& parts) const {
    EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
    for (const std::string& part : parts) EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
  }
};

TEST_F(ImageSupplyTest, RunFetchesWhatIsMissingOnce) {
  push("one", "1");
  const Outcome never = run({"--pull", "never", name("one")});
  expect_says(never, {"no image", name("one")});
  EXPECT_TRUE(names().empty());
  EXPECT_FALSE(fs::exists(dir_ / "data/layerboot/vms/supply")) << "what can't be had makes no VM";

  const Outcome first = run({name("one")});
  EXPECT_TRUE(failed_for_want_of_a_kernel(first)) << first.err;
  EXPECT_EQ(names(), std::vector{name("one")});
  const std::size_t given = registry_.blobs_given(4);

  push("one", "2");
  EXPECT_TRUE(failed_for_want_of_a_kernel(run({"docker://" + name("one")})));
  EXPECT_EQ(cat(name("one"), "own").out, "1") << "it was there";
  EXPECT_TRUE(failed_for_want_of_a_kernel(run({"--pull", "always", name("one")})));
  EXPECT_EQ(cat(name("one"), "own").out, "2");
  EXPECT_EQ(registry_.blobs_given(given + 3), given + 3) << "the new one's layer, and its config, twice";
}

TEST_F(ImageSupplyTest, ADigestNamesAnImage) {
  push("one", "1");
  ASSERT_EQ(layerboot({"pull", "-q", "--tls-verify=false", name("one")}).exit_code, 0);
  const auto images = nlohmann::json::parse(layerboot({"images", "--json"}).out, nullptr, false);
  ASSERT_EQ(images.size(), 1U);
  const std::string digest = images[0]["digest"];
  EXPECT_EQ(images[0]["registry_digest"], digest);
  const std::string repository = name("one").substr(0, name("one").rfind(':'));

  // By digest and by its beginning it is there already.
  for (const std::string& reference : {str_cat(repository, "@", digest), str_cat(name("one"), "@", digest),
                                       digest.substr(0, 19), digest.substr(7, 12)}) {
    const Outcome outcome = run({"--pull", "never", reference});
    EXPECT_TRUE(failed_for_want_of_a_kernel(outcome)) << reference << ": " << outcome.err;
  }
  EXPECT_EQ(layerboot({"rmi", digest.substr(7, 12)}).exit_code, 0);
  EXPECT_TRUE(names().empty());

  const std::string pinned = str_cat(name("one"), "@", digest);
  EXPECT_TRUE(failed_for_want_of_a_kernel(run({pinned})));
  EXPECT_EQ(names(), std::vector{str_cat(repository, "@", digest)});
  EXPECT_EQ(cat(pinned, "own").out, "1");
  const std::string other = str_cat(repository, "@sha256:", std::string(64, '0'));
  expect_says(run({other}), {"cannot pull " + other});
}

TEST_F(ImageSupplyTest, NamesThatAreLegalCanBePulled) {
  ImageBuilder image(dir_ / "source");
  image.add_gzip_layer(TarBuilder().file("own", "1").finish()).write();
  const std::string host = str_cat("localhost:", registry_.port(), "/");
  for (const std::string text : {"a---b:1", "a__b:1", "x:_x", "x:1.0-_b", "x:a..b", "x:tail_", "x:tail-"}) {
    push_layout(image.layout(), host + text);
    const Outcome pulled = layerboot({"pull", "-q", "--tls-verify=false", host + text});
    EXPECT_EQ(pulled.out, host + text + "\n") << pulled.err;
    EXPECT_EQ(cat(host + text, "own").out, "1") << text;
  }
}

TEST_F(ImageSupplyTest, WhatCannotBeServedIsNotStored) {
  ImageBuilder arm(dir_ / "arm");
  arm.architecture = arm.architecture == "arm64" ? "amd64" : "arm64";
  arm.add_gzip_layer(TarBuilder().file("own", "arm").finish()).write();
  push_layout(arm.layout(), name("arm"));
  expect_says(layerboot({"pull", "--tls-verify=false", name("arm")}),
              {"it is for linux/" + arm.architecture, "--platform"});

  ImageBuilder unknown(dir_ / "unknown");
  const std::string tar = TarBuilder().file("own", "1").finish();
  unknown.add_layer({"application/vnd.example.layer", tar, sha256_text(tar)}).write();
  push_layout(unknown.layout(), name("unknown"));
  expect_says(layerboot({"pull", "--tls-verify=false", name("unknown")}), {"application/vnd.example.layer"});

  EXPECT_TRUE(names().empty());
  EXPECT_FALSE(fs::exists(store() / "blobs")) << "nothing was fetched";
  const Outcome wanted =
      layerboot({"pull", "-q", "--tls-verify=false", "--platform", "linux/" + arm.architecture, name("arm")});
  EXPECT_EQ(wanted.exit_code, 0) << wanted.err;
  const Outcome listed = layerboot({"images"});
  EXPECT_NE(listed.out.find("for linux/" + arm.architecture), std::string::npos) << listed.out;
  EXPECT_EQ(listed.out.find("can't be run"), std::string::npos) << listed.out;
}

TEST_F(ImageSupplyTest, ARunFetchesWhatIsForItsPlatform) {
  push_for_several("both", {"arm64", "amd64"});
  const auto own_after = [&](const std::vector<std::string>& words) {
    const Outcome ran = run(words);
    EXPECT_TRUE(failed_for_want_of_a_kernel(ran)) << ran.err;
    const auto images = nlohmann::json::parse(layerboot({"images", "--json"}).out, nullptr, false);
    for (const auto& image : images) {
      if (image["name"] == name("both")) return image["platform"].get<std::string>();
    }
    return std::string("none");
  };
  const std::string host = own_after({name("both")});
  const std::string other = host == "linux/amd64" ? "linux/arm64" : "linux/amd64";
  EXPECT_EQ(own_after({"--platform", other, name("both")}), other);
  EXPECT_EQ(own_after({name("both")}), host) << "without --platform it is this machine's that is meant";
}

TEST_F(ImageSupplyTest, CopiesInFilesAreTakenIn) {
  push("one", "1");
  const auto copy = (dir_ / "copy").string();
  ASSERT_EQ(run_program(
                {"skopeo", "copy", "-q", "--src-tls-verify=false", "docker://" + name("one"), "dir:" + copy},
                dir_ / "cache")
                .exit_code,
            0);
  expect_says(run({"dir:" + copy}), {"layerboot pull dir:" + copy});
  expect_says(run({copy}), {"layerboot pull dir:" + copy});
  expect_says(layerboot({"pull", "dir:" + copy}), {"NAME"});
  const Outcome pulled = layerboot({"pull", "-q", "dir:" + copy, "copied"});
  EXPECT_EQ(pulled.out, "docker.io/library/copied:latest\n") << pulled.err;
  EXPECT_EQ(cat("copied", "own").out, "1");
  EXPECT_EQ(leftovers().size(), 0U);
}

TEST_F(ImageSupplyTest, FilesAreTakenInByARelativePath) {
  ImageBuilder image(dir_ / "files/layout");
  image.add_gzip_layer(TarBuilder().file("own", "1").finish()).write();
  const auto path = [this](const char* name) { return (dir_ / "files" / name).string(); };
  for (const std::string& to : {"dir:" + path("copy"), "oci-archive:" + path("oci.tar"),
                                "docker-archive:" + path("docker.tar") + ":x:1"})
    ASSERT_EQ(run_program({"skopeo", "copy", "-q", "oci:" + path("layout") + ":latest", to}, dir_ / "cache")
                  .exit_code,
              0);
  for (const char* const source :
       {"dir:copy", "oci:layout", "oci:layout:latest", "oci-archive:oci.tar", "docker-archive:./docker.tar",
        "docker-archive:docker.tar:x:1", "docker-archive:docker.tar:@0"}) {
    auto words = layerboot_words({"pull", "-q", source, "taken"});
    words.insert(words.begin(), {"env", "--chdir=" + path("")});
    const Outcome pulled = run_program(words, dir_ / "cache");
    EXPECT_EQ(pulled.out, "docker.io/library/taken:latest\n") << source << pulled.err;
    EXPECT_EQ(cat("taken", "own").out, "1");
    // As well as when it is to be had again.
    for (const auto& blob : fs::directory_iterator(store() / "blobs/sha256")) {
      if (!read_text(blob.path()).contains("\"layers\"")) write_text(blob.path(), "");
    }
    const Outcome repaired = layerboot({"verify", "-q", "--repair", "taken"});
    EXPECT_EQ(repaired.exit_code, 0) << source << repaired.out << repaired.err;
    EXPECT_EQ(layerboot({"rmi", "taken"}).exit_code, 0);
  }
}

TEST_F(ImageSupplyTest, PodmansImagesAreTakenIn) {
  push("one", "1");
  const std::string storage =
      str_cat("[vfs@", (dir_ / "podman").string(), "+", (dir_ / "podman-run").string(), "]");
  const Outcome stored =
      run_program({"skopeo", "copy", "-q", "--src-tls-verify=false", "docker://" + name("one"),
                   "containers-storage:" + storage + "localhost/one:1"},
                  dir_ / "cache");
  if (stored.exit_code != 0) GTEST_SKIP() << "skopeo has no containers-storage here: " << stored.err;
  const Outcome pulled = layerboot({"pull", "-q", "containers-storage:" + storage + "localhost/one:1"});
  EXPECT_EQ(pulled.out, "localhost/one:1\n") << pulled.err;
  EXPECT_EQ(cat("localhost/one:1", "own").out, "1");
}

TEST_F(ImageSupplyTest, DockersImagesAreTakenIn) {
  push("one", "1");
  const auto saved = dir_ / "saved.tar";
  ASSERT_EQ(run_program({"skopeo", "copy", "-q", "--src-tls-verify=false", "docker://" + name("one"),
                         "docker-archive:" + saved.string() + ":app:1"},
                        dir_ / "cache")
                .exit_code,
            0);
  const FakeDocker docker(dir_ / "docker.sock", read_text(saved));
  const auto with_docker = [&](std::vector<std::string> words) {
    words = layerboot_words(std::move(words));
    words.insert(words.begin(), {"env", "DOCKER_HOST=" + docker.address()});
    return run_program(words, dir_ / "cache");
  };
  const Outcome pulled = with_docker({"pull", "-q", "docker-daemon:app:1"});
  EXPECT_EQ(pulled.out, "docker.io/library/app:1\n") << pulled.err;
  EXPECT_EQ(cat("app:1", "own").out, "1");
  // `run` takes what the store has.
  EXPECT_TRUE(failed_for_want_of_a_kernel(run({"docker-daemon:app:1"})));
  expect_says(run({"--pull", "always", "docker-daemon:app:1"}), {"cannot pull docker-daemon:app:1"});
}

/// Whatever a file is called that has its notation before it.
TEST_F(ImageSupplyTest, AnArchiveNeedsNoTag) {
  push("one", "1");
  for (const std::string kind : {"docker-archive", "oci-archive"}) {
    const auto file = (dir_ / kind).string() + ".tar";
    const Outcome made = run_program({"skopeo", "copy", "-q", "--src-tls-verify=false",
                                      "docker://" + name("one"), str_cat(kind, ":", file, ":app:1")},
                                     dir_ / "cache");
    ASSERT_EQ(made.exit_code, 0) << made.err;
    write_text(file + ".gz", gzip(read_text(file)));
    for (const std::string& path : {file, file + ".gz"}) {
      const std::string image = str_cat(kind, ":", path);
      const Outcome ran = run({image});
      EXPECT_TRUE(failed_for_want_of_a_kernel(ran)) << ran.err;
      const Outcome shown = layerboot({"inspect", image});
      EXPECT_EQ(shown.exit_code, 0) << shown.err;
      const Outcome pulled = layerboot({"pull", "-q", image, kind});
      EXPECT_EQ(pulled.out, str_cat("docker.io/library/", kind, ":latest\n")) << pulled.err;
      EXPECT_EQ(cat(kind, "own").out, "1");
    }
  }
  expect_says(run({"docker-archive:" + (dir_ / "none.tar").string()}), {"none.tar"});
}

/// Of which skopeo knows no nested ones, and takes the first entry whose platform is not said.
TEST_F(ImageSupplyTest, OfAFilesIndexTheSameImageIsTakenAsOfARegistrys) {
  ImageBuilder image(dir_ / "layout");
  std::vector<std::pair<std::string, std::string>> entries;
  for (const std::string architecture : {"riscv64", "s390x", "amd64", "arm64"}) {
    image.layers.clear();
    image.architecture = architecture;
    image.add_gzip_layer(TarBuilder().file("own", architecture).finish()).write(architecture);
    entries.emplace_back(image.last_descriptor, "");
  }
  const std::string inner =
      str_cat(R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[)",
              entries[1].first, ",", entries[2].first, ",", entries[3].first, "]}");
  write_index(image, {entries[0],
                      {str_cat(R"({"mediaType":"application/vnd.oci.image.index.v1+json","digest":")",
                               image.add_blob(inner), R"(","size":)", inner.size(), "}"),
                       ""}});
  const auto layout = (dir_ / "layout").string();
  const auto archive = (dir_ / "oci.tar").string();
  ASSERT_EQ(run_program({"tar", "-C", layout, "-cf", archive, "."}, dir_ / "cache").exit_code, 0);
  write_text(archive + ".gz", gzip(read_text(archive)));
  const auto pull = [&](const std::string& source, const std::vector<std::string>& more) {
    std::vector<std::string> words{"pull", "-q", source, "taken"};
    words.insert(words.end(), more.begin(), more.end());
    const Outcome pulled = layerboot(words);
    EXPECT_EQ(pulled.exit_code, 0) << source << pulled.err;
    const auto list = nlohmann::json::parse(layerboot({"images", "--json"}).out, nullptr, false);
    return list.back()["platform"].get<std::string>();
  };
  for (const std::string& source : {"oci:" + layout + ":latest", "oci-archive:" + archive + ":latest",
                                    "oci-archive:" + archive + ".gz:latest"}) {
    EXPECT_EQ(pull(source, {}), str_cat("linux/", store::host_architecture())) << source;
    EXPECT_EQ(pull(source, {"--platform", "linux/s390x"}), "linux/s390x") << source;
    expect_says(layerboot({"pull", "-q", "--platform", "linux/386", source, "taken"}),
                {"cannot pull", "has nothing for linux/386; it has: "});
  }
}

TEST_F(ImageSupplyTest, PathsAndUrlsAreToldTheirNotation) {
  const auto at = [this](const char* path) { return (dir_ / path).string(); };
  fs::create_directories(dir_ / "rootfs/bin");
  ImageBuilder(dir_ / "layout").add_gzip_layer(TarBuilder().file("a", "A").finish()).write();
  write_text(dir_ / "plain.tar", TarBuilder().file("bin/sh", "x").finish());
  write_text(dir_ / "docker.tar", TarBuilder().file("manifest.json", "[]").finish());
  write_text(dir_ / "oci.tar", TarBuilder().file("oci-layout", "{}").file("index.json", "{}").finish());
  write_text(dir_ / "packed.tar.gz", gzip(TarBuilder().file("manifest.json", "[]").finish()));
  expect_says(run({at("rootfs")}), {"write dir:" + at("rootfs")});
  expect_says(run({at("layout")}), {"write oci:" + at("layout")});
  expect_says(run({at("layout") + ":latest"}), {"write oci:" + at("layout") + ":latest"});
  expect_says(run({at("plain.tar")}), {"of no image"});
  expect_says(run({at("docker.tar")}), {"write docker-archive:" + at("docker.tar")});
  expect_says(run({at("oci.tar")}), {"write oci-archive:" + at("oci.tar")});
  expect_says(run({at("packed.tar.gz")}),
              {"compressed with gzip", "write docker-archive:" + at("packed.tar.gz")});
  expect_says(run({"./not-there"}), {"no such file or directory"});
  expect_says(run({"app:v1.tar"}), {"no such file or directory", "write docker://app:v1.tar"});
  expect_says(run({"team/x.img"}), {"write docker://team/x.img"});
  expect_says(run({"https://hub.docker.com/_/debian"}), {"write debian"});
  expect_says(run({"https://registry.example/team/app"}), {"write registry.example/team/app"});
}

TEST_F(ImageSupplyTest, SoItIsForAPull) {
  const auto at = [this](const char* path) { return (dir_ / path).string(); };
  const auto pull = [this](const std::string& what) { return layerboot({"pull", "-q", what}); };
  fs::create_directories(dir_ / "rootfs/bin");
  ImageBuilder(dir_ / "layout").add_gzip_layer(TarBuilder().file("a", "A").finish()).write();
  write_text(dir_ / "docker.tar", TarBuilder().file("manifest.json", "[]").finish());
  write_text(dir_ / "packed.tar.xz", xz(TarBuilder().file("manifest.json", "[]").finish()));
  expect_says(pull(at("rootfs")), {"nothing to pull", "layerboot run dir:" + at("rootfs")});
  expect_says(pull(at("layout") + ":latest"), {"layerboot pull oci:" + at("layout") + ":latest NAME"});
  expect_says(pull(at("docker.tar")), {"layerboot pull docker-archive:" + at("docker.tar") + " NAME"});
  expect_says(pull(at("packed.tar.xz")), {"layerboot pull oci-archive:" + at("packed.tar.xz") + " NAME"});
  expect_says(pull("./not-there.tar"), {"no such file or directory"});
  expect_says(pull("https://hub.docker.com/r/team/app/"), {"write team/app"});
  expect_says(pull("https://example.org/x.tar.gz"), {"is a URL of a file: fetch it first"});
  EXPECT_TRUE(names().empty());
}

TEST_F(ImageSupplyTest, ListsAreAsDockerHasThem) {
  ImageBuilder image(store());
  image.add_gzip_layer(TarBuilder().file("own", "1").finish());
  image.write("docker.io/library/debian:12");
  const auto list = [this](const std::string& format) { return layerboot({"images", "--format", format}); };
  for (const char* const format : {"json", "{{json .}}"}) {
    const Outcome json = list(format);
    EXPECT_EQ(std::ranges::count(json.out, '\n'), 1) << json.out;
    const auto object = nlohmann::json::parse(json.out, nullptr, false);
    EXPECT_EQ(object["Repository"], "debian") << json.out;
    EXPECT_EQ(object["Tag"], "12");
    EXPECT_TRUE(object["Size"].is_string());
  }
  EXPECT_EQ(list("table").out, layerboot({"images"}).out);
  EXPECT_EQ(list("table {{.Repository}}\\t{{.Tag}}").out, "REPOSITORY   TAG\ndebian       12\n");
  EXPECT_EQ(list("{{.Repository}}:{{.Tag}}").out, "debian:12\n");
  const Outcome word = list("yaml");
  EXPECT_NE(word.exit_code, 0);
  EXPECT_NE(word.err.find("json, table, or a template"), std::string::npos) << word.err;
}

TEST_F(ImageSupplyTest, ASlipOfTheHandListsWhatIsNear) {
  ImageBuilder image(store());
  image.add_gzip_layer(TarBuilder().file("own", "1").finish());
  image.write("docker.io/library/debian:12");
  image.write(name("server"));
  expect_says(run({"--pull", "never", "debain:12"}), {"no image \"debain:12\"", "debian:12"});
  expect_says(run({"--pull", "never", "debian:13"}), {"the local store has: debian:12"});
  expect_says(run({name("sever")}), {"cannot pull", name("server")});
  const Outcome far = run({"--pull", "never", "ubuntu"});
  EXPECT_EQ(far.err.find("the local store has"), std::string::npos) << far.err;
}

TEST_F(ImageSupplyTest, AnImageMadeHereHasAName) {
  ImageBuilder(dir_ / "data/layerboot/images/demo")
      .add_gzip_layer(TarBuilder().file("a", "A").finish())
      .write();
  const Outcome outcome = run({"demo"});
  EXPECT_TRUE(failed_for_want_of_a_kernel(outcome)) << outcome.err;
}

}  // namespace
}  // namespace layerboot::test
