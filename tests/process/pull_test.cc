// layerboot pull, images, rmi and gc against a real registry on loopback.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>

#include "tests/process/slow_proxy.h"
#include "tests/process/store_fixture.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxTries = 300;
constexpr useconds_t kTryInterval = 50'000;

/// "tester" with the password "secret".
constexpr const char* kHtpasswd = "tester:$2b$05$QTa4wy2cWIE9CYouWweQh..GMC7uJHDKgx4tD2.9nVB7hwlcgAHAO\n";

class PullTest : public StoreFixture {};

/// 3 MB that no compression makes less.
std::string noise() {
  std::mt19937_64 random(5);
  std::string bytes(3'000'000, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

TEST_F(PullTest, AnImageComesOnceAndGoesWhenNobodyNeedsIt) {
  push("one", "1");
  const Outcome first = layerboot({"pull", "--tls-verify=false", name("one")});
  ASSERT_EQ(first.exit_code, 0) << first.err;
  EXPECT_EQ(first.out, name("one") + "\n");
  EXPECT_EQ(blob_count(), 4U);
  EXPECT_EQ(registry_.blobs_given(4), 4U) << "two layers, and the config, which is looked at before";

  EXPECT_EQ(layerboot({"pull", "--tls-verify=false", name("one")}).exit_code, 0);
  push("two", "2");
  EXPECT_EQ(layerboot({"pull", "--tls-verify=false", "docker://" + name("two")}).exit_code, 0);
  EXPECT_EQ(blob_count(), 7U) << "the shared layer is there";
  EXPECT_EQ(registry_.blobs_given(7), 7U) << "nothing twice: only its own layer, and its config, as above";

  const auto images = nlohmann::json::parse(layerboot({"images", "--json"}).out, nullptr, false);
  ASSERT_EQ(images.size(), 2U);
  EXPECT_EQ(images[0]["name"], name("one"));
  EXPECT_EQ(images[0]["layers"], 2U);
  const std::string repository = name("two").substr(0, name("two").rfind(':'));
  EXPECT_NE(layerboot({"images"}).out.find(repository + "   two   sha256:"), std::string::npos);

  const Outcome own = cat(name("two"), "own");
  EXPECT_EQ(own.out, "2") << own.err;

  fs::create_directories(dir_ / "data/layerboot/vms/web");
  write_text(dir_ / "data/layerboot/vms/web/config.json",
             str_cat(R"({"version":1,"name":"web","image":")", name("one"),
                     R"(","quota_bytes":1,"machine_id":"00000000000040008000000000000000"})"));
  const Outcome in_use = layerboot({"rmi", name("one")});
  EXPECT_EQ(in_use.exit_code, 1);
  EXPECT_NE(in_use.err.find("in use by VM web"), std::string::npos) << in_use.err;
  EXPECT_EQ(layerboot({"rmi", name("two")}).exit_code, 0);
  EXPECT_EQ(blob_count(), 7U);
  const Outcome gc = layerboot({"gc"});
  // Of "two": manifest, config, layer; the indexes of both its layers' were built, one is shared; its tree.
  EXPECT_EQ(gc.out.substr(0, 30), "removed 3 blobs and 2 indexes,") << gc.out << gc.err;
  EXPECT_EQ(blob_count(), 4U);
  EXPECT_EQ(layerboot({"rmi", name("two")}).exit_code, 1) << "it is gone";
}

TEST_F(PullTest, WhatCannotBePulledLeavesNoImage) {
  const Outcome missing = layerboot({"pull", "--tls-verify=false", name("none")});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_NE(missing.err.find("cannot pull " + name("none")), std::string::npos) << missing.err;
  EXPECT_EQ(layerboot({"pull", "oci:somewhere/$x"}).exit_code, 1);
  EXPECT_EQ(layerboot({"images", "--json"}).out, "[]\n");
}

TEST_F(PullTest, WhatCannotBeServedIsRefusedBeforeAnythingIsStored) {
  const auto push_odd = [this](const std::string& tag, const std::function<void(ImageBuilder&)>& odd) {
    ImageBuilder image(dir_ / ("source-" + tag));
    image.add_gzip_layer(TarBuilder().file("own", tag).finish());
    odd(image);
    image.write();
    push_layout(image.layout(), name(tag));
    return image.layout();
  };
  const auto expect_refused = [this](const std::vector<std::string>& words, const char* why) {
    std::vector<std::string> pull{"pull", "-q", "--tls-verify=false"};
    pull.insert(pull.end(), words.begin(), words.end());
    const Outcome refused = layerboot(pull);
    EXPECT_EQ(refused.exit_code, 1) << words.front();
    EXPECT_NE(refused.err.find(why), std::string::npos) << words.front() << ": " << refused.err;
    const auto is_file = [](const auto& entry) { return entry.is_regular_file(); };
    std::error_code ignored;
    EXPECT_EQ(std::ranges::count_if(fs::recursive_directory_iterator(store() / "blobs", ignored), is_file), 0)
        << words.front();
    EXPECT_EQ(layerboot({"images", "--json"}).out, "[]\n");
  };
  const auto artifact = push_odd(
      "chart", [](ImageBuilder& image) { image.config_type = "application/vnd.cncf.helm.config.v1+json"; });
  const auto other = push_odd("other", [](ImageBuilder& image) { image.architecture = "s390x"; });
  const auto windows = push_odd("windows", [](ImageBuilder& image) { image.os = "windows"; });
  expect_refused({name("chart")}, "this is an artifact");
  expect_refused({name("other")}, "it is for linux/s390x");
  expect_refused({name("windows")}, "it is for windows/");
  EXPECT_EQ(registry_.blobs_given(2), 2U) << "configs alone, and of the artifact not even that";
  for (const auto& [layout, why] : {std::pair(artifact, "artifact"), {other, "s390x"}, {windows, "windows"}})
    expect_refused({str_cat("oci:", layout.string(), ":latest"), "odd:1"}, why);
  const Outcome asked =
      layerboot({"pull", "-q", "--tls-verify=false", "--platform", "linux/s390x", name("other")});
  EXPECT_EQ(asked.exit_code, 0) << asked.err;
}

const std::string kHost = [] {
#if defined(__aarch64__)
  return "arm64";
#else
  return "amd64";
#endif
}();
const std::string kForeign = kHost == "arm64" ? "amd64" : "arm64";

/// "linux/arm64" of the image that is called so.
std::string platform_of(const Outcome& listed, const std::string& name) {
  const auto images = nlohmann::json::parse(listed.out, nullptr, false);
  for (const auto& image : images) {
    if (image["name"] == name) return image["platform"];
  }
  return "none is called " + name;
}

TEST_F(PullTest, OfAnIndexTheOneForThePlatformIsTaken) {
  push_for_several("both", {kForeign, kHost});
  const auto pull = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words{"pull", "-q", "--tls-verify=false", name("both")};
    words.insert(words.end(), more.begin(), more.end());
    const Outcome pulled = layerboot(words);
    EXPECT_EQ(pulled.exit_code, 0) << pulled.err;
    return platform_of(layerboot({"images", "--json"}), name("both"));
  };
  const std::vector<std::string> foreign{"--platform", "linux/" + kForeign};
  EXPECT_EQ(pull({}), "linux/" + kHost);
  EXPECT_EQ(cat(name("both"), "own").out, kHost);
  EXPECT_EQ(pull(foreign), "linux/" + kForeign);
  EXPECT_EQ(pull({}), "linux/" + kHost);
  EXPECT_EQ(pull(foreign), "linux/" + kForeign) << "the index is known, and this one of it is there";
  EXPECT_EQ(pull({"--platform", kHost == "amd64" ? "linux/x86_64" : "linux/aarch64"}), "linux/" + kHost);
  const Outcome none =
      layerboot({"pull", "-q", "--tls-verify=false", "--platform", "linux/riscv64", name("both")});
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_NE(none.err.find("has nothing for linux/riscv64; it has: linux/amd64 linux/arm64"),
            std::string::npos)
      << none.err;
}

