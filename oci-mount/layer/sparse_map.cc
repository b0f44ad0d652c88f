#include "oci-mount/layer/sparse_map.h"

#include <limits>
#include <optional>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/decimal.h"
#include "oci-mount/layer/limits.h"

namespace layerboot::layer {

namespace {

constexpr std::size_t kNumberBytes = 12;
constexpr std::size_t kHeaderTable = 386;
constexpr std::size_t kHeaderPieces = 4;
constexpr std::size_t kHeaderIsExtended = 482;
constexpr std::size_t kHeaderRealSize = 483;
constexpr std::size_t kBlockPieces = 21;
constexpr std::size_t kBlockIsExtended = 504;
constexpr std::size_t kLongestLine = 20;  // digits of a u64

constexpr std::uint64_t kMaxFileBytes = std::numeric_limits<std::int64_t>::max();

std::unexpected<Error> bad_map(std::string_view why) { return fail(EBADMSG, "its sparse map ", why); }

}  // namespace

Result<void> SparseMap::add_piece(std::uint64_t offset, std::uint64_t length_bytes) {
  if (pieces_.size() >= kMaxSparseExtents) {
    return fail(EINVAL, "its sparse map is over the limit of ", kMaxSparseExtents, " pieces");
  }
  pieces_.push_back({offset, length_bytes});
  return {};
}

/// True when the table was full, so that more may follow.
Result<bool> SparseMap::add_gnu_pieces(std::string_view table, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const auto piece = table.substr(2 * i * kNumberBytes, 2 * kNumberBytes);
    if (piece[0] == '\0') return false;
    const auto offset = store::parse_tar_number(piece.substr(0, kNumberBytes));
    const auto length = store::parse_tar_number(piece.substr(kNumberBytes));
    if (!offset || !length || *offset < 0 || *length < 0) return bad_map("has a number that is none");
    LB_TRY(add_piece(static_cast<std::uint64_t>(*offset), static_cast<std::uint64_t>(*length)));
  }
  return true;
}

Result<SparseMap::Need> SparseMap::begin_gnu(store::TarBlock header) {
  gnu_ = true;
  const auto text = as_text(header);
  const auto size = store::parse_tar_number(text.substr(kHeaderRealSize, kNumberBytes));
  if (!size || *size < 0) return bad_map("has no size");
  real_size_bytes_ = static_cast<std::uint64_t>(*size);
  if (auto full = add_gnu_pieces(text.substr(kHeaderTable), kHeaderPieces); !full)
    return std::unexpected(full.error());
  return text[kHeaderIsExtended] != '\0' ? Need::kBlock : Need::kNothing;
}

Result<SparseMap::Need> SparseMap::begin_pax(const store::PaxSparse& records) {
  const bool in_data = records.major == "1" && records.minor == "0";
  const bool in_records = (records.major.empty() && records.minor.empty()) ||
                          (records.major == "0" && (records.minor == "0" || records.minor == "1"));
  if (!in_data && !in_records) return fail(ENOTSUP, "it is a sparse file of an unknown form");
  const auto size =
      parse_decimal(records.real_size.empty() ? records.size : records.real_size, kMaxFileBytes);
  if (!size) return bad_map("has no size");
  real_size_bytes_ = *size;
  if (in_data) {
    in_data_ = true;
    return Need::kBlock;
  }
  std::string_view rest = records.map;
  while (!rest.empty()) {
    std::uint64_t pair[2];
    for (std::uint64_t& number : pair) {
      const auto comma = rest.find(',');
      const auto value = parse_decimal(rest.substr(0, comma), kMaxFileBytes);
      if (!value) return bad_map("has a number that is none");
      number = *value;
      rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 1);
    }
    LB_TRY(add_piece(pair[0], pair[1]));
  }
  return Need::kNothing;
}

Result<SparseMap::Need> SparseMap::add_block(store::TarBlock block) {
  const auto text = as_text(block);
  if (gnu_) {
    LB_ASSIGN(const bool full, add_gnu_pieces(text, kBlockPieces));
    return full && text[kBlockIsExtended] != '\0' ? Need::kBlock : Need::kNothing;
  }
  text_ += text;
  return take_lines();
}

/// A count, then as many offsets and lengths, each on a line; the rest of the last block is padding.
Result<SparseMap::Need> SparseMap::take_lines() {
  std::string_view rest = text_;
  while (numbers_.empty() || numbers_.size() < 1 + 2 * numbers_.front()) {
    const auto end = rest.find('\n');
    if (end == std::string_view::npos && rest.size() > kLongestLine)
      return bad_map("has a number that is none");
    if (end == std::string_view::npos) {
      text_.erase(0, text_.size() - rest.size());
      return Need::kBlock;
    }
    const auto number = parse_decimal(rest.substr(0, end), kMaxFileBytes);
    if (!number) return bad_map("has a number that is none");
    if (numbers_.empty() && *number > kMaxSparseExtents) {
      return fail(EINVAL, "its sparse map is over the limit of ", kMaxSparseExtents, " pieces");
    }
    numbers_.push_back(*number);
    rest.remove_prefix(end + 1);
  }
  for (std::size_t i = 1; i + 1 < numbers_.size(); i += 2) LB_TRY(add_piece(numbers_[i], numbers_[i + 1]));
  text_.clear();
  return Need::kNothing;
}

Result<std::vector<Extent>> SparseMap::extents(std::uint64_t stream_offset, std::uint64_t data_bytes) const {
  std::vector<Extent> extents;
  std::uint64_t file_end = 0;
  std::uint64_t used_bytes = 0;
  for (const Piece& piece : pieces_) {
    if (piece.offset < file_end || piece.offset > real_size_bytes_ ||
        piece.length_bytes > real_size_bytes_ - piece.offset) {
      return bad_map("has pieces that overlap or leave the file");
    }
    file_end = piece.offset + piece.length_bytes;
    if (piece.length_bytes > data_bytes - used_bytes) return bad_map("has more data than the tar");
    if (piece.length_bytes != 0)
      extents.push_back({piece.offset, stream_offset + used_bytes, piece.length_bytes});
    used_bytes += piece.length_bytes;
  }
  if (used_bytes != data_bytes) return bad_map("has less data than the tar");
  return extents;
}

}  // namespace layerboot::layer
