// Every request that there is, about every kind of object, to vfsd in its sandbox: the filter of system calls
// ends the daemon by one that it does not know, so all that serving takes has to be in it, whatever is
// served.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/str_cat.h"
#include "tests/process/vfsd_sandbox_fixture.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

struct Request {
  std::uint32_t opcode = 0;
  std::vector<std::byte> body;
};
using Requests = std::vector<Request>;

template <typename Body, typename Fill>
Body with(Fill fill) {
  Body body{};
  fill(body);
  return body;
}

std::span<const std::byte> bytes_of(const std::vector<std::byte>& text) { return text; }
template <typename T>
std::span<const std::byte> bytes_of(const T& object) {
  return object_bytes(object);
}

template <typename... Parts>
Request request(std::uint32_t opcode, const Parts&... parts) {
  std::vector<std::byte> body;
  for (const std::span<const std::byte> part :
       std::initializer_list<std::span<const std::byte>>{bytes_of(parts)...})
    body.insert(body.end(), part.begin(), part.end());
  return {.opcode = opcode, .body = std::move(body)};
}

std::vector<std::byte> plain(std::string_view text) {
  const auto bytes = as_bytes(text);
  return {bytes.begin(), bytes.end()};
}

// ---- the requests --------------------------------------------------------------------------------------

Request opening(std::uint32_t flags) {
  return request(FUSE_OPEN, with<fuse_open_in>([&](auto& in) { in.flags = flags; }));
}

Request reading(std::uint32_t opcode) {
  return request(opcode, with<fuse_read_in>([](auto& in) { in.size = 4096; }));
}

Request syncing(std::uint32_t opcode, std::uint32_t flags) {
  return request(opcode, with<fuse_fsync_in>([&](auto& in) { in.fsync_flags = flags; }));
}

Request allocating(std::uint32_t mode) {
  return request(FUSE_FALLOCATE, with<fuse_fallocate_in>([&](auto& in) {
                   in.mode = mode;
                   in.length = 8192;
                 }));
}

Request seeking(std::uint32_t whence) {
  return request(FUSE_LSEEK, with<fuse_lseek_in>([&](auto& in) { in.whence = whence; }));
}

Request setting(std::uint32_t valid) {
  return request(FUSE_SETATTR, with<fuse_setattr_in>([&](auto& in) {
                   in.valid = valid;
                   in.mode = 02755;
                   in.uid = 5;
                   in.gid = 6;
                   in.size = 100;
                 }));
}

Requests about_data(std::uint64_t node) {
  const auto writing = with<fuse_write_in>([](auto& in) { in.size = 4; });
  const auto copying = with<fuse_copy_file_range_in>([&](auto& in) {
    in.nodeid_out = node;
    in.off_out = 4096;
    in.len = 100;
  });
  return {opening(O_RDONLY),
          opening(O_RDWR),
          reading(FUSE_READ),
          request(FUSE_WRITE, writing, plain("text")),
          syncing(FUSE_FSYNC, 0),
          syncing(FUSE_FSYNC, FUSE_FSYNC_FDATASYNC),
          allocating(0),
          allocating(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE),
          seeking(SEEK_DATA),
          seeking(SEEK_HOLE),
          request(FUSE_COPY_FILE_RANGE, copying),
          request(FUSE_SYNCFS, fuse_syncfs_in{})};
}

Requests about_attributes() {
  return {request(FUSE_GETATTR, fuse_getattr_in{}),
          setting(FATTR_MODE),
          setting(FATTR_KILL_SUIDGID),
          setting(FATTR_UID | FATTR_GID),
          setting(FATTR_SIZE),
          setting(FATTR_ATIME | FATTR_MTIME),
          request(FUSE_STATFS),
          request(FUSE_READLINK)};
}

Requests about_xattrs() {
  const auto sized = with<fuse_getxattr_in>([](auto& in) { in.size = 4096; });
  const auto value = with<fuse_setxattr_in>([](auto& in) { in.size = 3; });
  Requests all;
  for (const char* name :
       {"user.a", "security.a", "trusted.a", "security.capability", "system.posix_acl_access"}) {
    all.push_back(request(FUSE_GETXATTR, sized, with_nul(name)));
    all.push_back(request(FUSE_SETXATTR, value, with_nul(name), plain("abc")));
    all.push_back(request(FUSE_LISTXATTR, sized));
    all.push_back(request(FUSE_REMOVEXATTR, with_nul(name)));
  }
  return all;
}

