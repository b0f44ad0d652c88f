#include "launcher/cli/store_commands.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "launcher/images/store_gc.h"
#include "launcher/images/store_index.h"
#include "oci-mount/base/progress.h"
#include "oci-mount/store/lease.h"
#include "oci-mount/store/reference.h"

namespace layerboot::launcher {

namespace {

constexpr std::size_t kShortDigest = 19;  // "sha256:" and 12 digits

/// The name, of those that `reference` may mean, under which the store has an image; "" if none.
Result<std::string> stored_name(const StateDirs& dirs, const StoreContents& contents,
                                const std::string& reference) {
  LB_ASSIGN(const auto parsed, store::parse_reference(reference, dirs));
  if (!parsed.in_store) return std::string();
  for (const std::string& name : parsed.names) {
    if (std::ranges::find(contents.images(), name, &StoredImage::name) != contents.images().end())
      return name;
  }
  return std::string();
}

/// Whether somebody reads the image called `name`, and no other name in the store leads to it.
Result<bool> is_read_by_a_process(const std::filesystem::path& store, const StoreContents& contents,
                                  const std::string& name) {
  for (const StoredImage& image : contents.images()) {
    if (image.name != name) continue;
    for (const std::string& blob : image.blobs) {
      const bool shared = std::ranges::any_of(contents.images(), [&](const StoredImage& other) {
        return other.name != name && std::ranges::binary_search(other.blobs, blob);
      });
      if (shared) continue;
      LB_ASSIGN(const auto digest, store::Digest::parse(blob));
      LB_ASSIGN(const bool leased, store::is_leased(blob_path(store, digest)));
      if (leased) return true;
    }
  }
  return false;
}

std::string images_json(const StoreContents& contents) {
  nlohmann::json list = nlohmann::json::array();
  for (const StoredImage& image : contents.images()) {
    list.push_back({{"name", image.name},
                    {"digest", image.digest},
                    {"size_bytes", image.size_bytes},
                    {"layers", image.layer_count}});
  }
  return list.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace

Result<void> pull(const StateDirs& dirs, const PullOptions& options) {
  LB_ASSIGN(const std::string name, pull_image(dirs.store(), options));
  std::printf("%s\n", name.c_str());
  return {};
}

Result<void> list_images(const StateDirs& dirs, bool json, bool names_only) {
  LB_ASSIGN(const StoreContents contents, StoreContents::read(dirs.store()));
  if (names_only) {
    for (const StoredImage& image : contents.images()) std::printf("%s\n", image.name.c_str());
    return {};
  }
  if (json) {
    std::fputs(images_json(contents).c_str(), stdout);
    return {};
  }
  std::printf("%-48s %-20s %6s %10s\n", "IMAGE", "DIGEST", "LAYERS", "SIZE");
  for (const StoredImage& image : contents.images()) {
    std::printf("%-48s %-20s %6zu %10s\n", image.name.c_str(), image.digest.substr(0, kShortDigest).c_str(),
                image.layer_count, human_size(image.size_bytes).c_str());
  }
  return {};
}

Result<void> remove_image(const StateDirs& dirs, const std::string& reference) {
  LB_ASSIGN(const StoreLock lock, StoreLock::acquire(dirs.store()));
  LB_ASSIGN(const StoreContents contents, StoreContents::read(dirs.store()));
  LB_ASSIGN(const std::string name, stored_name(dirs, contents, reference));
  if (name.empty()) {
    return fail(ENOENT, "no image \"", reference, "\" in the local store ", dirs.store().string(),
                ": layerboot images lists what is there");
  }
  LB_ASSIGN(const auto used, images_of_vms(dirs));
  for (const auto& [used_reference, vm] : used) {
    const auto used_name = stored_name(dirs, contents, used_reference);
    if (used_name && *used_name == name) {
      return fail(EBUSY, "image ", name, " is in use by VM ", vm, ": remove ", (dirs.vms() / vm).string(),
                  " first");
    }
  }
  LB_ASSIGN(const bool read_now, is_read_by_a_process(dirs.store(), contents, name));
  if (read_now) {
    return fail(EBUSY, "image ", name,
                " is being read by a process: end the mount or the daemon that serves it first");
  }
  LB_TRY(forget_images(dirs.store(), {name}));
  std::printf("%s\n", name.c_str());
  return {};
}

Result<void> clean_up(const StateDirs& dirs) {
  LB_ASSIGN(const StoreLock lock, StoreLock::acquire(dirs.store()));
  LB_ASSIGN(const GcReport report, collect_garbage(dirs));
  std::printf("removed %zu blobs and %zu indexes, %zu disks, %s\n", report.blobs, report.indexes,
              report.disks, human_size(report.freed_bytes).c_str());
  return {};
}

}  // namespace layerboot::launcher
