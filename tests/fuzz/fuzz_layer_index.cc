// Layer index files of any content, with the hash made right so that what lies behind it is reached; and
// spans of a hostile table decoded from hostile bytes.
#include <xxhash.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "oci-mount/layer/checkpoint_table.h"
#include "oci-mount/layer/index_file.h"
#include "oci-mount/layer/span_codec.h"

namespace {

using namespace layerboot;
using namespace layerboot::layer;

volatile std::uint64_t sink;

void touch(const EntryTable& table) {
  std::uint64_t sum = 0;
  for (std::uint32_t i = 0; i < table.entry_count(); ++i) {
    const EntryView entry = table.entry(i);
    for (const char c : entry.path) sum += static_cast<unsigned char>(c);
    for (const char c : entry.link) sum += static_cast<unsigned char>(c);
    for (const auto& extent : entry.extents) sum += extent.length_bytes;
    for (const auto& xattr : entry.xattrs) {
      for (const char c : xattr.value) sum += static_cast<unsigned char>(c);
    }
  }
  sink = sum;
}

void decode(const CheckpointTable& table, std::span<const std::byte> bytes) {
  for (std::uint32_t i = 0; i < std::min(table.span_count(), 4U); ++i) {
    const SpanInfo span = table.span(i);
    if (span.size_bytes > 1U << 20U) continue;
    std::vector<std::byte> out(span.size_bytes);
    const auto compressed = bytes.first(std::min<std::size_t>(bytes.size(), span.blob_bytes));
    sink = decode_span(span, compressed, out) ? 1 : 0;
  }
}

/// The entry table without zstd around it, so that its fields can be reached at all.
void check_bare_table(std::span<const std::byte> bytes) {
  if (bytes.size() < 4) return;
  const auto at = [&](std::size_t i) { return std::to_integer<std::uint64_t>(bytes[i]); };
  EntryTable::Shape shape{at(0) % 8, at(1) % 8, at(2) % 8, 0};
  const auto fixed = shape.size_bytes();
  const auto rest = bytes.subspan(4);
  if (!fixed || *fixed > rest.size()) return;
  shape.strings_size_bytes = rest.size() - *fixed;
  const auto table = EntryTable::parse({rest.begin(), rest.end()}, shape, 100'000);
  if (table) touch(*table);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  check_bare_table({reinterpret_cast<const std::byte*>(data), size});
  // Aligned to 8, as a mapping is.
  auto file = std::make_unique<std::uint64_t[]>(size / 8 + 1);
  auto* const bytes = reinterpret_cast<std::byte*>(file.get());
  std::memcpy(bytes, data, size);
  if (size >= sizeof(IndexHeader)) {
    IndexHeader header;
    std::memcpy(&header, bytes, sizeof header);
    header.magic = kIndexMagic;
    header.format_version = kIndexFormatVersion;
    header.policy_version = kIndexPolicyVersion;
    header.recut_size_bytes = 0;
    header.file_hash = 0;
    std::memcpy(bytes, &header, sizeof header);
    header.file_hash = XXH3_64bits(bytes, size);
    std::memcpy(bytes, &header, sizeof header);
  }
  const auto parts = parse_index_file({bytes, size});
  if (!parts) return 0;
  const auto table = CheckpointTable::parse(parts->checkpoints, parts->windows, parts->header.blob_size_bytes,
                                            parts->header.stream_size_bytes);
  if (table) decode(*table, {bytes, size});
  // A few bytes may claim a table of a GiB, which is allowed, and too slow here.
  const auto& h = parts->header;
  if (h.entry_count + h.extent_count + h.xattr_count + h.strings_size_bytes > 1U << 20U) return 0;
  const auto entries = unpack_entries(h, parts->packed_entries);
  if (entries) touch(*entries);
  return 0;
}