/// In the object itself: most are no directory, which has to be found out.
Requests about_names(std::uint64_t node) {
  const auto node_mode = with<fuse_mknod_in>([](auto& in) { in.mode = S_IFREG | 0644; });
  const auto device_mode = with<fuse_mknod_in>([](auto& in) {
    in.mode = S_IFCHR | 0644;
    in.rdev = 0x103;
  });
  const auto directory_mode = with<fuse_mkdir_in>([](auto& in) { in.mode = 0755; });
  const auto file_mode = with<fuse_create_in>([](auto& in) {
    in.mode = 0644;
    in.flags = O_RDWR | O_CREAT;
  });
  const auto linked = with<fuse_link_in>([&](auto& in) { in.oldnodeid = node; });
  const auto here = with<fuse_rename_in>([&](auto& in) { in.newdir = node; });
  const auto exchanged = with<fuse_rename2_in>([&](auto& in) {
    in.newdir = node;
    in.flags = RENAME_EXCHANGE;
  });
  const auto whiteout = with<fuse_rename2_in>([&](auto& in) {
    in.newdir = node;
    in.flags = RENAME_WHITEOUT;
  });
  return {request(FUSE_OPENDIR, fuse_open_in{}),
          request(FUSE_LOOKUP, with_nul("new")),
          request(FUSE_MKNOD, node_mode, with_nul("new")),
          request(FUSE_MKNOD, device_mode, with_nul("device")),
          request(FUSE_MKDIR, directory_mode, with_nul("directory")),
          request(FUSE_SYMLINK, with_nul("link"), with_nul("target")),
          request(FUSE_CREATE, file_mode, with_nul("created")),
          request(FUSE_TMPFILE, file_mode, with_nul("nameless")),
          request(FUSE_LINK, linked, with_nul("linked")),
          reading(FUSE_READDIR),
          reading(FUSE_READDIRPLUS),
          request(FUSE_RENAME2, exchanged, with_nul("new"), with_nul("link")),
          request(FUSE_RENAME2, whiteout, with_nul("link"), with_nul("other")),
          request(FUSE_RENAME, here, with_nul("created"), with_nul("new")),
          request(FUSE_UNLINK, with_nul("new")),
          request(FUSE_RMDIR, with_nul("directory")),
          syncing(FUSE_FSYNCDIR, 0),
          syncing(FUSE_FSYNCDIR, FUSE_FSYNC_FDATASYNC),
          request(FUSE_RELEASEDIR, fuse_release_in{})};
}

/// Those that say INIT and DESTROY end all others, and have their place at the ends.
bool is_an_end(std::uint32_t opcode) { return opcode == FUSE_INIT || opcode == FUSE_DESTROY; }

Requests all_requests(std::uint64_t node) {
  Requests all = about_data(node);
  for (const Requests& more : {about_attributes(), about_xattrs(), about_names(node)})
    all.insert(all.end(), more.begin(), more.end());
  // The rest, and what a later protocol may have.
  constexpr std::uint32_t kBeyond = 64;
  std::set<std::uint32_t> said;
  for (const Request& one : all) said.insert(one.opcode);
  for (std::uint32_t opcode = 0; opcode <= kBeyond; ++opcode) {
    if (!said.contains(opcode) && !is_an_end(opcode)) all.push_back(request(opcode, fuse_setattr_in{}));
  }
  all.push_back(request(FUSE_RELEASE, fuse_release_in{}));
  return all;
}

// ---- what they are sent to -----------------------------------------------------------------------------

/// Each of these, once for the requests in their order and once for the other.
constexpr std::array kKinds{"file", "dir", "link", "fifo", "device"};
constexpr std::array kTurns{"", "-backwards"};

class VfsdCallsTest : public SandboxedVfsd {
 protected:
  void SetUp() override {
    TarBuilder tar;
    for (const std::string turn : kTurns) {
      tar.file("file" + turn, "some text").directory("dir" + turn).file("dir" + turn + "/inner", "x");
      tar.symlink("link" + turn, "file");
      tar.add(with<TarMember>([&](auto& member) {
        member.type = '6';
        member.name = "fifo" + turn;
      }));
      tar.add(with<TarMember>([&](auto& member) {
        member.type = '3';
        member.name = "device" + turn;
        member.device_major = 1;
        member.device_minor = 3;
      }));
    }
    ImageBuilder image(dir_ / "image");
    image.add_gzip_layer(tar.finish());
    image.write();
  }
  /// On the host, anew. An ordinary user makes no device.
  void make_tree(const fs::path& top) {
    fs::remove_all(top);
    fs::create_directory(top);
    for (const std::string turn : kTurns) {
      std::ofstream(top / ("file" + turn)) << "some text";
      fs::create_directory(top / ("dir" + turn));
      std::ofstream(top / ("dir" + turn) / "inner") << "x";
      fs::create_symlink("file", top / ("link" + turn));
      ::mkfifo((top / ("fifo" + turn)).c_str(), 0644);
      ::mknod((top / ("device" + turn)).c_str(), S_IFCHR | 0666, makedev(1, 3));
    }
  }
  [[nodiscard]] std::string image() const { return "oci:" + (dir_ / "image").string(); }
  [[nodiscard]] std::string directory() const { return "dir:" + (dir_ / "tree").string(); }

