// Seeing to it that an image is there before something is made of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "launcher/images/store_index.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// When a name's image is fetched, as Docker has it.
enum class PullPolicy : std::uint8_t { kMissing, kAlways, kNever };

struct SupplyOptions {
  PullPolicy policy = PullPolicy::kMissing;
  bool tls_verify = true;
  bool show_progress = true;
  std::string platform = {};  // "linux/arm64"; empty: this machine's
};

/// What open_image() takes for `reference`, and is there: a name is looked for in the local store, then among
/// the images made on this machine (DATA/images/NAME), and fetched, with progress, where `options` say so.
/// The store's that is not whole is repaired, by its digests, where it came from its name's registry; else
/// that is an error, as by that name a stranger's may be there. `docker-daemon:NAME` and
/// `containers-storage:NAME` are taken into the store in the same way. Where the store has it for another
/// platform than the one that is asked for, it is fetched for that, as if it were missing. Any other notation
/// comes back as it is. An error names what was meant by a path or a URL, or the images that have nearly such
/// a name.
Result<std::string> supply_image(const StateDirs& dirs, const std::string& reference,
                                 const SupplyOptions& options);

/// What supply_image() gives for the name of an image without fetching anything; nothing where it would
/// fetch, and for any other notation. An error for one that is not whole.
Result<std::optional<std::string>> image_that_is_there(const StateDirs& dirs, const std::string& reference,
                                                       const SupplyOptions& options);

/// The entries of the store that `reference` may mean, best first: by its name, by "NAME@DIGEST", or by the
/// beginning of a digest (at least kMinDigestDigits of it, with or without "sha256:"). Empty: none.
Result<std::vector<IndexEntry>> find_entries(const StateDirs& dirs, const std::string& reference);
inline constexpr std::size_t kMinDigestDigits = 6;

/// The one image of the store that `reference` means. ENOENT if none; EINVAL where several images' digests
/// begin so.
Result<IndexEntry> one_entry(const StateDirs& dirs, const std::string& reference);

/// ENOENT, for a name that the store does not have, with the near ones.
Error no_such_image(const StateDirs& dirs, const std::string& reference);

}  // namespace layerboot::launcher
