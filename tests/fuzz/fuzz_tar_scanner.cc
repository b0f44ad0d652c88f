// Tars of any content, in pieces of any size. What the scanner takes must make an entry table that passes its
// own check.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "oci-mount/layer/entry_table.h"
#include "oci-mount/layer/entry_table_builder.h"
#include "oci-mount/layer/tar_scanner.h"
#include "tests/support/built_tables.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace layerboot;
  using namespace layerboot::layer;
  if (size < 1) return 0;
  const std::size_t piece_bytes = 1 + data[0] * 7U;
  const std::span<const std::byte> tar(reinterpret_cast<const std::byte*>(data + 1), size - 1);
  EntryTableBuilder builder;
  TarScanner scanner([&](const TarEntry& entry) { return builder.add(entry); });
  for (std::size_t at = 0; at < tar.size(); at += piece_bytes) {
    if (!scanner.push(tar.subspan(at, std::min(piece_bytes, tar.size() - at)))) return 0;
  }
  if (!scanner.finish()) return 0;
  auto table = builder.finish();
  if (!table) std::abort();
  const auto parsed = EntryTable::parse(test::bytes_of(*table), table->shape(), tar.size());
  if (!parsed) std::abort();
  for (std::uint32_t i = 0; i < parsed->entry_count(); ++i) {
    if (parsed->entry(i).path.find('\0') != std::string_view::npos) std::abort();
  }
  return 0;
}
