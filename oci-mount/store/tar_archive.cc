#include "oci-mount/store/tar_archive.h"

#include <array>
#include <vector>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/path_rules.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/store/tar_extensions.h"

namespace layerboot::store {

namespace {

/// Relative to the archive's root, which ".." does not leave.
std::string clean_name(std::string_view directory, std::string_view name) {
  std::vector<std::string_view> parts;
  if (!name.starts_with('/')) add_clean_parts(parts, directory);
  add_clean_parts(parts, name);
  return joined_path(parts);
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

}  // namespace

Result<std::shared_ptr<const TarArchive>> TarArchive::read_from(std::shared_ptr<const FileBlob> file,
                                                                std::filesystem::path path) {
  std::shared_ptr<TarArchive> archive(new TarArchive(std::move(path), std::move(file)));
  if (auto scanned = archive->scan(); !scanned)
    return while_doing(scanned.error(), "archive ", archive->path().string());
  return archive;
}

Result<std::string> TarArchive::extension(std::uint64_t offset, const TarHeader& header) const {
  LB_ASSIGN(const std::uint64_t size_bytes, TarExtensions::text_bytes(header));
  std::string text(size_bytes, '\0');
  LB_TRY(read_whole(*file_, offset, std::as_writable_bytes(std::span(text))));
  return text;
}

Result<void> TarArchive::scan() {
  std::array<std::byte, kTarBlockBytes> block{};
  std::uint64_t offset = 0;
  TarExtensions extensions;
  const std::uint64_t end = file_->size_bytes();
  if (end != 0 && end < kTarBlockBytes)
    return fail(EBADMSG, "it is no tar: it has ", end, " bytes, less than one header");
  for (std::size_t headers = 0; offset < end; ++headers) {
    if (headers > 3 * kMaxMembers)
      return fail(E2BIG, "it has more than ", kMaxMembers, " members, the limit");
    LB_TRY(read_whole(*file_, offset, block));
    if (is_zero_block(block)) break;
    LB_ASSIGN(TarHeader header, parse_tar_header(block));
    offset += kTarBlockBytes;
    const bool is_extension = TarExtensions::is_extension(header.type);
    PaxRecords pax;
    if (!is_extension) pax = extensions.complete(header);
    LB_ASSIGN(const std::uint64_t size_bytes, tar_data_bytes(header));
    if (size_bytes > end - offset) {
      return fail(EBADMSG, "it is cut short: \"", printable(header.name), "\" has ", size_bytes,
                  " bytes and the archive only ", end - offset, " more");
    }
    if (is_extension) {
      LB_ASSIGN(const std::string text, extension(offset, header));
      LB_TRY(extensions.add(header.type, text));
    } else if (!pax.sparse) {
      LB_TRY(add_member(header, offset, size_bytes));
    }
    offset += size_bytes + tar_padding(size_bytes);
  }
  return {};
}

Result<void> TarArchive::add_member(const TarHeader& header, std::uint64_t data, std::uint64_t size_bytes) {
  if (header.name.size() > kMaxPathBytes || header.link.size() > kMaxPathBytes)
    return fail(EINVAL, "it has a name over the limit of ", kMaxPathBytes, " bytes");
  const std::string name = clean_name({}, header.name);
  if (header.type == '1') {
    members_[name] = {0, 0, clean_name({}, header.link)};
  } else if (header.type == '2') {
    members_[name] = {0, 0, clean_name(parent_path(name), header.link)};
  } else if (header.type == '0' || header.type == '\0' || header.type == '7') {
    members_[name] = {data, size_bytes, {}};
  }
  if (members_.size() > kMaxMembers)
    return fail(E2BIG, "it has more than ", kMaxMembers, " members, the limit");
  return {};
}

bool TarArchive::has_directory(std::string_view name) const {
  const std::string begin = clean_name({}, name) + "/";
  const auto at = members_.lower_bound(begin);
  return at != members_.end() && at->first.starts_with(begin);
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
