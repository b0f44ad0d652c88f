#include "launcher/vm/tar_writer.h"

#include <sys/stat.h>

#include <utility>

#include "oci-mount/store/pax_header.h"
#include "oci-mount/store/tar_header.h"

namespace layerboot::launcher {

namespace {

constexpr std::size_t kMaxNameBytes = 100;  // what ustar has for it
constexpr std::size_t kMaxContentBytes = std::size_t{64} << 20;

}  // namespace

Result<void> TarWriter::add_file(std::string_view path, std::string_view content, unsigned mode) {
  if (path.size() > kMaxNameBytes) return fail(ENAMETOOLONG, "tar entry ", path);
  if (content.size() > kMaxContentBytes) return fail(EFBIG, "tar entry ", path);
  store::PaxMember member;
  member.name = path;
  member.mode = S_IFREG | mode;
  member.size_bytes = content.size();
  archive_ += store::pax_header(member);
  archive_ += content;
  archive_.append(store::tar_padding(content.size()), '\0');
  return {};
}

std::string TarWriter::finish() {
  archive_.append(store::kTarEndBytes, '\0');
  return std::exchange(archive_, {});
}

}  // namespace layerboot::launcher
