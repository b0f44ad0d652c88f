// layerboot pull, images, rmi and gc against a real registry on loopback.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "oci-mount/base/str_cat.h"
#include "oci-mount/base/unique_fd.h"
#include "tests/process/mount_support.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxTries = 100;
constexpr useconds_t kTryInterval = 100'000;

int free_port() {
  const UniqueFd probe(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (::bind(probe.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) return -1;
  ::getsockname(probe.get(), reinterpret_cast<sockaddr*>(&address), &length);
  return ntohs(address.sin_port);
}

bool answers(int port) {
  const UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  return ::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

class PullTest : public testing::Test {
 protected:
  void SetUp() override {
    port_ = free_port();
    write_text(dir_ / "registry.yml",
               str_cat("version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: ",
                       (dir_ / "registry").string(), "\nhttp:\n  addr: 127.0.0.1:", port_, "\n"));
    const std::string config = (dir_ / "registry.yml").string();
    const std::string log = (dir_ / "registry.log").string();
    const char* const argv[] = {"docker-registry", "serve", config.c_str(), nullptr};
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT, 0600);
    ::posix_spawn_file_actions_adddup2(&actions, 1, 2);
    const int failed =
        ::posix_spawnp(&registry_, argv[0], &actions, nullptr, const_cast<char**>(argv), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) {
      registry_ = -1;
      GTEST_SKIP() << "docker-registry is not installed (Debian package docker-registry)";
    }
    for (int i = 0; i < kMaxTries && !answers(port_); ++i) ::usleep(kTryInterval);
    ASSERT_TRUE(answers(port_)) << read_text(log);
    push("one", "1");
  }
  void TearDown() override {
    if (registry_ < 0) return;
    ::kill(registry_, SIGTERM);
    ::waitpid(registry_, nullptr, 0);
  }
  /// An image of a layer that all have, and one of its own.
  void push(const std::string& tag, const std::string& own) {
    ImageBuilder image(dir_ / ("source-" + tag));
    image.add_gzip_layer(TarBuilder().file("shared", sample_bytes(300'000, 1)).finish());
    image.add_gzip_layer(TarBuilder().file("own", own).finish()).write();
    const Outcome pushed =
        run_program({"skopeo", "copy", "--quiet", "--dest-tls-verify=false",
                     "oci:" + image.layout().string() + ":latest", "docker://" + name(tag)},
                    dir_ / "cache");
    ASSERT_EQ(pushed.exit_code, 0) << pushed.err;
  }
  std::string name(const std::string& tag) const { return str_cat("localhost:", port_, "/team/app:", tag); }
  fs::path store() const { return dir_ / "data/layerboot/store"; }
  Outcome layerboot(std::vector<std::string> words) const {
    words.insert(words.begin(), {"env", "XDG_DATA_HOME=" + (dir_ / "data").string(), LAYERBOOT_LAUNCHER});
    return run_program(words, dir_ / "cache");
  }
  std::size_t blob_count() const {
    std::size_t count = 0;
    for (const auto& blob : fs::directory_iterator(store() / "blobs/sha256"))
      count += blob.is_regular_file() ? 1U : 0U;
    return count;
  }

  fs::path largest_blob() const {
    fs::path largest;
    for (const auto& blob : fs::directory_iterator(store() / "blobs/sha256")) {
      if (largest.empty() || blob.file_size() > fs::file_size(largest)) largest = blob.path();
    }
    return largest;
  }

  TempDir dir_;
  int port_ = -1;
  pid_t registry_ = -1;
};

TEST_F(PullTest, AnImageComesOnceAndGoesWhenNobodyNeedsIt) {
  const Outcome first = layerboot({"pull", "--tls-verify=false", name("one")});
  ASSERT_EQ(first.exit_code, 0) << first.err;
  EXPECT_EQ(first.out, name("one") + "\n");
  EXPECT_EQ(blob_count(), 4U);
  const auto written = fs::last_write_time(largest_blob());

  EXPECT_EQ(layerboot({"pull", "--tls-verify=false", name("one")}).exit_code, 0);
  EXPECT_TRUE(fs::last_write_time(largest_blob()) == written) << "a layer is not fetched twice";
  push("two", "2");
  EXPECT_EQ(layerboot({"pull", "--tls-verify=false", "docker://" + name("two")}).exit_code, 0);
  EXPECT_EQ(blob_count(), 7U) << "the shared layer is there";

  const auto images = nlohmann::json::parse(layerboot({"images", "--json"}).out, nullptr, false);
  ASSERT_EQ(images.size(), 2U);
  EXPECT_EQ(images[0]["name"], name("one"));
  EXPECT_EQ(images[0]["layers"], 2U);
  EXPECT_NE(layerboot({"images"}).out.find(name("two")), std::string::npos);

  const Outcome ls = run_program({"env", "XDG_DATA_HOME=" + (dir_ / "data").string(), LAYERBOOT_OCI_MOUNT,
                                  "cat", "-q", name("two"), "own"},
                                 dir_ / "cache");
  EXPECT_EQ(ls.out, "2") << ls.err;

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
  EXPECT_EQ(gc.out.substr(0, 30), "removed 3 blobs and 1 indexes,") << gc.out << gc.err;
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

}  // namespace
}  // namespace layerboot::test