TEST_F(PullTest, OfAnIndexThatSaysNothingTheConfigsSay) {
  push_for_several("unlabelled", {"s390x", kHost}, false);
  const Outcome pulled = layerboot({"pull", "-q", "--tls-verify=false", name("unlabelled")});
  ASSERT_EQ(pulled.exit_code, 0) << pulled.err;
  EXPECT_EQ(cat(name("unlabelled"), "own").out, kHost);
  const Outcome again = layerboot({"pull", "-q", "--tls-verify=false", name("unlabelled")});
  EXPECT_EQ(again.exit_code, 0) << "with documents that the store has: " << again.err;
}

/// As builders of arm64's images leave it that do not set the config.
TEST_F(PullTest, WhatAnIndexSaysOfAnImageIsKept) {
  ImageBuilder image(dir_ / "mislabelled");
  image.architecture = kHost;
  image.add_gzip_layer(TarBuilder().file("own", "foreign").finish()).write("made");
  push_index(image, {{image.last_descriptor, kForeign}}, "mislabelled");
  for (int round = 0; round < 2; ++round) {
    const Outcome none = layerboot({"pull", "-q", "--tls-verify=false", name("mislabelled")});
    EXPECT_EQ(none.exit_code, 1);
    EXPECT_NE(none.err.find("it has: linux/" + kForeign), std::string::npos) << none.err;
    const Outcome pulled = layerboot(
        {"pull", "-q", "--tls-verify=false", "--platform", "linux/" + kForeign, name("mislabelled")});
    ASSERT_EQ(pulled.exit_code, 0) << pulled.err;
    EXPECT_EQ(platform_of(layerboot({"images", "--json"}), name("mislabelled")), "linux/" + kForeign);
  }
  const Outcome read = run_program({"env", "XDG_DATA_HOME=" + (dir_ / "data").string(), LAYERBOOT_OCI_MOUNT,
                                    "cat", "--platform", "linux/" + kForeign, name("mislabelled"), "own"},
                                   dir_ / "cache");
  EXPECT_EQ(read.out, "foreign") << read.err;
  const Outcome taken = layerboot({"pull", "-q", "--platform", "linux/" + kForeign,
                                   str_cat("oci:", image.layout().string(), ":latest"), "taken"});
  EXPECT_EQ(taken.exit_code, 0) << taken.err;
  EXPECT_EQ(platform_of(layerboot({"images", "--json"}), "docker.io/library/taken:latest"),
            "linux/" + kForeign);
}

