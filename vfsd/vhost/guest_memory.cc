#include "vfsd/vhost/guest_memory.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

namespace layerboot::vfsd::vhost {

namespace {

bool wraps(std::uint64_t start, std::uint64_t length) {
  return length > std::numeric_limits<std::uint64_t>::max() - start;
}

bool overlap(std::uint64_t a, std::uint64_t a_size, std::uint64_t b, std::uint64_t b_size) {
  return a < b + b_size && b < a + a_size;
}

/// A region beyond the end of its file would be a SIGBUS at the first touch.
Result<void> check_file(int fd, const MemoryRegion& region) {
  struct stat status{};
  if (::fstat(fd, &status) < 0) return errno_error("guest memory descriptor");
  const auto file_bytes = static_cast<std::uint64_t>(status.st_size);
  if (region.fd_offset > file_bytes || region.size_bytes > file_bytes - region.fd_offset) {
    return fail(EINVAL, "guest memory region of ", region.size_bytes, " bytes at offset ", region.fd_offset,
                " lies beyond the end of its file of ", file_bytes,
                " bytes (it must be a memfd or a file, with share=on)");
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<const GuestMemory>> GuestMemory::with(const MemoryRegion& region, UniqueFd fd) const {
  if (regions_.size() >= kMaxRegions) return fail(ENOSPC, "more than ", kMaxRegions, " guest memory regions");
  if (region.size_bytes == 0 || wraps(region.guest_address, region.size_bytes) ||
      wraps(region.user_address, region.size_bytes) || wraps(region.fd_offset, region.size_bytes)) {
    return fail(EINVAL, "guest memory region at ", region.guest_address, " is empty or wraps around");
  }
  for (const auto& other : regions_) {
    if (overlap(region.guest_address, region.size_bytes, other.guest_address, other.size_bytes)) {
      return fail(EEXIST, "guest memory region at ", region.guest_address, " overlaps another");
    }
  }
  LB_TRY(check_file(fd.get(), region));
  const auto page_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t slack = region.fd_offset % page_bytes;
  LB_ASSIGN(auto mapping, Mapping::shared(fd.get(), region.fd_offset - slack, region.size_bytes + slack));

  auto table = std::make_shared<GuestMemory>(*this);
  Region added{region.guest_address, region.user_address, region.size_bytes, mapping.data() + slack, nullptr};
  added.mapping = std::make_shared<Mapping>(std::move(mapping));
  const auto place =
      std::ranges::upper_bound(table->regions_, added.guest_address, {}, &Region::guest_address);
  table->regions_.insert(place, std::move(added));
  return table;
}

Result<std::shared_ptr<const GuestMemory>> GuestMemory::without(const MemoryRegion& region) const {
  auto table = std::make_shared<GuestMemory>(*this);
  const auto removed = std::erase_if(table->regions_, [&](const Region& r) {
    return r.guest_address == region.guest_address && r.size_bytes == region.size_bytes &&
           r.user_address == region.user_address;
  });
  if (removed == 0) return fail(ENOENT, "no guest memory region at ", region.guest_address);
  return table;
}

const GuestMemory::Region* GuestMemory::find(std::uint64_t address) const {
  const auto after = std::ranges::upper_bound(regions_, address, {}, &Region::guest_address);
  if (after == regions_.begin()) return nullptr;
  const Region& region = *std::prev(after);
  return address - region.guest_address < region.size_bytes ? &region : nullptr;
}

bool GuestMemory::translate(std::uint64_t address, std::uint64_t length, std::vector<iovec>& out) const {
  if (wraps(address, length)) return false;
  while (length > 0) {
    const Region* region = find(address);
    if (region == nullptr) return false;
    const std::uint64_t offset = address - region->guest_address;
    const std::uint64_t size = std::min(length, region->size_bytes - offset);
    std::byte* piece = region->host + offset;
    if (!out.empty() && static_cast<std::byte*>(out.back().iov_base) + out.back().iov_len == piece) {
      out.back().iov_len += size;
    } else {
      out.push_back(iovec{piece, size});
    }
    address += size;
    length -= size;
  }
  return true;
}

std::byte* GuestMemory::contiguous(std::uint64_t address, std::uint64_t length) const {
  const Region* region = find(address);
  if (region == nullptr) return nullptr;
  const std::uint64_t offset = address - region->guest_address;
  return length <= region->size_bytes - offset ? region->host + offset : nullptr;
}

std::byte* GuestMemory::from_user(std::uint64_t user_address, std::uint64_t length) const {
  for (const auto& region : regions_) {
    if (user_address < region.user_address) continue;
    const std::uint64_t offset = user_address - region.user_address;
    if (offset < region.size_bytes && length <= region.size_bytes - offset) return region.host + offset;
  }
  return nullptr;
}

}  // namespace layerboot::vfsd::vhost
