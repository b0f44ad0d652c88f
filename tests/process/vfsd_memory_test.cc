// The one number for vfsd's memory: whatever a guest or an image does, the daemon stays within it, and serves
// on.
#include <fcntl.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <iostream>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/str_cat.h"
#include "tests/process/control_client.h"
#include "tests/process/giant_blocks.h"
#include "tests/process/vfsd_sandbox_fixture.h"

namespace layerboot::test {
namespace {

constexpr std::uint64_t kMiB = 1U << 20;
/// Pages of files, which the host may have back: the program, its libraries, the index.
constexpr std::uint64_t kFilesBytes = 24 * kMiB;

/// From the environment, for a long run by hand.
unsigned long wanted(const char* variable, unsigned long else_this) {
  const char* const text = std::getenv(variable);
  return text != nullptr ? std::strtoul(text, nullptr, 10) : else_this;
}

class VfsdMemoryTest : public SandboxedVfsd {
 protected:
  void start_limited(const std::string& limit, std::vector<std::string> more = {}) {
    more.insert(more.end(), {"--memory-limit", limit, "--control-socket", control()});
    if (::geteuid() == 0) more.insert(more.end(), {"--inodes", "4000000"});
    start_writable(std::move(more), "64G");
  }
  /// With an image of that layer, and more memory than it takes.
  void boot_over(const std::string& layer) {
    ImageBuilder image(dir_ / "image");
    image.add_gzip_layer(layer);
    image.write();
    start_limited("256M");
    boot();
  }
  std::filesystem::path control() const { return dir_ / "control"; }
  /// A line of /proc/PID/status, in bytes.
  std::uint64_t status(const std::string& key) const {
    std::ifstream file(proc("status"));
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with(key + ":"))
        return std::strtoull(line.c_str() + key.size() + 1, nullptr, 10) * 1024;
    }
    return 0;
  }
  /// What it has taken to get here is not what it takes to serve.
  void forget_the_peak() const { std::ofstream(proc("clear_refs")) << "5"; }
  nlohmann::json memory() const {
    return ControlClient(control()).ask({{"command", "stats"}}).value("memory", nlohmann::json());
  }
  void expect_within(std::uint64_t limit_bytes) const {
    std::cout << "peak " << status("VmHWM") / kMiB << " MiB; by its own account " << memory() << "\n";
    EXPECT_LE(status("VmHWM"), limit_bytes + kFilesBytes);
    EXPECT_LE(memory().at("peak_bytes"), limit_bytes + kMiB);
    EXPECT_EQ(memory().at("limit_bytes"), limit_bytes);
  }
  void expect_serving() { EXPECT_TRUE(client_->getattr(1)) << "the daemon lives"; }
  /// Not on the high-priority queue, whose replies are gathered for a while.
  void forget(std::uint64_t node) { ASSERT_TRUE(client_->forget(node, 1)); }
};

TEST_F(VfsdMemoryTest, SpansOfAHostileLayerTakeTurns) {
  constexpr unsigned kSpans = 24;
  ImageBuilder image(dir_ / "image");
  image.add_layer(giant_block_layer(kSpans));
  image.write();
  start_limited("160M", {"--request-queues", "1"});
  forget_the_peak();
  boot({.queue_size = 256});
  const auto big = client_->lookup(1, "big");
  ASSERT_TRUE(big);
  ASSERT_EQ(big->attr.size, std::uint64_t{kSpans} * kGiantSpanBytes);
  auto& queue = guest_->queue(1);
  std::vector<std::pair<std::vector<std::byte>, FakeQueue::Request>> reads;
  for (unsigned span = 0; span < kSpans; ++span) {
    fuse_read_in in{};
    in.offset = std::uint64_t{span} * kGiantSpanBytes;
    in.size = 4096;
    auto request = client_->encode(FUSE_READ, big->nodeid, {object_bytes(in)});
    auto prepared = queue.prepare(request, in.size + sizeof(fuse_out_header));
    ASSERT_TRUE(prepared) << prepared.error().describe();
    queue.offer(prepared->head);
    reads.emplace_back(std::move(request), std::move(*prepared));
  }
  queue.kick();
  for (unsigned span = 0; span < kSpans; ++span) {
    const auto reply = queue.wait(reads[span].second);
    ASSERT_TRUE(reply) << reply.error().describe();
    const auto data = FuseClient::judge(reads[span].first, *reply);
    ASSERT_TRUE(data) << span << ": " << data.error().describe();
    EXPECT_EQ(static_cast<char>(data->at(0)), static_cast<char>('A' + span % 26));
  }
  expect_within(160 * kMiB);
  expect_serving();
}

