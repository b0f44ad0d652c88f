// EntryTableBuilder: a tar's entries taken in its order, as if each were unpacked over those before it; then
// what stands at the end, sorted as the index keeps it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/files.h"
#include "oci-mount/base/result.h"
#include "oci-mount/layer/entry_table.h"
#include "oci-mount/layer/index_format.h"
#include "oci-mount/layer/spilled.h"
#include "oci-mount/layer/standing_paths.h"
#include "oci-mount/layer/tar_entry.h"
#include "oci-mount/layer/text_arena.h"

namespace layerboot::layer {

/// The four parts of an entry table, as they are while it is built.
struct EntryParts {
  Spilled<EntryRecord> entries;
  Spilled<Extent> extents;
  Spilled<EntryXattrRecord> xattrs;
  Spilled<char> strings;

  explicit EntryParts(FileAppender* scratch)
      : entries(scratch), extents(scratch), xattrs(scratch), strings(scratch) {}
};

/// A table that is built. Not thread-safe.
class BuiltEntryTable {
 public:
  /// One without entries.
  BuiltEntryTable() : parts_(nullptr) {}

  [[nodiscard]] EntryTable::Shape shape() const {
    return {order_.size(), parts_.extents.size(), parts_.xattrs.size(), parts_.strings.size()};
  }
  /// What EntryTable::parse() takes, in pieces of some size. Errors are the scratch file's.
  using Take = std::function<Result<void>(std::span<const std::byte>)>;
  Result<void> each_piece(const Take& take) const;

 private:
  friend class EntryTableBuilder;

  /// A hard link that stands.
  struct Link {
    std::uint32_t link;
    std::uint32_t of;      // another name of this entry
    bool is_heir = false;  // it takes that one's place, which does not stand
  };

  explicit BuiltEntryTable(EntryParts parts) : parts_(std::move(parts)) {}
  [[nodiscard]] Result<EntryRecord> record(std::uint32_t entry) const;

  EntryParts parts_;
  std::vector<std::uint32_t> order_;  // entries
  std::vector<Link> links_;           // by `link`
};

/// It holds some 50 bytes for each entry; the rest of it goes to the scratch file. Not thread-safe.
class EntryTableBuilder {
 public:
  /// `scratch`: as Spilled has it. It outlives the table, too.
  explicit EntryTableBuilder(FileAppender* scratch = nullptr) : parts_(scratch) {}
  EntryTableBuilder(const EntryTableBuilder&) = delete;
  EntryTableBuilder& operator=(const EntryTableBuilder&) = delete;

  /// In the tar's order. The directories of its path, and of a hard link's target, are found through the
  /// symlinks that stand there now. E2BIG over kMaxEntries or kMaxEntryTableBytes; otherwise what could not
  /// be unpacked, by name, or an error of the scratch file.
  Result<void> add(const TarEntry& entry);

  /// What stands, and each mark once. Call once, and nothing after it.
  Result<BuiltEntryTable> finish();

 private:
  /// A hard link, and what stood at its target when it was made.
  struct BoundLink {
    std::uint32_t link;
    std::uint32_t target;
  };
  struct Mark {
    std::uint32_t entry;
    std::uint32_t path;  // its place in mark_paths_
    std::uint16_t path_length;
    EntryType type;
  };

  /// A piece of the strings.
  struct Text {
    std::uint32_t offset = 0;
    std::uint32_t length = 0;
  };

  [[nodiscard]] std::uint32_t next_entry() const { return static_cast<std::uint32_t>(parts_.entries.size()); }
  Result<Text> add_string(std::string_view text);
  Result<void> add_mark(const TarEntry& entry);
  Result<void> add_thing(const TarEntry& entry);
  Result<void> bind_link(EntryRecord& record, std::string_view target);
  Result<void> set_link(EntryRecord& record, std::string_view link);
  Result<void> append(EntryRecord record, const TarEntry& entry, std::string_view path);
  [[nodiscard]] std::string_view path_of(const Mark& mark) const;
  [[nodiscard]] std::vector<Mark> sorted_marks();
  [[nodiscard]] std::vector<std::uint32_t> order(std::vector<bool>& stands);
  [[nodiscard]] std::vector<BuiltEntryTable::Link> settled_links(const std::vector<bool>& stands) const;

  EntryParts parts_;
  StandingPaths paths_;
  TextArena mark_paths_;
  std::vector<Mark> marks_;
  std::vector<BoundLink> bound_links_;
  std::vector<std::uint32_t> hidden_;
};

}  // namespace layerboot::layer
