// FuseClient: FUSE requests of the fake guest, typed, as the guest's kernel would make them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/fake_guest.h"
#include "vfsd/fuse/wire.h"

namespace layerboot::test {

/// On one queue of a guest. An error of the server arrives as Error{its errno}; one of the protocol (out.len
/// is not what the queue says was written, a foreign unique) as EBADMSG with a text.
class FuseClient {
 public:
  FuseClient(FakeGuest& guest, unsigned queue) : guest_(guest), queue_(queue) {}

  /// As a Linux 6.1 or 6.12 guest offers everything.
  static constexpr std::uint32_t kEveryFlag = 0x7bfffffb;
  Result<fuse_init_out> init(std::uint32_t minor = 38, std::uint32_t flags = kEveryFlag,
                             std::uint32_t flags2 = 0xb);

  Result<fuse_entry_out> lookup(std::uint64_t parent, std::string_view name);
  Result<fuse_attr> getattr(std::uint64_t node);
  Result<fuse_attr> setattr(std::uint64_t node, const fuse_setattr_in& in);
  Result<std::string> readlink(std::uint64_t node);
  Result<fuse_entry_out> mkdir(std::uint64_t parent, std::string_view name, std::uint32_t mode);
  Result<fuse_entry_out> mknod(std::uint64_t parent, std::string_view name, std::uint32_t mode,
                               std::uint32_t rdev);
  Result<fuse_entry_out> symlink(std::uint64_t parent, std::string_view name, std::string_view target);
  Result<fuse_entry_out> link(std::uint64_t node, std::uint64_t new_parent, std::string_view new_name);
  Result<fuse_entry_out> create(std::uint64_t parent, std::string_view name, std::uint32_t mode,
                                std::uint32_t flags);
  Result<void> unlink(std::uint64_t parent, std::string_view name);
  Result<void> rmdir(std::uint64_t parent, std::string_view name);
  Result<void> rename(std::uint64_t parent, std::string_view name, std::uint64_t new_parent,
                      std::string_view new_name, std::uint32_t flags = 0);
  /// The handle. release() gives it back.
  Result<std::uint64_t> open(std::uint64_t node, std::uint32_t flags);
  Result<void> release(std::uint64_t node, std::uint64_t handle);
  Result<std::string> read(std::uint64_t node, std::uint64_t offset, std::uint32_t size);
  Result<std::uint32_t> write(std::uint64_t node, std::uint64_t offset, std::string_view data,
                              std::uint32_t write_flags = 0);
  Result<void> fallocate(std::uint64_t node, std::uint32_t mode, std::uint64_t offset, std::uint64_t length);
  Result<std::uint64_t> lseek(std::uint64_t node, std::uint64_t offset, std::uint32_t whence);
  Result<void> fsync(std::uint64_t node);
  Result<void> setxattr(std::uint64_t node, std::string_view name, std::string_view value,
                        std::uint32_t flags = 0);
  Result<std::string> getxattr(std::uint64_t node, std::string_view name, std::uint32_t size = 65536);
  Result<std::string> listxattr(std::uint64_t node, std::uint32_t size = 65536);
  Result<void> removexattr(std::uint64_t node, std::string_view name);
  Result<fuse_kstatfs> statfs();
  /// FORGET, on whatever queue this is; returns when the buffer has come back.
  Result<void> forget(std::uint64_t node, std::uint64_t count);

  struct Listed {
    std::string name;
    std::uint64_t next_cookie = 0;
    std::uint32_t type = 0;
    fuse_entry_out entry{};  // with READDIRPLUS
  };
  /// One page of a listing.
  Result<std::vector<Listed>> readdir_page(std::uint64_t node, std::uint64_t cookie, std::uint32_t size,
                                           bool plus);
  /// All of it, "." and ".." too, page by page as a guest does.
  Result<std::vector<Listed>> readdirplus(std::uint64_t node);

  // ---- any request ------------------------------------------------------------------------------
  [[nodiscard]] std::vector<std::byte> encode(std::uint32_t opcode, std::uint64_t node,
                                              std::initializer_list<std::span<const std::byte>> parts);
  /// The payload of a good reply, checked as Linux checks it.
  Result<std::vector<std::byte>> call(std::uint32_t opcode, std::uint64_t node,
                                      std::initializer_list<std::span<const std::byte>> parts,
                                      std::size_t reply_bytes);
  /// The same for a request that is laid out already.
  Result<std::vector<std::byte>> exchange(std::span<const std::byte> request, std::size_t reply_bytes);
  /// Judges a raw reply to `request`.
  static Result<std::vector<std::byte>> judge(std::span<const std::byte> request,
                                              std::span<const std::byte> reply);

 private:
  template <typename T>
  Result<T> call_for(std::uint32_t opcode, std::uint64_t node,
                     std::initializer_list<std::span<const std::byte>> parts);
  Result<void> call_for_nothing(std::uint32_t opcode, std::uint64_t node,
                                std::initializer_list<std::span<const std::byte>> parts);

  FakeGuest& guest_;
  unsigned queue_;
  std::uint64_t unique_ = 2;
  bool opens_files_ = false;  // with messages
};

/// `text` and its NUL, as FUSE carries names.
[[nodiscard]] std::vector<std::byte> with_nul(std::string_view text);

}  // namespace layerboot::test
