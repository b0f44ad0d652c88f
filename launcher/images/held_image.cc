#include "launcher/images/held_image.h"

#include "launcher/images/image_supply.h"
#include "oci-mount/base/files.h"
#include "oci-mount/store/digest.h"

namespace layerboot::launcher {

Result<HeldImage> hold_image(const StateDirs& dirs, const std::string& reference) {
  HeldImage held;
  LB_ASSIGN(held.entry, one_entry(dirs, reference));
  const StoredImage image = look_at_image(dirs.store(), held.entry);
  if (image.state == ImageState::kIncomplete)
    return fail(ENOENT, "image ", reference, " of the local store is not whole (", image.problem,
                "): layerboot verify --repair fetches what is missing");
  LB_ASSIGN(const auto digest, store::Digest::parse(held.entry.digest));
  LB_ASSIGN(held.lease, store::take_lease(blob_path(dirs.store(), digest)));
  LB_ASSIGN(held.descriptor, find_descriptor(dirs.store(), held.entry));
  return held;
}

Result<void> write_layout_of(const std::filesystem::path& layout, const HeldImage& image) {
  LB_TRY(make_directories(layout));
  IndexEntry entry = image.entry;
  entry.name = kHeldName;
  return put_entry(layout, image.descriptor, entry);
}

}  // namespace layerboot::launcher
