// What a hostile guest or a broken front end tries on a vfsd in its sandbox. The list is in vfsd/DESIGN.md.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <random>
#include <thread>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/str_cat.h"
#include "tests/process/vfsd_sandbox_fixture.h"

namespace layerboot::test {
namespace {

constexpr std::uint64_t kSeed = 20220358;

class ThreatTest : public SandboxedVfsd {};

/// CVE-2020-10717: descriptors that a guest pins.
TEST_F(ThreatTest, ManyFilesFewDescriptors) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit few{256, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  const char* wanted = std::getenv("LAYERBOOT_TEST_CREATES");  // for a long run by hand
  const unsigned long files = wanted != nullptr ? std::strtoul(wanted, nullptr, 10) : 20'000;
  start_writable({"--inodes", str_cat(files + 1000)}, "64G");
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  boot();
  for (unsigned long i = 0; i < files; ++i) {  // created, written, never forgotten
    const auto made = client_->create(1, "f" + std::to_string(i), 0644, O_EXCL);
    ASSERT_TRUE(made) << i << ": " << made.error().describe();
    if (i % 4 == 0) {
      const auto written = client_->write(made->nodeid, 0, "x");
      ASSERT_TRUE(written) << i << ": " << written.error().describe();
    }
  }
  EXPECT_LE(open_descriptors(), 256U);
  std::ifstream status(proc("status"));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) std::cout << files << " files: " << line << "\n";
  }
  EXPECT_EQ(client_->read(client_->lookup(1, "f0")->nodeid, 0, 10).value_or(""), "x");
}

/// CVE-2021-20263: a program that was changed must not keep what it was trusted with.
TEST_F(ThreatTest, CapabilitiesOfAFileGoWhenItIsChanged) {
  start_writable();
  boot();
  const std::string capability("\1\0\0\2\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  const auto has_it = [&](std::uint64_t node) {
    return client_->getxattr(node, "security.capability").has_value();
  };
  const auto made = client_->create(1, "ping", 0755, O_EXCL);
  ASSERT_TRUE(made);
  const auto node = made->nodeid;
  if (!client_->setxattr(node, "security.capability", capability))
    GTEST_SKIP() << "this host keeps no capabilities";
  ASSERT_TRUE(has_it(node));
  ASSERT_TRUE(client_->write(node, 0, "evil"));
  EXPECT_FALSE(has_it(node)) << "after a write";
  ASSERT_TRUE(client_->setxattr(node, "security.capability", capability));
  fuse_setattr_in change{};
  change.valid = FATTR_SIZE;
  ASSERT_TRUE(client_->setattr(node, change));
  EXPECT_FALSE(has_it(node)) << "after a truncate";
  ASSERT_TRUE(client_->setxattr(node, "security.capability", capability));
  change.valid = FATTR_UID;
  change.uid = 1000;
  ASSERT_TRUE(client_->setattr(node, change));
  EXPECT_FALSE(has_it(node)) << "after a change of owner";
  ASSERT_TRUE(client_->setxattr(node, "security.capability", capability));
  ASSERT_TRUE(client_->write(node, 0, "late", FUSE_WRITE_CACHE));
  EXPECT_TRUE(has_it(node)) << "the client's own pages, written before";
}

/// CVE-2022-0358: a set-group-id program for a group that only the daemon is in.
TEST_F(ThreatTest, NoSetGroupIdForAGroupOfTheDaemon) {
  start_writable();
  boot();
  const auto shared = client_->mkdir(1, "shared", 0777);
  ASSERT_TRUE(shared);
  fuse_setattr_in change{};
  change.valid = FATTR_MODE | FATTR_GID;
  change.mode = S_IFDIR | 03777;
  ASSERT_TRUE(client_->setattr(shared->nodeid, change));
  fuse_create_in in{};
  in.flags = O_CREAT | O_EXCL | O_RDWR;
  in.mode = S_IFREG | 02755;
  const auto name = with_nul("program");
  auto request = client_->encode(FUSE_CREATE, shared->nodeid, {object_bytes(in), name});
  fuse_in_header header{};
  std::memcpy(&header, request.data(), sizeof(header));
  header.uid = header.gid = 1000;
  std::memcpy(request.data(), &header, sizeof(header));
  const auto created =
      client_->exchange(request, sizeof(fuse_out_header) + sizeof(fuse_entry_out) + sizeof(fuse_open_out));
  ASSERT_TRUE(created) << created.error().describe();
  const auto made = client_->lookup(shared->nodeid, "program");
  ASSERT_TRUE(made);
  EXPECT_EQ(made->attr.gid, 0U) << "the directory's group";
  EXPECT_EQ(made->attr.mode & S_ISGID, 0U);
}

