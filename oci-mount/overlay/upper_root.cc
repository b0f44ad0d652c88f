#include "oci-mount/overlay/upper_root.h"

#include <sys/stat.h>
#include <unistd.h>

#include "oci-mount/base/log.h"
#include "oci-mount/base/mode_bits.h"
#include "oci-mount/overlay/acl.h"
#include "oci-mount/overlay/body.h"

namespace layerboot::overlay {

namespace {

/// What an earlier version asked for.
constexpr std::uint32_t kFormerMode = 0755;

/// What of the top's is the guest's own.
struct GuestsOwn {
  bool owner = false;
  bool mode = false;
  bool times = false;
};

/// The bits that the umask of who made the upper took from its directories, by those that it took from a
/// file of mode 0644 that was made in the same moment.
std::uint32_t umask_by(const struct stat& file) {
  std::uint32_t taken = 0;
  for (const unsigned shift : {0U, 3U}) {
    if ((file.st_mode & (4U << shift)) == 0) taken |= 7U << shift;
  }
  return taken;
}

/// The default ACL that DIR handed down to the top is the host's; one that is not the same is the guest's.
Result<bool> remove_handed_down_acl(const Upper& upper) {
  const Place root{upper.root_fd(), ""};
  LB_ASSIGN(const auto of_top, get_xattr_at({upper.top_fd(), ""}, kDefaultAclXattr));
  LB_ASSIGN(const auto of_root, get_xattr_at(root, kDefaultAclXattr));
  const bool handed_down = of_root.has_value() && of_top == of_root;
  if (handed_down || upper.keeping() == Keeping::kRecorded) LB_TRY(remove_acls_at(root));
  return handed_down;
}

Result<GuestsOwn> find_guests_own(const Upper& upper, const struct stat& st) {
  LB_ASSIGN(const bool had_hosts_acl, remove_handed_down_acl(upper));
  LB_ASSIGN(const auto entries, list_directory(upper.root_fd()));
  GuestsOwn own{.times = !entries.empty()};
  if (upper.keeping() == Keeping::kRecorded) {
    LB_ASSIGN(const auto recorded, get_xattr_at({upper.root_fd(), ""}, kRecordedStatXattr));
    own.owner = own.mode = recorded.has_value();
    return own;
  }
  LB_ASSIGN(const struct stat top, stat_at({upper.top_fd(), ""}));
  LB_ASSIGN(const struct stat file, stat_at({upper.top_fd(), "image"}));
  own.owner = st.st_uid != ::geteuid() || (st.st_gid != ::getegid() && st.st_gid != top.st_gid);
  std::uint32_t mode = st.st_mode & kPermissionBits;
  if ((top.st_mode & S_ISGID) != 0) mode &= ~std::uint32_t{S_ISGID};
  own.mode = !had_hosts_acl && mode != kFormerMode && mode != (kFormerMode & ~umask_by(file));
  return own;
}

Nature root_nature(const Nature& of_image, const Nature& found, const GuestsOwn& own) {
  Nature nature = of_image;
  if (own.owner) {
    nature.uid = found.uid;
    nature.gid = found.gid;
  }
  if (own.mode) nature.mode = found.mode;
  return nature;
}

}  // namespace

Result<void> adopt_image_root(const Upper& upper, const Lower& lower, LowerMetadata& metadata) {
  const Place root{upper.root_fd(), ""};
  const auto origin = marks_of(upper.keeping()).origin;
  LB_ASSIGN(const auto known, get_xattr_at(root, origin));
  if (known) return {};
  LB_ASSIGN(const struct stat st, stat_at(root));
  LB_ASSIGN(const Nature found, nature_at(upper.keeping(), root, st));
  LB_ASSIGN(const GuestsOwn own, find_guests_own(upper, st));
  if (own.times) {
    log_info("an upper directory of an earlier version: its \"/\" gets ",
             own.owner && own.mode ? "attributes"
             : own.owner           ? "mode and attributes"
             : own.mode            ? "owner and attributes"
                                   : "owner, mode and attributes",
             " of the image's");
  }
  LB_TRY(
      set_nature_at(upper.keeping(), root, root_nature(nature_of(lower.tree.node(tree::kRoot)), found, own)));
  LB_TRY(metadata.copy_xattrs(tree::kRoot, root, LowerMetadata::Existing::kKept));
  LB_TRY(set_xattr_at(root, origin, lower.tree.path(tree::kRoot), 0));
  return own.times ? Result<void>() : metadata.copy_times(tree::kRoot, root);
}

}  // namespace layerboot::overlay
