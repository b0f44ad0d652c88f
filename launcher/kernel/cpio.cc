#include "launcher/kernel/cpio.h"

#include <sys/stat.h>

#include <array>
#include <cstdio>
#include <utility>

namespace layerboot::launcher {

namespace {

constexpr std::size_t kMaxPathBytes = 4095;  // the kernel skips an entry with a longer name

void pad_to_four(std::string& archive) { archive.resize((archive.size() + 3) / 4 * 4, '\0'); }

void put_entry(std::string& archive, std::uint32_t inode, unsigned mode, std::string_view path,
               std::string_view content) {
  const std::array<std::uint32_t, 13> fields = {
      inode,
      mode,
      0,  // uid
      0,  // gid
      S_ISDIR(mode) ? 2U : 1U,
      0,  // mtime
      static_cast<std::uint32_t>(content.size()),
      0,
      0,
      0,
      0,  // major and minor of the file's device, and of a device node
      static_cast<std::uint32_t>(path.size() + 1),
      0,  // checksum, not used by this variant
  };
  archive += "070701";
  for (const std::uint32_t field : fields) {
    char digits[9];
    std::snprintf(digits, sizeof(digits), "%08X", field);
    archive.append(digits, 8);
  }
  archive += path;
  archive += '\0';
  pad_to_four(archive);
  archive += content;
  pad_to_four(archive);
}

}  // namespace

Result<void> CpioWriter::add(std::string_view path, unsigned mode, std::string_view content) {
  if (path.empty() || path.front() == '/' || path.size() > kMaxPathBytes)
    return fail(EINVAL, "cpio entry '", path, "'");
  if (archive_.size() + path.size() + content.size() > kMaxArchiveBytes) {
    return fail(EFBIG, "initrd of more than ", kMaxArchiveBytes, " bytes");
  }
  put_entry(archive_, next_inode_++, mode, path, content);
  return {};
}

Result<void> CpioWriter::add_directory(std::string_view path, unsigned permissions) {
  return add(path, S_IFDIR | permissions, {});
}

Result<void> CpioWriter::add_file(std::string_view path, std::string_view content, unsigned permissions) {
  return add(path, S_IFREG | permissions, content);
}

std::string CpioWriter::finish() {
  put_entry(archive_, 0, 0, "TRAILER!!!", {});
  next_inode_ = 1;
  return std::exchange(archive_, {});
}

}  // namespace layerboot::launcher
