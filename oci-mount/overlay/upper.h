// Upper: the directory on the host that holds what one VM wrote, in overlayfs's own format.
//
//   DIR/upper   the upper directory proper: mountable as overlayfs's upperdir=
//   DIR/work    objects on their way in or out: half-made copies, unlinked files that are still open
//   DIR/lock    held while a daemon serves it
//   DIR/image   which image it belongs to
//   DIR/clean   what it takes, from a session that ended in order
// FORMAT.md beside this file says what is in them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"
#include "oci-mount/overlay/clean_stop.h"
#include "oci-mount/overlay/marks.h"
#include "oci-mount/overlay/survey.h"
#include "oci-mount/overlay/upper_calls.h"

namespace layerboot::overlay {

/// The code of the error that refuses an upper of another image; nothing else has it.
inline constexpr int kOtherImage = EMEDIUMTYPE;

/// What DIR/image says. ENOENT where `directory` is no upper.
struct UpperIdentity {
  std::string image;
  Keeping keeping = Keeping::kNative;
};
Result<UpperIdentity> read_upper_identity(const std::filesystem::path& directory);

/// Owns the directory. Thread-safe.
class Upper {
 public:
  /// Opens `directory`, making it when it does not exist, locks it, clears DIR/work, and tries out there what
  /// the host can do: a file system that lacks what an upper needs is refused by one line that names all of
  /// it (EOPNOTSUPP), and nothing of a new upper stays. `image_identity` is written into a new one, as is how
  /// it is kept: `keeping`, but never natively by who is not root or may not set trusted.* attributes. An
  /// upper of another image is refused, as is one that another daemon serves, a native one of who is not
  /// root, or in a directory of somebody else. One that others may enter is closed to them (0700). DIR/upper
  /// and DIR/work get no default ACL and no set-group-id bit of the host's when they are made.
  static Result<Upper> open(const std::filesystem::path& directory, std::string_view image_identity,
                            Keeping keeping = Keeping::kNative);

  Upper(Upper&&) noexcept;
  ~Upper();

  [[nodiscard]] Keeping keeping() const { return keeping_; }
  /// How many names the host gives one file; 0 where it does not say.
  [[nodiscard]] unsigned long most_links() const { return most_links_; }
  /// What its objects are charged.
  [[nodiscard]] const Tariff& tariff() const { return tariff_; }
  /// HostAbilities::nameless_files.
  [[nodiscard]] bool has_nameless_files() const { return nameless_files_; }
  [[nodiscard]] int root_fd() const { return root_.get(); }
  [[nodiscard]] int work_fd() const { return work_.get(); }
  /// DIR itself.
  [[nodiscard]] int top_fd() const { return top_.get(); }

  /// All that is in DIR/upper, counted. ENOMEM where `memory`, if there is one, has no room for what is to be
  /// remembered on the way. `late`: as survey_directory() takes it.
  [[nodiscard]] Result<Survey> survey(MemoryBudget* memory = nullptr,
                                      const LateFilesByInode* late = nullptr) const;

  /// What the last session left of an upper that nothing has touched since, once: then nothing, and no file
  /// on the host, is left of it.
  [[nodiscard]] std::optional<CleanStop> take_clean_stop() {
    return std::exchange(clean_stop_, std::nullopt);
  }
  /// For the next session. REQUIRES: what write_clean_stop() does.
  Result<void> leave_clean_stop(const CleanStop& stop);

  /// Removes whatever is in DIR/work. No name there may be in use.
  Result<void> clear_work();

  /// A name nothing in DIR/work has.
  [[nodiscard]] std::string work_name();

  /// Makes a whiteout at `place`, in the upper or in DIR/work. All whiteouts are links of one inode where the
  /// host allows it.
  Result<void> make_whiteout(Place place);

 private:
  Upper(Keeping keeping, UniqueFd top, UniqueFd lock, UniqueFd root, UniqueFd work)
      : top_(std::move(top)),
        lock_(std::move(lock)),
        root_(std::move(root)),
        work_(std::move(work)),
        keeping_(keeping) {}
  UniqueFd top_;
  UniqueFd lock_;
  std::optional<CleanStop> clean_stop_;
  UniqueFd root_;
  UniqueFd work_;
  Keeping keeping_;
  Tariff tariff_{HostKind::kOther};
  unsigned long most_links_ = 0;
  bool nameless_files_ = false;
  std::uint64_t next_work_name_ = 0;  // under the Overlay's lock
};

}  // namespace layerboot::overlay
