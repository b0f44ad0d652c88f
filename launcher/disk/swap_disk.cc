#include "launcher/disk/swap_disk.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <system_error>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/progress.h"

namespace layerboot::launcher {

namespace {

constexpr std::uint64_t kPageBytes = 4096;
constexpr std::string_view kMagic = "SWAPSPACE2";
constexpr std::size_t kVersionOffset = 1024;
constexpr std::size_t kLastPageOffset = 1028;
constexpr std::size_t kLabelOffset = 1052;
constexpr std::string_view kLabel = "layerboot-swap";

std::array<char, kPageBytes> header_of(std::uint64_t pages) {
  std::array<char, kPageBytes> page{};
  // In the guest's byte order, which is ours.
  const std::uint32_t version = 1;
  const auto last_page = static_cast<std::uint32_t>(pages - 1);
  std::memcpy(page.data() + kVersionOffset, &version, sizeof(version));
  std::memcpy(page.data() + kLastPageOffset, &last_page, sizeof(last_page));
  std::memcpy(page.data() + kLabelOffset, kLabel.data(), kLabel.size());
  std::memcpy(page.data() + page.size() - kMagic.size(), kMagic.data(), kMagic.size());
  return page;
}

Result<void> check_room(const std::filesystem::path& directory, std::uint64_t size_bytes) {
  std::error_code error;
  const std::uint64_t free_bytes = std::filesystem::space(directory, error).available;
  if (error) return fail(error.value(), directory.string());
  if (size_bytes <= free_bytes) return {};
  return fail(ENOSPC, "--swap: ", human_size(size_bytes), " are asked for, and the file system of ",
              directory.string(), " has ", human_size(free_bytes), " free");
}

}  // namespace

Result<void> make_swap_disk(const std::filesystem::path& path, std::uint64_t size_bytes) {
  const std::uint64_t pages = size_bytes / kPageBytes;
  LB_TRY(check_room(path.parent_path(), size_bytes));
  // Never the file that another guest has open.
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return errno_error("cannot remove ", path.string());
  LB_ASSIGN(const UniqueFd file, open_path(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
  if (::ftruncate(file.get(), static_cast<off_t>(pages * kPageBytes)) != 0)
    return errno_error("cannot make ", path.string(), " of ", size_bytes, " bytes");
  const auto header = header_of(pages);
  return write_all(file.get(), as_bytes(std::string_view(header.data(), header.size())), 0);
}

}  // namespace layerboot::launcher
