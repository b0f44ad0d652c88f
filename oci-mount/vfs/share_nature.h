// Owner and mode of objects in a shared directory: the host's own where that can be, else recorded.
//
// A shared directory is other people's too, so nothing in it gets rights of its own by what a guest does, and
// nothing in the guest by what others leave there: set-id bits of files are never made, and those of the host
// are shown only of owners whom the guest knows. Root's daemon believes nothing but the host. An ordinary
// user's can't give files away, and keeps owners and modes in an attribute, in the form that its uppers have
// (overlay/recorded_stat.h); that is believed of files which nobody but this user can write to.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "oci-mount/base/id_map.h"
#include "oci-mount/base/result.h"
#include "oci-mount/overlay/recorded_stat.h"
#include "oci-mount/overlay/upper_calls.h"
#include "oci-mount/vfs/share_object.h"

namespace layerboot::vfs {

using Nature = overlay::RecordedStat;

/// What of an object is asked for.
enum class Want {
  kSee,     // attributes, and where a symlink leads
  kRead,    // what it holds: data, names, extended attributes
  kSearch,  // a name in it
  kWrite,   // to change what it holds
  kOwn,     // what only its owner may: mode, owner, times, its names
};

/// Whose daemon this is, and who its guest's users are here. Immutable.
class Keeper {
 public:
  /// Root's: objects belong to whom `ids` says.
  static Keeper root(IdMap ids) { return Keeper(true, 0, std::move(ids)); }
  /// An ordinary user's, whose files are the guest's root's.
  static Keeper ordinary_user(uid_t uid, gid_t gid) {
    return Keeper(false, uid, IdMap{IdRanges({{0, uid, 1}}), IdRanges({{0, gid, 1}})});
  }

  [[nodiscard]] bool is_root() const { return is_root_; }
  [[nodiscard]] const IdMap& ids() const { return ids_; }

  /// Whether a guest may have that of the object at `place`, whose attributes are these on the host. Where
  /// owner or group is nobody in the guest, no right of the guest's root holds: it reads and searches what
  /// the mode lets everybody, an owner whom the guest has, or a group that it has and that no ACL speaks of,
  /// and changes nothing, as Linux has it for mapped mounts (fs/namei.c: inode_permission(), HAS_UNMAPPED_ID;
  /// capable_wrt_inode_uidgid()). Which of its users that is, the guest's kernel judges. EACCES; EPERM for
  /// kOwn. An ordinary user's daemon has no rights that would have to be held back.
  [[nodiscard]] Result<void> check(overlay::Place place, const Attr& host, Want want) const;

  /// Makes of `attr`, the host's word for what is at `place`, what the guest is to see.
  Result<void> show(overlay::Place place, Attr& attr) const;
  /// The mode that the host is to have for a new object of `wanted`, which belongs to its maker.
  [[nodiscard]] std::uint32_t new_mode(const Nature& wanted, std::uint32_t guest_gid) const;
  /// Notes, of the open object that was made with new_mode() just now, what the host can't have.
  Result<void> note_new(int fd, const Nature& wanted) const;
  /// Gives an open object (O_PATH will do) owner and mode. Of symlinks, fifos and sockets, which carry no
  /// attributes, an ordinary user's daemon keeps no owner. EOVERFLOW for ids that are nobody's here.
  Result<void> set(int fd, const Nature& wanted) const;

 private:
  Keeper(bool is_root, uid_t uid, IdMap ids) : is_root_(is_root), uid_(uid), ids_(std::move(ids)) {}

  Result<void> set_as_root(int fd, const Attr& now, const Nature& wanted) const;
  Result<void> set_recorded(int fd, const Attr& now, const Nature& wanted) const;
  [[nodiscard]] bool needs_record(const Nature& wanted, std::uint32_t guest_gid) const;

  bool is_root_;
  uid_t uid_;  // an ordinary user's
  IdMap ids_;
};

/// Acts on the host as these ids while it lives, on this thread and as far as files go (setfsuid(2)): what is
/// made then belongs to them from its first moment. The daemon's other rights stay, where the sandbox has
/// seen to that (SECBIT_NO_SETUID_FIXUP).
class ActingAs {
 public:
  ActingAs(uid_t uid, gid_t gid);
  ~ActingAs();
  ActingAs(const ActingAs&) = delete;
  ActingAs& operator=(const ActingAs&) = delete;
  /// EPERM where the process may not.
  [[nodiscard]] Result<void> outcome() const;

 private:
  uid_t former_uid_;
  gid_t former_gid_;
  bool is_so_;
};

}  // namespace layerboot::vfs
