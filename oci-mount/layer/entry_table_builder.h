// EntryTableBuilder: a tar's entries taken in its order, as if each were unpacked over those before it; then
// what stands at the end, sorted and packed as the index keeps it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/layer/entry_table.h"
#include "oci-mount/layer/index_format.h"
#include "oci-mount/layer/standing_paths.h"
#include "oci-mount/layer/tar_entry.h"

namespace layerboot::layer {

/// Not thread-safe.
class EntryTableBuilder {
 public:
  EntryTableBuilder() : paths_(entries_, strings_) {}
  EntryTableBuilder(const EntryTableBuilder&) = delete;
  EntryTableBuilder& operator=(const EntryTableBuilder&) = delete;

  /// In the tar's order. The directories of its path, and of a hard link's target, are found through the
  /// symlinks that stand there now. E2BIG over kMaxEntries or kMaxEntryTableBytes; otherwise what could not
  /// be unpacked, by name.
  Result<void> add(const TarEntry& entry);

  struct Table {
    std::vector<EntryRecord> entries;
    std::vector<Extent> extents;
    std::vector<EntryXattrRecord> xattrs;
    std::string strings;

    [[nodiscard]] EntryTable::Shape shape() const {
      return {entries.size(), extents.size(), xattrs.size(), strings.size()};
    }
    /// What lies one after the other.
    [[nodiscard]] std::array<std::span<const std::byte>, 4> parts() const;
  };
  /// What stands, and each mark once. Call once.
  Result<Table> finish();

 private:
  /// A hard link, and what stood at its target when it was made.
  struct BoundLink {
    std::uint32_t link;
    std::uint32_t target;
  };

  [[nodiscard]] std::string_view path_of(const EntryRecord& record) const;
  StandingPaths::Text add_string(std::string_view text);
  std::uint32_t add_record(const TarEntry& entry);
  Result<void> add_mark(std::uint32_t entry);
  Result<void> add_thing(std::uint32_t entry);
  Result<void> bind_link(std::uint32_t link);
  Result<void> set_path(EntryRecord& record, const std::string& path);
  void settle_links(const std::vector<bool>& kept);
  [[nodiscard]] std::vector<std::uint32_t> order(const std::vector<bool>& kept) const;

  std::vector<EntryRecord> entries_;
  std::vector<Extent> extents_;
  std::vector<EntryXattrRecord> xattrs_;
  std::string strings_;
  StandingPaths paths_;
  std::vector<BoundLink> bound_links_;
  std::vector<std::uint32_t> hidden_;
};

}  // namespace layerboot::layer