/// Names that lead out of the directory, and symlinks in place of directories.
TEST_F(ThreatTest, NoNameLeadsOut) {
  start_writable();
  boot();
  for (const auto* name : {"..", ".", "", "../etc", "etc/hostname", "/etc/passwd"}) {
    const auto found = client_->lookup(1, name);
    EXPECT_TRUE(!found || found->nodeid <= 1) << name;
    EXPECT_FALSE(client_->create(1, name, 0644, 0)) << name;
    EXPECT_FALSE(client_->mkdir(1, name, 0755)) << name;
    EXPECT_FALSE(client_->unlink(1, name)) << name;
    EXPECT_FALSE(client_->rename(1, "file", 1, name)) << name;
    EXPECT_FALSE(client_->link(client_->lookup(1, "file")->nodeid, 1, name)) << name;
  }
  const auto out = client_->symlink(1, "out", "/");
  ASSERT_TRUE(out);
  const auto through = client_->lookup(out->nodeid, "etc");
  EXPECT_TRUE(!through || through->nodeid == 0);
  EXPECT_FALSE(client_->create(out->nodeid, "planted", 0644, 0));
  EXPECT_FALSE(client_->read(out->nodeid, 0, 10));
  EXPECT_FALSE(client_->write(out->nodeid, 0, "x"));
  fuse_setattr_in truncate{};
  truncate.valid = FATTR_SIZE;
  EXPECT_FALSE(client_->setattr(out->nodeid, truncate));
}

/// Memory that changes while the daemon reads it: another vCPU writes over the request all the time.
TEST_F(ThreatTest, RequestsThatChangeWhileTheyAreRead) {
  start_writable();
  boot({.request_queues = 2});
  const auto node = client_->create(1, "target", 0644, O_EXCL)->nodeid;
  fuse_write_in in{};
  in.size = 512;
  const std::string data(512, 'd');
  const auto request = client_->encode(FUSE_WRITE, node, {object_bytes(in), as_bytes(data)});
  auto& queue = guest_->queue(1);
  std::mt19937 random(kSeed);
  for (int round = 0; round < 300; ++round) {
    const auto offered = queue.prepare(request, 128);
    ASSERT_TRUE(offered);
    std::byte* const there = offered->reply - (request.size() + 63) / 64 * 64;
    std::atomic<bool> stop = false;
    const auto seed = random();
    std::thread other([&, seed] {
      std::mt19937 noise(seed);
      while (!stop) {  // the header and the body, never the data
        const auto at = noise() % (sizeof(fuse_in_header) + sizeof(fuse_write_in));
        std::atomic_ref(there[at]).store(std::byte(noise() & 3U), std::memory_order_relaxed);
      }
    });
    queue.offer(offered->head);
    queue.kick();
    const auto reply = queue.wait(*offered);  // any answer will do, if only there is one
    stop = true;
    other.join();
    ASSERT_TRUE(reply) << "seed " << kSeed << ", round " << round << ": " << reply.error().describe();
  }
  FuseClient second(*guest_, 2);
  EXPECT_TRUE(second.getattr(1)) << vfsd_->messages();
}

/// A front end that sends garbage loses its connection, and the daemon goes on.
TEST_F(ThreatTest, AFrontEndThatSendsGarbage) {
  start_writable();
  std::mt19937 random(kSeed);
  for (int round = 0; round < 200; ++round) {
    const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = dir_ / "s";
    std::memcpy(address.sun_path, path.data(), path.size());
    ASSERT_EQ(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0)
        << round;
    std::vector<std::uint32_t> words(3 + random() % 64);
    for (auto& word : words) word = static_cast<std::uint32_t>(random());
    if (round % 2 == 0) {  // well framed, then
      words[0] %= 45;
      words[1] = 1 | (words[1] & 8U);
      words[2] %= 256;
    }
    static_cast<void>(::send(socket.get(), words.data(), words.size() * 4, MSG_NOSIGNAL));
  }
  boot();
  EXPECT_TRUE(client_->lookup(1, "file")) << "seed " << kSeed << ": " << vfsd_->messages();
}

/// Reboots do not pile up: descriptors, and what the guest before knew.
TEST_F(ThreatTest, AHundredReboots) {
  start_writable();
  boot();
  std::size_t after_first = 0;
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(client_->write(client_->lookup(1, "file")->nodeid, 0, "x")) << i;
    ASSERT_TRUE(guest_->stop()) << i;
    ASSERT_TRUE(guest_->start()) << i;
    ASSERT_TRUE(client_->init()) << i;
    ASSERT_TRUE(client_->init()) << "twice";
    if (i == 0) after_first = open_descriptors();
  }
  EXPECT_LE(open_descriptors(), after_first);
}

/// CVE-2020-35517, one floor lower: should a device node be opened by mistake, the mount refuses.
TEST_F(ThreatTest, TheUppersMountOpensNoDevice) {
  if (::geteuid() != 0) GTEST_SKIP() << "an ordinary user's upper holds no devices";
  start_writable({"--sandbox", "namespace"});
  boot();
  const auto node = client_->mknod(1, "null", S_IFCHR | 0666, 0x103);
  if (!node) GTEST_SKIP() << "no right to make devices on this host";
  // Its descriptors lead to the same mount as vfsd's own calls do.
  bool looked = false;
  for (const auto& entry : std::filesystem::directory_iterator(proc("fd"))) {
    std::error_code error;
    if (!std::filesystem::is_directory(entry.path(), error)) continue;
    const UniqueFd file(::open((entry.path() / "null").c_str(), O_RDWR | O_CLOEXEC));
    EXPECT_FALSE(file) << entry.path();
    looked = looked || errno == EACCES;
  }
  EXPECT_TRUE(looked);
}

}  // namespace
}  // namespace layerboot::test