  /// By both engines, as far as this host has them.
  void expect_to_live(const std::vector<std::string>& words) {
    for (const char* engine : {"auto", "epoll"}) {
      std::string shown = engine;
      for (const std::string& word : words) shown += " " + word;
      SCOPED_TRACE(shown);
      fs::remove_all(dir_ / "upper");
      make_tree(dir_ / "tree");
      std::vector<std::string> all{"--socket-path", dir_ / "s", "--quiet", "--io-engine", engine};
      all.insert(all.end(), words.begin(), words.end());
      vfsd_ = std::make_unique<VfsdProcess>(all, dir_ / "cache");
      ASSERT_TRUE(vfsd_->ready()) << vfsd_->messages();
      boot({.request_queues = 1});
      ASSERT_NO_FATAL_FAILURE(ask_everything());
      vfsd_->signal(SIGTERM);
      EXPECT_EQ(vfsd_->wait(), 0) << vfsd_->messages();
      guest_.reset();
    }
  }
  void ask_everything() {
    for (const std::string turn : kTurns) {
      for (const std::string kind : kKinds) {
        const std::string name = kind + turn;
        const auto entry = client_->lookup(1, name);
        ASSERT_TRUE(entry) << name;
        if (kind == "device" && entry->nodeid == 0) continue;
        ASSERT_NE(entry->nodeid, 0U) << name;
        Requests all = all_requests(entry->nodeid);
        if (!turn.empty()) std::ranges::reverse(all);
        ASSERT_NO_FATAL_FAILURE(ask(all, entry->nodeid, name));
        static_cast<void>(client_->unlink(1, name));  // where it may
        ASSERT_NO_FATAL_FAILURE(ask(all, entry->nodeid, name + ", unlinked"));
      }
    }
    ASSERT_NO_FATAL_FAILURE(ask({request(FUSE_SYNCFS, fuse_syncfs_in{})}, 1, "the top"));
    EXPECT_TRUE(client_->call(FUSE_DESTROY, 0, {}, kReplyBytes));
  }
  /// Whatever it answers: it is there to be asked again.
  void ask(const Requests& requests, std::uint64_t node, const std::string& of) {
    for (const Request& one : requests) {
      static_cast<void>(client_->call(one.opcode, node, {one.body}, kReplyBytes));
      if (client_->getattr(1)) continue;
      vfsd_->signal(SIGTERM);
      FAIL() << "ended with " << vfsd_->wait() << " after opcode " << one.opcode << " of " << of << " "
             << vfsd_->messages();
    }
  }

  static constexpr std::size_t kReplyBytes = 8192;
};

TEST_F(VfsdCallsTest, AnImageThatIsOnlyRead) {
  expect_to_live({"--read-only", "--image", image()});
  expect_to_live({"--read-only", "--image", directory()});
}

TEST_F(VfsdCallsTest, ASharedDirectory) {
  expect_to_live({"--share", dir_ / "tree"});
  expect_to_live({"--share", dir_ / "tree", "--read-only"});
}

TEST_F(VfsdCallsTest, AnUpper) {
  const std::vector<std::string> upper{"--upper", dir_ / "upper", "--quota", "1G"};
  const auto expect_of = [&](const std::string& served, const std::vector<std::string>& more) {
    std::vector<std::string> words{"--image", served};
    words.insert(words.end(), upper.begin(), upper.end());
    words.insert(words.end(), more.begin(), more.end());
    expect_to_live(words);
  };
  expect_of(image(), {});
  expect_of(image(), {"--record-owners"});
  expect_of(image(), {"--writeback", "--send-opens"});
  expect_of(directory(), {});
}

}  // namespace
}  // namespace layerboot::test