TEST_F(PullTest, WhatThisMachineRunsTooIsTaken) {
  if (kHost != "amd64") GTEST_SKIP() << "386 is what amd64 runs, too";
  push_for_several("old", {"386"});
  const Outcome pulled = layerboot({"pull", "-q", "--tls-verify=false", name("old")});
  ASSERT_EQ(pulled.exit_code, 0) << pulled.err;
  EXPECT_EQ(cat(name("old"), "own").out, "386");
  EXPECT_EQ(layerboot({"images"}).out.find("can't be run"), std::string::npos);
}

TEST_F(PullTest, APullThatIsKilledIsMadeGoodByTheNext) {
  SlowProxy proxy(registry_.port());
  push("large", noise());
  const std::string image = name("large", proxy.port());
  proxy.set_bytes_per_second(200'000);
  const pid_t pull = start_program(layerboot_words({"pull", "--tls-verify=false", image}), dir_ / "cache");
  ASSERT_GT(pull, 0);
  const auto is_under_way = [this] {
    for (const auto& file : leftovers()) {
      std::error_code ignored;
      if (fs::file_size(file, ignored) > 300'000) return true;  // it is of the large layer
    }
    return false;
  };
  for (int i = 0; i < kMaxTries && !is_under_way(); ++i) ::usleep(kTryInterval);
  ASSERT_TRUE(is_under_way());
  ::kill(pull, SIGKILL);
  ::waitpid(pull, nullptr, 0);
  EXPECT_EQ(layerboot({"images", "--json"}).out, "[]\n");
  EXPECT_FALSE(leftovers().empty()) << "nobody was left to take it away";

  proxy.set_bytes_per_second(0);
  const Outcome again = layerboot({"pull", "--tls-verify=false", image});
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_TRUE(leftovers().empty());
  EXPECT_EQ(blob_count(), 4U);
  EXPECT_TRUE(cat(image, "own").out == noise());
}

TEST_F(PullTest, AnInterruptedPullLeavesNoPartOfABlob) {
  SlowProxy proxy(registry_.port());
  push("large", noise());
  proxy.set_bytes_per_second(200'000);
  const pid_t pull = start_program(
      layerboot_words({"pull", "--tls-verify=false", name("large", proxy.port())}), dir_ / "cache");
  ASSERT_GT(pull, 0);
  for (int i = 0; i < kMaxTries && leftovers().empty(); ++i) ::usleep(kTryInterval);
  ASSERT_FALSE(leftovers().empty());
  ::kill(pull, SIGINT);
  int status = 0;
  ::waitpid(pull, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) ? WTERMSIG(status) == SIGINT : WEXITSTATUS(status) != 0);
  EXPECT_TRUE(leftovers().empty());
  EXPECT_EQ(layerboot({"images", "--json"}).out, "[]\n");
}

TEST_F(PullTest, ProgressHasBytesRateAndTimeLeft) {
  SlowProxy proxy(registry_.port());
  push("large", noise());
  proxy.set_bytes_per_second(1'200'000);
  const std::vector<std::string> pull = {"pull", "--tls-verify=false", name("large", proxy.port())};
  const Outcome plain = layerboot(pull);
  EXPECT_EQ(plain.exit_code, 0) << plain.err;
  EXPECT_EQ(plain.err.find('\r'), std::string::npos) << plain.err;
  EXPECT_NE(plain.err.find("pulling " + name("large", proxy.port()) + ": "), std::string::npos) << plain.err;
  EXPECT_NE(plain.err.find(" of 3.0 MiB, "), std::string::npos) << plain.err;
  EXPECT_NE(plain.err.find("/s"), std::string::npos) << plain.err;
  EXPECT_NE(plain.err.find(" s left"), std::string::npos) << plain.err;

  fs::remove_all(dir_ / "data");
  std::string command;
  for (const std::string& word : layerboot_words(pull)) command += word + " ";
  const Outcome terminal = run_program({"script", "-qec", command, "/dev/null"}, dir_ / "cache");
  EXPECT_EQ(terminal.exit_code, 0) << terminal.out;
  EXPECT_NE(terminal.out.find("\r\033[Kpulling "), std::string::npos) << terminal.out;
  EXPECT_NE(terminal.out.find(" of 3.0 MiB, "), std::string::npos) << terminal.out;
  EXPECT_NE(terminal.out.find(" s left"), std::string::npos) << terminal.out;
}

TEST_F(PullTest, CredentialsAreFoundWhereSkopeoKeepsThem) {
  fs::create_directories(dir_ / "closed");
  const PrivateRegistry closed(dir_ / "closed", kHtpasswd);
  ASSERT_TRUE(closed.works()) << closed.why_not();
  const std::string image = name("one", closed.port());
  const std::string auth_file = "REGISTRY_AUTH_FILE=" + (dir_ / "auth.json").string();
  const auto with_auth = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {"env", auth_file});
    return run_program(words, dir_ / "cache");
  };
  push("one", "1");
  const Outcome refused = layerboot({"pull", "--tls-verify=false", image});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find(str_cat("log in first: skopeo login localhost:", closed.port())),
            std::string::npos)
      << refused.err;

  const Outcome login = with_auth({"skopeo", "login", "--tls-verify=false", "-u", "tester", "-p", "secret",
                                   str_cat("localhost:", closed.port())});
  ASSERT_EQ(login.exit_code, 0) << login.out << login.err;
  const Outcome copied =
      with_auth({"skopeo", "copy", "--quiet", "--dest-tls-verify=false",
                 str_cat("oci:", (dir_ / "source-one").string(), ":latest"), "docker://" + image});
  ASSERT_EQ(copied.exit_code, 0) << copied.err;
  const Outcome pulled = with_auth(layerboot_words({"pull", "--tls-verify=false", image}));
  EXPECT_EQ(pulled.exit_code, 0) << pulled.err;
  EXPECT_EQ(cat(image, "own").out, "1");
}

}  // namespace
}  // namespace layerboot::test