TEST_F(VfsdMemoryTest, TooLittleForTheImageIsRefusedAtTheStart) {
  ImageBuilder image(dir_ / "image");
  image.add_layer(giant_block_layer(1));
  image.write();
  VfsdProcess vfsd({"--socket-path", dir_ / "s", "--image", "oci:" + (dir_ / "image").string(), "--read-only",
                    "--memory-limit", "64M"},
                   dir_ / "cache");
  EXPECT_FALSE(vfsd.ready());
  EXPECT_EQ(vfsd.wait(), 1);
  EXPECT_NE(vfsd.messages().find("is too little: give at least 112M"), std::string::npos) << vfsd.messages();
}

TEST_F(VfsdMemoryTest, SlotsDoNotKeepWhatOneRequestTook) {
  start_limited("256M", {"--request-queues", "1"});
  boot({.queue_size = 1024, .queue_memory_bytes = 320U << 20});
  const auto directory = client_->mkdir(1, "d", 0755);
  ASSERT_TRUE(directory);
  const std::string pad(200, 'n');
  for (int i = 0; i < 3200; ++i)
    ASSERT_TRUE(client_->mknod(directory->nodeid, pad + std::to_string(i), S_IFREG | 0644, 0));
  const auto file = client_->create(1, "f", 0644, O_EXCL);
  ASSERT_TRUE(file);
  ASSERT_TRUE(client_->readdir_page(directory->nodeid, 0, 1U << 20, true));
  const std::uint64_t before = status("RssAnon");  // not the guest's pages
  // Each SYNCFS keeps its slot while a worker is at it, so that the next request gets another one.
  auto& queue = guest_->queue(1);
  std::vector<FakeQueue::Request> all;
  const auto offer = [&](const std::vector<std::byte>& request, std::size_t reply_bytes) {
    auto prepared = queue.prepare(request, reply_bytes);
    ASSERT_TRUE(prepared) << prepared.error().describe();
    queue.offer(prepared->head);
    all.push_back(std::move(*prepared));
  };
  const std::string value(60'000, 'v');
  for (int i = 0; i < 100; ++i) {
    fuse_read_in page{};
    page.size = 1U << 20;
    fuse_setxattr_in xattr{};
    xattr.size = static_cast<std::uint32_t>(value.size());
    offer(client_->encode(FUSE_READDIRPLUS, directory->nodeid, {object_bytes(page)}), page.size + 16U);
    offer(client_->encode(FUSE_SYNCFS, 1, {object_bytes(fuse_syncfs_in{})}), 16);
    offer(client_->encode(FUSE_SETXATTR, file->nodeid,
                          {object_bytes(xattr), with_nul("user.x"), as_bytes(value)}),
          16);
  }
  queue.kick();
  for (const auto& request : all) ASSERT_TRUE(queue.wait(request));
  const std::uint64_t after = status("RssAnon");
  std::cout << "memory of its own before " << before / kMiB << " MiB, after " << after / kMiB << " MiB\n";
  EXPECT_LE(after, before + 16 * kMiB);
  expect_within(256 * kMiB);
  expect_serving();
}

TEST_F(VfsdMemoryTest, AGuestThatHoldsMoreThanThereIsRoomForGetsEnomem) {
  const unsigned long most = wanted("LAYERBOOT_TEST_CREATES", 200'000);
  const std::string limit = most > 200'000 ? "512M" : "128M";
  const std::uint64_t limit_bytes = most > 200'000 ? 512 * kMiB : 128 * kMiB;
  start_limited(limit);
  forget_the_peak();
  boot();
  std::vector<std::uint64_t> held;
  int code = 0;
  for (unsigned long i = 0; i < most && code == 0; ++i) {
    const auto made = client_->create(1, "f" + std::to_string(i), 0644, O_EXCL);
    code = made ? 0 : made.error().code;
    if (made) held.push_back(made->nodeid);
  }
  std::cout << held.size() << " files held\n";
  EXPECT_EQ(code, ENOMEM);
  EXPECT_GT(held.size(), 10'000U);
  expect_within(limit_bytes);
  EXPECT_EQ(client_->mkdir(1, "another", 0755).error().code, ENOMEM);
  EXPECT_TRUE(client_->getattr(held.front())) << "what is held is served";
  EXPECT_TRUE(client_->write(held.back(), 0, "x"));
  EXPECT_TRUE(client_->unlink(1, "f0")) << "so is what makes room";
  for (const std::uint64_t node : held) forget(node);
  EXPECT_TRUE(client_->create(1, "another", 0644, O_EXCL)) << "there is room again";
  EXPECT_TRUE(client_->lookup(1, "f1"));
  expect_serving();
}

TEST_F(VfsdMemoryTest, NamesOfOneFileCountToo) {
  const unsigned long most = wanted("LAYERBOOT_TEST_CREATES", 400'000);
  start_limited("128M");
  forget_the_peak();
  boot();
  const auto directory = client_->mkdir(1, "d", 0755);
  ASSERT_TRUE(directory);
  std::uint64_t file = 0;
  unsigned long names = 0;
  int code = 0;
  constexpr unsigned long kLinksOfAFile = 60'000;  // ext4: 65,000
  for (; names < most && code == 0; ++names) {
    if (names % kLinksOfAFile == 0) {
      const auto made = client_->create(1, "f" + std::to_string(names), 0644, O_EXCL);
      ASSERT_TRUE(made);
      file = made->nodeid;
    }
    const auto linked = client_->link(file, directory->nodeid, std::to_string(names));
    code = linked ? 0 : linked.error().code;
  }
  std::cout << names << " names\n";
  EXPECT_EQ(code, ENOMEM);
  EXPECT_GT(names, 50'000U);
  expect_within(128 * kMiB);
  // Nor is a rename a way past it: but names that are no longer than before, or take another's place, go on.
  const auto rename = [&](const std::string& name, const std::string& new_name, std::uint32_t flags) {
    const auto done = client_->rename(1, name, 1, new_name, flags);
    return done ? 0 : done.error().code;
  };
  EXPECT_EQ(rename("f0", std::string(250, 'n'), 0), ENOMEM);
  EXPECT_EQ(rename("f0", "w", RENAME_WHITEOUT), ENOMEM);
  EXPECT_EQ(rename("f0", "x", 0), 0);
  EXPECT_EQ(rename("x", str_cat("f", kLinksOfAFile), 0), 0);
  // The listing goes when nobody holds the directory any more, and is read again.
  forget(directory->nodeid);
  EXPECT_TRUE(client_->create(1, "another", 0644, O_EXCL));
  expect_serving();
}

TEST_F(VfsdMemoryTest, AChangedFileOfTheImageLeavesMemoryWithItsLastReference) {
  constexpr int kFiles = 5000;
  constexpr std::uint64_t kLittle = 64 * 1024;
  TarBuilder tar;
  for (int i = 0; i < kFiles; ++i) tar.file("f" + std::to_string(i), "image");
  boot_over(tar.finish());
  const auto change = [&](int i, std::uint32_t mode) {
    const auto found = client_->lookup(1, "f" + std::to_string(i));
    ASSERT_TRUE(found);
    fuse_setattr_in in{};
    in.valid = FATTR_MODE;
    in.mode = mode;
    ASSERT_TRUE(client_->setattr(found->nodeid, in));
    forget(found->nodeid);
  };
  change(0, 0600);
  const std::uint64_t used = memory().at("used_bytes");
  for (int i = 0; i < kFiles; ++i) change(i, 0640);
  const std::uint64_t now = memory().at("used_bytes");
  std::cout << (now - used) / kFiles << " bytes for each file that was changed and forgotten\n";
  EXPECT_LE(now, used + kFiles * 256U + kLittle) << "its name alone";
  for (int i = 0; i < kFiles; i += 100) {
    const auto found = client_->lookup(1, "f" + std::to_string(i));
    ASSERT_TRUE(found);
    EXPECT_EQ(found->attr.mode & 07777U, 0640U);
    EXPECT_EQ(found->attr.ino, found->nodeid);
    EXPECT_EQ(client_->read(found->nodeid, 0, 10).value_or(""), "image");
  }
}

/// Linux holds what it unlinks, so that each is an object in memory at first.
TEST_F(VfsdMemoryTest, ARemovedFileOfTheImageLeavesMemoryWithItsLastReference) {
  constexpr int kFiles = 5000;
  constexpr std::uint64_t kLittle = 64 * 1024;
  TarBuilder tar;
  tar.directory("d");
  for (int i = 0; i < kFiles; ++i) tar.file("d/f" + std::to_string(i), "image");
  boot_over(tar.finish());
  const auto directory = client_->lookup(1, "d");
  ASSERT_TRUE(directory);
  const auto remove = [&](int i) {
    const auto found = client_->lookup(directory->nodeid, "f" + std::to_string(i));
    ASSERT_TRUE(found);
    ASSERT_TRUE(client_->unlink(directory->nodeid, "f" + std::to_string(i)));
    forget(found->nodeid);
  };
  const std::uint64_t before = memory().at("used_bytes");
  remove(0);
  const std::uint64_t used = memory().at("used_bytes");
  for (int i = 1; i < kFiles; ++i) remove(i);
  const std::uint64_t now = memory().at("used_bytes");
  std::cout << (now - used) / kFiles << " bytes for each file that was removed and forgotten\n";
  EXPECT_LE(now, used + kFiles * 256U + kLittle) << "the whiteout's name alone";
  ASSERT_TRUE(client_->rmdir(1, "d"));
  forget(directory->nodeid);
  EXPECT_TRUE(client_->getattr(1));
  EXPECT_LE(memory().at("used_bytes"), before + kLittle) << "nothing is left of them";
  const auto gone = client_->lookup(1, "d");
  EXPECT_TRUE(gone && gone->nodeid == 0);
}

}  // namespace
}  // namespace layerboot::test
