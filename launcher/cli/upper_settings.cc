#include "launcher/cli/upper_settings.h"

#include "launcher/disk/upper_disk.h"

namespace layerboot::launcher {

Result<Options> with_upper(const VmDirectory& directory, const Options& options) {
  Options settled = options;
  if (!options.image.empty()) LB_TRY(check_root_kind(directory.paths(), options.name, options.disk_root));
  // There, what the guest writes is the disk's, or the foreign daemon's.
  if (options.disk_root || options.image.empty()) return settled;
  LB_ASSIGN(const VmRecord record, directory.load_record());
  LB_ASSIGN(settled.upper, choose_upper(directory.paths(), record, options.upper_choice, options.ephemeral));
  LB_TRY(check_upper(settled));
  return settled;
}

}  // namespace layerboot::launcher
