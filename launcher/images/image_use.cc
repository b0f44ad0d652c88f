#include "launcher/images/image_use.h"

#include <algorithm>

#include "launcher/images/image_supply.h"
#include "launcher/images/store_gc.h"
#include "oci-mount/store/lease.h"
#include "oci-mount/store/reference.h"

namespace layerboot::launcher {

Result<ImageUse> ImageUse::look(const StateDirs& dirs) {
  ImageUse use;
  LB_ASSIGN(const auto images, images_of_vms(dirs));
  LB_ASSIGN(const auto all, read_entries(dirs.store()));
  for (const auto& [reference, vms] : images) {
    LB_ASSIGN(auto entries, find_entries(dirs, reference));
    if (!entries.empty()) use.used_.push_back({std::move(entries.front()), vms});
    // What the VM has written may lie on an image that another one has taken the name of
    // (image_to_go_on_from).
    const auto parsed = store::parse_reference(reference, dirs);
    if (!parsed) continue;
    for (const IndexEntry& entry : all) {
      if (entry.name.empty() && had_one_of(entry, parsed->names)) use.used_.push_back({entry, vms});
    }
  }
  return use;
}

std::vector<std::string> ImageUse::vms_of(const IndexEntry& entry) const {
  std::vector<std::string> vms;
  for (const Used& used : used_) {
    if (used.entry.name == entry.name && used.entry.digest == entry.digest)
      vms.insert(vms.end(), used.vms.begin(), used.vms.end());
  }
  std::ranges::sort(vms);
  return vms;
}

Result<bool> is_read_by_a_process(const std::filesystem::path& store, const StoredImage& image) {
  for (const std::string& blob : image.blobs) {
    LB_ASSIGN(const auto digest, store::Digest::parse(blob));
    LB_ASSIGN(const bool leased, store::is_leased(blob_path(store, digest)));
    if (leased) return true;
  }
  return false;
}

}  // namespace layerboot::launcher
