#include "vfsd/daemon/capabilities.h"

#include <sys/capability.h>

#include <array>
#include <memory>
#include <span>
#include <type_traits>

namespace layerboot::vfsd {

namespace {

constexpr std::array<cap_value_t, 7> kUpperCapabilities{
    CAP_CHOWN,         // files belong to the guest's users
    CAP_DAC_OVERRIDE,  // and are written whatever their mode: the guest's kernel has judged that
    CAP_FOWNER,        // chmod, utimes, O_NOATIME and links of files of others
    CAP_FSETID,        // set-id bits stay when the guest wants them to
    CAP_MKNOD,         // whiteouts, and the guest's device nodes
    CAP_SETFCAP,       // security.capability, which dpkg and tar set
    CAP_SYS_ADMIN,     // trusted.* xattrs, the marks of overlayfs's format; nothing else is asked of it
};
/// Files are the daemon's own, unless somebody else has made the upper.
constexpr std::array<cap_value_t, 2> kRecordedUpperCapabilities{CAP_DAC_OVERRIDE, CAP_FOWNER};
constexpr std::array<cap_value_t, 8> kOpeningCapabilities{CAP_CHOWN,   CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH,
                                                          CAP_FOWNER,  CAP_FSETID,       CAP_MKNOD,
                                                          CAP_SETFCAP, CAP_SYS_ADMIN};
/// As an upper's, but for what only its marks, device nodes and capabilities of files take. CAP_FSETID is not
/// there, so that the host takes set-id bits off what the guest writes to.
constexpr std::array<cap_value_t, 5> kShareCapabilities{
    CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER,
    CAP_SETUID,  // what the guest's users make is theirs from the first moment: setfsuid(2), setfsgid(2)
    CAP_SETGID};
constexpr std::array<cap_value_t, 7> kOpeningShareCapabilities{
    CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_SETUID, CAP_SETGID, CAP_DAC_READ_SEARCH, CAP_SYS_ADMIN};
constexpr std::array<cap_value_t, 1> kReadCapabilities{CAP_DAC_READ_SEARCH};
constexpr std::array<cap_value_t, 1> kMountCapabilities{CAP_SYS_ADMIN};
constexpr std::array<cap_value_t, 1> kRemoveCapabilities{CAP_DAC_OVERRIDE};

std::span<const cap_value_t> capabilities_of(Rights rights) {
  switch (rights) {
    case Rights::kNone:
      break;
    case Rights::kMountOnly:
      return kMountCapabilities;
    case Rights::kOpening:
      return kOpeningCapabilities;
    case Rights::kOpeningShare:
      return kOpeningShareCapabilities;
    case Rights::kReadFiles:
      return kReadCapabilities;
    case Rights::kUpper:
      return kUpperCapabilities;
    case Rights::kRecordedUpper:
      return kRecordedUpperCapabilities;
    case Rights::kShare:
      return kShareCapabilities;
    case Rights::kRemoveFiles:
      return kRemoveCapabilities;
  }
  return {};
}

using Capabilities = std::unique_ptr<std::remove_pointer_t<cap_t>, int (*)(void*)>;

bool contains(std::span<const cap_value_t> list, cap_value_t wanted) {
  for (const auto value : list) {
    if (value == wanted) return true;
  }
  return false;
}

bool permitted(const Capabilities& capabilities, cap_value_t value) {
  cap_flag_value_t has = CAP_CLEAR;
  return ::cap_get_flag(capabilities.get(), value, CAP_PERMITTED, &has) == 0 && has == CAP_SET;
}

}  // namespace

Result<void> keep_only(Rights rights) {
  const auto kept = capabilities_of(rights);
  const Capabilities before(::cap_get_proc(), &::cap_free);
  const Capabilities after(::cap_init(), &::cap_free);
  if (!before || !after) return errno_error("capabilities");
  const bool can_drop_bound = permitted(before, CAP_SETPCAP);  // without, no_new_privs alone must do
  for (cap_value_t value = 0; value < ::cap_max_bits(); ++value) {
    if (!contains(kept, value)) {
      if (can_drop_bound) ::cap_drop_bound(value);
    } else if (permitted(before, value)) {
      ::cap_set_flag(after.get(), CAP_PERMITTED, 1, &value, CAP_SET);
      ::cap_set_flag(after.get(), CAP_EFFECTIVE, 1, &value, CAP_SET);
    }
  }
  if (::cap_set_proc(after.get()) != 0) return errno_error("cannot give up capabilities");
  return {};
}

}  // namespace layerboot::vfsd
