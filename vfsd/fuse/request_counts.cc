#include "vfsd/fuse/request_counts.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "oci-mount/base/result.h"
#include "vfsd/fuse/wire.h"

namespace layerboot::vfsd::fuse {

namespace {

struct Name {
  std::uint32_t opcode;
  const char* name;
};

constexpr Name kNames[] = {
    {FUSE_LOOKUP, "LOOKUP"},
    {FUSE_FORGET, "FORGET"},
    {FUSE_GETATTR, "GETATTR"},
    {FUSE_SETATTR, "SETATTR"},
    {FUSE_READLINK, "READLINK"},
    {FUSE_SYMLINK, "SYMLINK"},
    {FUSE_MKNOD, "MKNOD"},
    {FUSE_MKDIR, "MKDIR"},
    {FUSE_UNLINK, "UNLINK"},
    {FUSE_RMDIR, "RMDIR"},
    {FUSE_RENAME, "RENAME"},
    {FUSE_LINK, "LINK"},
    {FUSE_OPEN, "OPEN"},
    {FUSE_READ, "READ"},
    {FUSE_WRITE, "WRITE"},
    {FUSE_STATFS, "STATFS"},
    {FUSE_RELEASE, "RELEASE"},
    {FUSE_FSYNC, "FSYNC"},
    {FUSE_SETXATTR, "SETXATTR"},
    {FUSE_GETXATTR, "GETXATTR"},
    {FUSE_LISTXATTR, "LISTXATTR"},
    {FUSE_REMOVEXATTR, "REMOVEXATTR"},
    {FUSE_FLUSH, "FLUSH"},
    {FUSE_INIT, "INIT"},
    {FUSE_OPENDIR, "OPENDIR"},
    {FUSE_READDIR, "READDIR"},
    {FUSE_RELEASEDIR, "RELEASEDIR"},
    {FUSE_FSYNCDIR, "FSYNCDIR"},
    {FUSE_GETLK, "GETLK"},
    {FUSE_SETLK, "SETLK"},
    {FUSE_SETLKW, "SETLKW"},
    {FUSE_ACCESS, "ACCESS"},
    {FUSE_CREATE, "CREATE"},
    {FUSE_INTERRUPT, "INTERRUPT"},
    {FUSE_BMAP, "BMAP"},
    {FUSE_DESTROY, "DESTROY"},
    {FUSE_IOCTL, "IOCTL"},
    {FUSE_POLL, "POLL"},
    {FUSE_BATCH_FORGET, "BATCH_FORGET"},
    {FUSE_FALLOCATE, "FALLOCATE"},
    {FUSE_READDIRPLUS, "READDIRPLUS"},
    {FUSE_RENAME2, "RENAME2"},
    {FUSE_LSEEK, "LSEEK"},
    {FUSE_COPY_FILE_RANGE, "COPY_FILE_RANGE"},
    {FUSE_SETUPMAPPING, "SETUPMAPPING"},
    {FUSE_REMOVEMAPPING, "REMOVEMAPPING"},
    {FUSE_SYNCFS, "SYNCFS"},
    {FUSE_TMPFILE, "TMPFILE"},
    {kOpStatx, "STATX"},
    {kOpCopyFileRange64, "COPY_FILE_RANGE_64"},
};

}  // namespace

std::string opcode_name(std::uint32_t opcode) {
  const auto* const found = std::ranges::find(kNames, opcode, &Name::opcode);
  return found != std::end(kNames) ? found->name : str_cat("opcode ", opcode);
}

void RequestCounts::add_all(const RequestCounts& other) {
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    counts_[i].store(
        counts_[i].load(std::memory_order_relaxed) + other.counts_[i].load(std::memory_order_relaxed),
        std::memory_order_relaxed);
  }
}

std::uint64_t RequestCounts::total() const {
  std::uint64_t sum = 0;
  for (const auto& count : counts_) sum += count.load(std::memory_order_relaxed);
  return sum;
}

std::string RequestCounts::describe() const {
  std::vector<std::pair<std::uint64_t, std::uint32_t>> seen;
  for (std::uint32_t opcode = 0; opcode <= kOther; ++opcode) {
    if (const auto count = of(opcode); count != 0) seen.emplace_back(count, opcode);
  }
  std::ranges::sort(seen, [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  std::string text;
  for (const auto& [count, opcode] : seen) {
    const std::string name = opcode == kOther ? "other" : opcode_name(opcode);
    text += str_cat(text.empty() ? "" : ", ", name, " ", count);
  }
  return text;
}

}  // namespace layerboot::vfsd::fuse
