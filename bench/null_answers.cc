#include "bench/null_answers.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/io_slices.h"
#include "vfsd/fuse/wire.h"

namespace layerboot::bench {

namespace {

constexpr std::size_t kListedPageBytes = 4096;
constexpr std::size_t kListedPages = 4;  // 100 entries, as in the sample tree
constexpr std::string_view kListedName = "file-00";

template <typename T>
void append(std::vector<std::byte>& bytes, const T& value) {
  bytes.resize(bytes.size() + sizeof(T));
  std::memcpy(bytes.data() + bytes.size() - sizeof(T), &value, sizeof(T));
}

fuse_entry_out entry() {
  fuse_entry_out out{};
  out.nodeid = FUSE_ROOT_ID + 1;
  out.entry_valid = out.attr_valid = vfsd::fuse::kForeverSeconds;
  out.attr.mode = S_IFREG | 0644;
  out.attr.nlink = 1;
  return out;
}

/// A page full of entries, behind each of which the page of cookie `next` goes on.
std::vector<std::byte> listed_page(std::uint64_t next) {
  fuse_direntplus listed{};
  listed.entry_out = entry();
  listed.dirent.ino = listed.entry_out.nodeid;
  listed.dirent.off = next;
  listed.dirent.namelen = static_cast<std::uint32_t>(kListedName.size());
  std::vector<std::byte> one;
  append(one, listed);
  const auto name = as_bytes(kListedName);
  one.insert(one.end(), name.begin(), name.end());
  one.resize(FUSE_DIRENT_ALIGN(one.size()));
  std::vector<std::byte> page;
  while (page.size() + one.size() <= kListedPageBytes) page.insert(page.end(), one.begin(), one.end());
  return page;
}

template <typename T>
T body_of(std::span<const iovec> readable) {
  std::array<std::byte, sizeof(T)> bytes{};
  copy_from_slices(readable, sizeof(fuse_in_header), bytes);
  return std::bit_cast<T>(bytes);
}

}  // namespace

NullAnswers::NullAnswers() : zeros_(vfsd::fuse::kMaxWriteBytes) {
  fuse_init_out init{};
  init.major = vfsd::fuse::kMajor;
  init.minor = vfsd::fuse::kMinor;
  init.flags =
      FUSE_BIG_WRITES | FUSE_DO_READDIRPLUS | FUSE_MAX_PAGES | FUSE_NO_OPEN_SUPPORT | FUSE_NO_OPENDIR_SUPPORT;
  init.max_write = vfsd::fuse::kMaxWriteBytes;
  init.max_pages = vfsd::fuse::kMaxPages;
  append(init_, init);
  append(created_, entry());
  append(created_, fuse_open_out{});
  for (std::uint64_t page = 0; page < kListedPages; ++page) listed_pages_.push_back(listed_page(page + 1));
}

std::span<const std::byte> NullAnswers::zeros(std::size_t size_bytes) const {
  return std::span(zeros_).first(std::min(size_bytes, zeros_.size()));
}

NullAnswers::Answer NullAnswers::find(const fuse_in_header& header, std::span<const iovec> readable) const {
  switch (header.opcode) {
    case FUSE_INIT:
      return {.payload = init_};
    case FUSE_LOOKUP:
    case FUSE_MKDIR:
      return {.payload = std::span(created_).first(sizeof(fuse_entry_out))};
    case FUSE_CREATE:
      return {.payload = created_};
    case FUSE_GETATTR:
      return {.payload = zeros(sizeof(fuse_attr_out))};
    case FUSE_READ:
      return {.payload = zeros(body_of<fuse_read_in>(readable).size)};
    case FUSE_READDIRPLUS: {
      const auto cookie = body_of<fuse_read_in>(readable).offset;
      if (cookie >= listed_pages_.size()) return {};
      return {.payload = listed_pages_[cookie]};
    }
    case FUSE_UNLINK:
    case FUSE_FSYNC:
    case FUSE_DESTROY:
      return {};
    default:  // OPEN and OPENDIR among them, which are waived by it
      return {.error = ENOSYS, .payload = {}};
  }
}

std::size_t NullAnswers::answer(std::span<const iovec> readable, std::span<const iovec> writable) const {
  std::array<std::byte, sizeof(fuse_in_header)> bytes{};
  copy_from_slices(readable, 0, bytes);
  const auto header = std::bit_cast<fuse_in_header>(bytes);
  if (header.opcode == FUSE_FORGET || header.opcode == FUSE_BATCH_FORGET) return 0;
  fuse_out_header out{};
  out.unique = header.unique;
  Answer found;
  fuse_write_out written{};
  if (header.opcode == FUSE_WRITE) {
    written.size = body_of<fuse_write_in>(readable).size;
    found.payload = object_bytes(written);
  } else {
    found = find(header, readable);
  }
  out.error = -found.error;
  out.len = static_cast<std::uint32_t>(sizeof(out) + found.payload.size());
  copy_into_slices(writable, 0, object_bytes(out));
  return sizeof(out) + copy_into_slices(writable, sizeof(out), found.payload);
}

}  // namespace layerboot::bench
