#include "oci-mount/store/tar_archive.h"

#include <array>
#include <utility>
#include <vector>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/store/tar_header.h"

namespace layerboot::store {

namespace {

constexpr std::size_t kMaxExtensionBytes = 1U << 20U;  // a PAX header or GNU long name

/// Relative to the archive's root, which ".." does not leave.
std::string clean_name(std::string_view directory, std::string_view name) {
  std::vector<std::string_view> parts;
  const auto add = [&parts](std::string_view rest) {
    while (!rest.empty()) {
      const auto slash = rest.find('/');
      const auto part = rest.substr(0, slash);
      rest.remove_prefix(slash == std::string_view::npos ? rest.size() : slash + 1);
      if (part.empty() || part == ".") continue;
      if (part != "..") {
        parts.push_back(part);
      } else if (!parts.empty()) {
        parts.pop_back();
      }
    }
  };
  if (!name.starts_with('/')) add(directory);
  add(name);
  std::string clean;
  for (const auto part : parts) clean += str_cat(clean.empty() ? "" : "/", part);
  return clean;
}

std::string_view directory_of(std::string_view name) {
  const auto slash = name.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : name.substr(0, slash);
}

/// Reads all of `into`; EBADMSG where the file ends before.
Result<void> read_whole(const FileBlob& file, std::uint64_t offset, std::span<std::byte> into) {
  while (!into.empty()) {
    LB_ASSIGN(const std::size_t got, file.read_blocking(offset, into));
    if (got == 0) return fail(EBADMSG, "it is cut short, at byte ", offset);
    offset += got;
    into = into.subspan(got);
  }
  return {};
}

/// What is said of a file that does not begin with a tar header.
const char* compression_of(TarBlock block) {
  const auto text = as_text(block);
  if (text.starts_with("\x1f\x8b")) return "gzip";
  if (text.starts_with("\x28\xb5\x2f\xfd")) return "zstd";
  if (text.starts_with("BZh")) return "bzip2";
  if (text.starts_with("\xfd"
                       "7zXZ"))
    return "xz";
  return nullptr;
}

}  // namespace

Result<std::shared_ptr<const TarArchive>> TarArchive::open(const std::filesystem::path& path) {
  LB_ASSIGN(auto file, FileBlob::open(path, str_cat("archive ", path.string())));
  std::shared_ptr<TarArchive> archive(new TarArchive(path, std::move(file)));
  if (auto scanned = archive->scan(); !scanned)
    return while_doing(scanned.error(), "archive ", path.string());
  return archive;
}

Result<std::string> TarArchive::extension(std::uint64_t offset, std::uint64_t size_bytes) const {
  if (size_bytes > kMaxExtensionBytes) {
    return fail(EINVAL, "an extended tar header of ", size_bytes, " bytes is over the limit of ",
                kMaxExtensionBytes);
  }
  std::string text(size_bytes, '\0');
  LB_TRY(read_whole(*file_, offset, std::as_writable_bytes(std::span(text))));
  return text;
}

Result<void> TarArchive::scan() {
  std::array<std::byte, kTarBlockBytes> block{};
  std::uint64_t offset = 0;
  std::string long_name;
  std::string long_link;
  PaxRecords pax;
  const std::uint64_t end = file_->size_bytes();
  if (auto first = file_->read_blocking(0, block); !first) return std::unexpected(first.error());
  if (const char* const compression = compression_of(TarBlock(block))) {
    return fail(EBADMSG, "it is compressed with ", compression,
                "; archives are read in place: unpack that compression first (", compression, " -d)");
  }
  for (std::size_t headers = 0; offset < end; ++headers) {
    if (headers > 3 * kMaxMembers)
      return fail(E2BIG, "it has more than ", kMaxMembers, " members, the limit");
    LB_TRY(read_whole(*file_, offset, block));
    if (is_zero_block(block)) break;
    LB_ASSIGN(TarHeader header, parse_tar_header(block));
    offset += kTarBlockBytes;
    apply_pax(header, pax);
    const bool header_only = header.type >= '1' && header.type <= '6';
    const auto size_bytes = header_only ? 0 : static_cast<std::uint64_t>(header.size_bytes);
    if (header.size_bytes < 0 || size_bytes > end - offset) {
      return fail(EBADMSG, "it is cut short: \"", printable(header.name), "\" has ", header.size_bytes,
                  " bytes and the archive only ", end - offset, " more");
    }
    const std::uint64_t data = offset;
    offset += size_bytes + tar_padding(size_bytes);
    if (header.type == 'L' || header.type == 'K' || header.type == 'x' || header.type == 'g') {
      LB_ASSIGN(std::string text, extension(data, size_bytes));
      if (header.type == 'L') long_name = text.substr(0, text.find('\0'));
      if (header.type == 'K') long_link = text.substr(0, text.find('\0'));
      if (header.type == 'x') {
        LB_ASSIGN(pax, parse_pax_records(text));
      }
      continue;
    }
    if (!long_name.empty()) header.name = std::exchange(long_name, {});
    if (!long_link.empty()) header.link = std::exchange(long_link, {});
    const bool sparse = std::exchange(pax, {}).sparse.has_value();
    if (header.name.size() > kMaxNameBytes || header.link.size() > kMaxNameBytes)
      return fail(EINVAL, "it has a name over the limit of ", kMaxNameBytes, " bytes");
    const std::string name = clean_name({}, header.name);
    if (header.type == '1') {
      members_[name] = {0, 0, clean_name({}, header.link)};
    } else if (header.type == '2') {
      members_[name] = {0, 0, clean_name(directory_of(name), header.link)};
    } else if (!sparse && (header.type == '0' || header.type == '\0' || header.type == '7')) {
      members_[name] = {data, size_bytes, {}};
    }
    if (members_.size() > kMaxMembers)
      return fail(E2BIG, "it has more than ", kMaxMembers, " members, the limit");
  }
  return {};
}

Result<std::shared_ptr<const FileBlob>> TarArchive::find(std::string_view name, std::string blob_name) const {
  std::string at = clean_name({}, name);
  for (std::size_t links = 0; links <= kMaxLinks; ++links) {
    const auto found = members_.find(at);
    if (found == members_.end()) {
      return fail(ENOENT, "archive ", path_.string(), " holds no \"", printable(at), "\"",
                  links == 0 ? "" : ", which a link in it names");
    }
    const Member& member = found->second;
    if (member.link.empty()) return file_->part(member.offset, member.size_bytes, std::move(blob_name));
    at = member.link;
  }
  return fail(ELOOP, "archive ", path_.string(), ": \"", printable(name), "\" is over the limit of ",
              kMaxLinks, " links");
}

Result<std::string> TarArchive::read(std::string_view name, std::size_t max_bytes) const {
  LB_ASSIGN(const auto blob, find(name, str_cat("\"", printable(name), "\" of archive ", path_.string())));
  if (blob->size_bytes() > max_bytes) {
    return fail(E2BIG, blob->name(), ": ", blob->size_bytes(), " bytes are over the limit of ", max_bytes);
  }
  std::string text(blob->size_bytes(), '\0');
  LB_TRY(read_whole(*blob, 0, std::as_writable_bytes(std::span(text))));
  return text;
}

}  // namespace layerboot::store
