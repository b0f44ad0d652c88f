// ForeignTree: what a guest names, made below a directory of this machine's.
//
// Names, kinds, modes, owners and the order in which they come are a stranger's. Whatever they are, nothing
// is made or changed outside of the directory, nor behind a symlink in it, not even one that was there
// before; nothing that is made runs as another or is a device; and a directory that was there keeps what it
// is. A name that is no directory's is replaced, and only by what is whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "oci-mount/base/files.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// What a stranger says of an object. Of the mode only what lets users at the object counts, and the sticky
/// bit of a directory. Without an owner it is ours.
struct ForeignAttributes {
  std::uint32_t mode = 0;
  std::optional<std::pair<std::uint32_t, std::uint32_t>> owner;  // user, group
  std::int64_t mtime_sec = 0;
  std::uint32_t mtime_nsec = 0;
};

/// A file on its way: under a name of our own beside its place, which goes unless commit() is called.
class ForeignFile {
 public:
  ForeignFile(ForeignFile&& other) noexcept;
  ForeignFile& operator=(ForeignFile&&) = delete;
  ForeignFile(const ForeignFile&) = delete;
  ForeignFile& operator=(const ForeignFile&) = delete;
  ~ForeignFile();

  Result<void> append(std::span<const std::byte> bytes) { return appender_.append(bytes); }
  /// Gives it its attributes and its name, once. An owner that can't be given is an error too, and the file
  /// is there all the same, as ours.
  Result<void> commit(const ForeignAttributes& attributes);

 private:
  friend class ForeignTree;
  ForeignFile(std::shared_ptr<const UniqueFd> directory, std::string beside, std::string name, UniqueFd fd);

  std::shared_ptr<const UniqueFd> directory_;
  std::string beside_;  // its name until it is committed; empty afterwards
  std::string name_;
  UniqueFd fd_;
  FileAppender appender_;
};

/// Paths are check_path()'s (oci-mount/base/path_rules.h), and not empty; what they lie in has come before.
/// The errors do not name them.
class ForeignTree {
 public:
  /// `folder` is the caller's word, and found as that leads: by symlinks, too.
  static Result<ForeignTree> open(const std::filesystem::path& folder);

  /// One that is there is left as it is. A new one gets its attributes once something comes that lies
  /// elsewhere, since times change as files come in.
  Result<void> add_directory(const std::string& path, const ForeignAttributes& attributes);
  Result<void> add_symlink(const std::string& path, const std::string& target,
                           const ForeignAttributes& attributes);
  Result<ForeignFile> begin_file(const std::string& path);
  /// Nothing more comes. The error is the first of a directory that could not get its attributes, named.
  Result<void> finish();

 private:
  struct NewDirectory {
    std::string path;
    ForeignAttributes attributes;
  };

  explicit ForeignTree(UniqueFd folder) : folder_(std::make_shared<const UniqueFd>(std::move(folder))) {}
  Result<std::shared_ptr<const UniqueFd>> directory_of(const std::string& path);
  void leave_for(const std::string& path);

  std::shared_ptr<const UniqueFd> folder_;
  std::vector<NewDirectory> new_directories_;  // each lies in the one before
  Result<void> directories_;                   // finish()'s
  // Where the last object was made: the next is mostly a neighbour.
  std::string last_path_;
  std::shared_ptr<const UniqueFd> last_directory_;
};

}  // namespace layerboot::launcher
