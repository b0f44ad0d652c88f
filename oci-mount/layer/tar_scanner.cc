#include "oci-mount/layer/tar_scanner.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/printable.h"

namespace layerboot::layer {

Result<void> TarScanner::push(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    std::size_t taken = 0;
    switch (state_) {
      case State::kEnded:
        return {};
      case State::kData:
        taken = static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), data_left_ + padding_left_));
        skip_data(taken);
        if (data_left_ + padding_left_ == 0) state_ = State::kHeader;
        break;
      case State::kExtension: {
        taken = static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), data_left_));
        extension_ += as_text(bytes.first(taken));
        skip_data(taken);
        break;
      }
      case State::kSparseMap:
      case State::kHeader:
        taken = std::min(bytes.size(), kTarBlockBytes - block_filled_);
        std::memcpy(block_.data() + block_filled_, bytes.data(), taken);
        block_filled_ += taken;
        break;
    }
    stream_offset_ += taken;
    bytes = bytes.subspan(taken);
    if (state_ == State::kExtension && data_left_ == 0) LB_TRY(on_extension_end());
    if (block_filled_ == kTarBlockBytes) LB_TRY(state_ == State::kSparseMap ? on_sparse_block() : on_block());
  }
  return {};
}

void TarScanner::skip_data(std::uint64_t size_bytes) {
  const auto data = std::min(size_bytes, data_left_);
  data_left_ -= data;
  padding_left_ -= size_bytes - data;
}

Result<void> TarScanner::finish() {
  if (state_ == State::kExtension || state_ == State::kSparseMap ||
      (state_ == State::kData && data_left_ != 0)) {
    return fail(EBADMSG, "the tar ends within an entry's data");
  }
  if (state_ == State::kHeader && block_filled_ != 0) {
    if (stream_offset_ < kTarBlockBytes)
      return fail(EBADMSG, "this is no tar: it has ", block_filled_, " bytes, less than one header");
    return fail(EBADMSG, "the tar ends within a header");
  }
  if (state_ != State::kEnded && extensions_.pending())
    return fail(EBADMSG, "the tar ends after an extended header");
  return {};
}

Result<void> TarScanner::on_block() {
  block_filled_ = 0;
  const TarBlock block(block_);
  if (store::is_zero_block(block)) {
    if (zero_block_seen_) state_ = State::kEnded;
    zero_block_seen_ = true;
    return {};
  }
  if (zero_block_seen_) return fail(EBADMSG, "the tar has one zero block between entries: it is damaged");
  LB_ASSIGN(TarHeader header, store::parse_tar_header(block));
  if (store::TarExtensions::is_extension(header.type)) return begin_extension(header);
  return on_entry(std::move(header));
}

Result<void> TarScanner::begin_extension(const TarHeader& header) {
  LB_ASSIGN(const std::uint64_t size_bytes, store::TarExtensions::text_bytes(header));
  extension_type_ = header.type;
  extension_.clear();
  data_left_ = size_bytes;
  padding_left_ = store::tar_padding(size_bytes);
  state_ = State::kExtension;
  return size_bytes == 0 ? on_extension_end() : Result<void>();
}

Result<void> TarScanner::on_extension_end() {
  state_ = padding_left_ == 0 ? State::kHeader : State::kData;
  return extensions_.add(extension_type_, extension_);
}

Result<void> TarScanner::on_entry(TarHeader header) {
  pax_ = extensions_.complete(header);
  const bool is_gnu_sparse = header.type == 'S';
  const bool is_file = is_gnu_sparse || header.type == '0' || header.type == '\0';
  if (!is_gnu_sparse && !(pax_.sparse && is_file)) return emit(header, nullptr);
  if (!is_gnu_sparse && !pax_.sparse->name.empty()) header.name = pax_.sparse->name;
  header.type = '0';
  sparse_map_ = {};
  auto need = is_gnu_sparse ? sparse_map_.begin_gnu(TarBlock(block_)) : sparse_map_.begin_pax(*pax_.sparse);
  if (!need) return while_doing(need.error(), "\"", printable(header.name), "\"");
  LB_ASSIGN(sparse_data_bytes_, data_bytes(header));
  sparse_header_ = std::move(header);
  return begin_sparse(*need);
}

Result<void> TarScanner::begin_sparse(SparseMap::Need need) {
  if (need == SparseMap::Need::kNothing) {
    sparse_header_.size_bytes = static_cast<std::int64_t>(sparse_data_bytes_);
    return emit(sparse_header_, &sparse_map_);
  }
  if (sparse_map_.is_in_data() && sparse_data_bytes_ < kTarBlockBytes) {
    return fail(EBADMSG, "\"", printable(sparse_header_.name), "\": its sparse map is cut short");
  }
  state_ = State::kSparseMap;
  return {};
}

Result<void> TarScanner::on_sparse_block() {
  block_filled_ = 0;
  auto need = sparse_map_.add_block(TarBlock(block_));
  if (!need) return while_doing(need.error(), "\"", printable(sparse_header_.name), "\"");
  if (sparse_map_.is_in_data()) sparse_data_bytes_ -= kTarBlockBytes;
  return begin_sparse(*need);
}

/// Hands the entry out. Its data, as many as the header says, begin here.
Result<void> TarScanner::emit(const TarHeader& header, const SparseMap* sparse) {
  LB_ASSIGN(const std::uint64_t size_bytes, data_bytes(header));
  LB_ASSIGN(auto entry, make_entry(header, std::move(pax_.xattrs), stream_offset_));
  if (sparse != nullptr) {
    auto extents = sparse->extents(stream_offset_, size_bytes);
    if (!extents) return while_doing(extents.error(), "\"", printable(header.name), "\"");
    if (entry && entry->type == EntryType::kFile) {
      entry->size_bytes = sparse->real_size_bytes();
      entry->extents = std::move(*extents);
    }
  }
  pax_ = {};
  data_left_ = size_bytes;
  padding_left_ = store::tar_padding(size_bytes);
  state_ = size_bytes == 0 ? State::kHeader : State::kData;
  return entry ? sink_(std::move(*entry)) : Result<void>();
}

}  // namespace layerboot::layer
