#include "launcher/cli/written_content.h"

#include <algorithm>
#include <optional>
#include <system_error>
#include <vector>

#include "launcher/disk/disk_build.h"
#include "launcher/disk/upper_disk.h"
#include "launcher/kernel/kernel_store.h"
#include "launcher/vm/binfmt_layer.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/store/image.h"
#include "oci-mount/store/reference.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxPathBytes = 4096;

Result<std::string> identity_of_written(const VmPaths& paths, const std::string& vm) {
  auto identity = upper_identity(paths);
  if (identity || identity.error().code != ENOENT) return identity;
  return fail(ENOENT, "VM ", vm, " has not run yet: there is nothing to commit");
}

/// The image that the VM was made from: the one of the name it was run by, or, where that has gone on to
/// another, one of the store that is it.
Result<std::string> image_of_vm(const StateDirs& dirs, const VmRecord& record, const std::string& identity) {
  const auto platform = image_platform(record.run);
  const auto named = supply_image(dirs, record.image, kAsItIs);
  if (named && is_image(dirs, *named, identity, platform)) return *named;
  LB_ASSIGN(auto entries, read_entries(dirs.store()));
  // Of several that have the same layers, the one that had the name.
  if (const auto parsed = store::parse_reference(record.image, dirs)) {
    std::ranges::stable_partition(entries,
                                  [&](const IndexEntry& entry) { return had_one_of(entry, parsed->names); });
  }
  for (const IndexEntry& entry : entries) {
    const std::string by_digest = str_cat("image@", entry.digest);
    if (is_image(dirs, by_digest, identity, platform)) return by_digest;
  }
  if (!named) return std::unexpected(named.error());
  return fail(ENOENT, "the image that VM ", record.name,
              " was made from is not there any more: ", record.image, " is another one now");
}

/// Of a VM that keeps nothing, and whose image's name is another platform's by now: the one that had the
/// name.
std::optional<std::string> former_image(const StateDirs& dirs, const VmRecord& record,
                                        const store::Reference& named) {
  const store::ImageOptions how{.platform = image_platform(record.run)};
  if (store::open_image(record.image, dirs, how)) return {};
  const auto entries = read_entries(dirs.store());
  if (!entries) return {};
  for (const IndexEntry& entry : *entries) {
    if (!had_one_of(entry, named.names)) continue;
    std::string by_digest = str_cat("image@", entry.digest);
    if (store::open_image(by_digest, dirs, how)) return by_digest;
  }
  return {};
}

/// Of the image that the VM's files lie on; an Error where there are none.
Result<std::string> identity_below(const VmPaths& paths, const VmRecord& record) {
  if (!record.run.disk_root) return upper_identity(paths);
  LB_ASSIGN(const std::string base, read_file(paths.root_disk_base(), kMaxPathBytes));
  LB_ASSIGN(const auto identity, image_below_disk(base));
  return identity.text();
}

/// Where what the VM has written can be read.
Result<fs::path> readable_upper(const VmPaths& paths, const VmRecord& record) {
  if (record.run.disk_root)
    return fail(ENOTSUP, "VM ", record.name, " has its root on a disk, of which no layer can be made yet");
  std::error_code ignored;
  if (fs::exists(paths.upper_disk(), ignored)) {
    LB_TRY(settle_upper_disk(paths));
    return paths.upper_disk();
  }
  if (record.run.upper == UpperKind::kRam)
    return fail(ENOTSUP, "VM ", record.name, " keeps what it writes in its memory (--upper ram): it is gone");
  return paths.upper();
}

/// What the VM has had on top of its image, as far as it is still there.
std::vector<fs::path> added_layers(const StateDirs& dirs, const VmPaths& paths, const VmRecord& record) {
  std::vector<fs::path> layers;
  std::error_code ignored;
  if (const auto spec = parse_kernel_spec(record.run.kernel, architecture_of(record.run))) {
    const fs::path directory =
        spec->directory.empty() ? dirs.kernels() / spec->store_name() : spec->directory;
    if (const fs::path modules = directory / "modules.tar"; fs::exists(modules, ignored))
      layers.push_back(modules);
  }
  for (const std::string& name : record.run.binfmt) {
    if (const auto layer = binfmt_layer_path(dirs, name); fs::exists(layer, ignored)) layers.push_back(layer);
  }
  if (fs::exists(paths.layer(), ignored)) layers.push_back(paths.layer());
  return layers;
}

}  // namespace

bool is_image(const StateDirs& dirs, const std::string& reference, const std::string& identity,
              const store::Platform& platform) {
  const auto image = store::open_image(reference, dirs, {.platform = platform});
  return image && image->chain_id.text() == identity;
}

std::string image_to_go_on_from(const StateDirs& dirs, const VmRecord& record) {
  const auto parsed = store::parse_reference(record.image, dirs);
  const auto identity = identity_below(VmPaths(dirs, record.name), record);
  // What it wrote on an image that it has gone on from is nothing any more.
  if (!parsed || !parsed->in_store) return record.image;
  if (!identity) return former_image(dirs, record, *parsed).value_or(record.image);
  if (*identity == record.spent_upper) return record.image;
  return image_of_vm(dirs, record, *identity).value_or(record.image);
}

Result<void> content_below(const StateDirs& dirs, const VmPaths& paths, const VmRecord& record,
                           const std::string& identity, CommitOptions& commit) {
  LB_ASSIGN(commit.image, image_of_vm(dirs, record, identity));
  commit.vm = record.name;
  commit.platform = image_platform(record.run);
  commit.added_layers = added_layers(dirs, paths, record);
  commit.has_password = record.has_password_written();
  if (commit.has_password)
    log_warn(
        "root's password that VM ", record.name,
        " was given by --password is in what it has written, as a hash in /etc/shadow, and goes with it");
  return {};
}

Result<std::string> written_content(const StateDirs& dirs, const VmDirectory& directory,
                                    CommitOptions& commit) {
  const VmPaths& paths = directory.paths();
  LB_ASSIGN(const VmRecord record, load_vm_record(paths));
  LB_ASSIGN(commit.upper, readable_upper(paths, record));
  LB_ASSIGN(const std::string identity, identity_of_written(paths, record.name));
  LB_TRY(content_below(dirs, paths, record, identity, commit));
  return identity;
}

}  // namespace layerboot::launcher
