// EntryTableBuilder: a tar's entries gathered in its order, then sorted and packed as the index keeps them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/layer/entry_table.h"
#include "oci-mount/layer/index_format.h"
#include "oci-mount/layer/tar_entry.h"

namespace layerboot::layer {

/// Not thread-safe.
class EntryTableBuilder {
 public:
  /// In the tar's order. E2BIG over kMaxEntries or kMaxEntryTableBytes.
  Result<void> add(const TarEntry& entry);

  struct Table {
    EntryTable::Shape shape;
    std::vector<std::byte> bytes;
  };
  /// Of several entries with one path the last stays, as if each had been unpacked over those before it: so a
  /// file takes with it what was earlier put below its path as a directory. Call once.
  Result<Table> finish();

 private:
  [[nodiscard]] std::string_view path_of(const EntryRecord& record) const;
  std::uint32_t add_string(std::string_view text);
  [[nodiscard]] std::vector<std::uint32_t> order() const;
  void drop_covered(std::vector<std::uint32_t>& order) const;

  std::vector<EntryRecord> entries_;
  std::vector<Extent> extents_;
  std::vector<EntryXattrRecord> xattrs_;
  std::string strings_;
};

}  // namespace layerboot::layer
