#include "launcher/disk/disk_build.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <system_error>

#include "launcher/disk/disk_fill.h"
#include "launcher/disk/disk_size.h"
#include "launcher/disk/make_whole.h"
#include "launcher/host/image_mount.h"
#include "launcher/host/run_tool.h"
#include "launcher/host/staging_directory.h"
#include "oci-mount/base/absolute_path.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/mapping.h"
#include "oci-mount/base/progress.h"
#include "oci-mount/base/size.h"
#include "oci-mount/store/image.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

/// Part of a kept disk's name: another way of making them gives others.
constexpr std::string_view kDiskFormat = "ext4-2";
constexpr const char* kDiskFile = "disk.raw";

Result<std::uint64_t> size_for(const DiskPlan& plan, const TreeSize& tree) {
  const std::uint64_t needed = (smallest_disk_bytes(tree) + kMib - 1) / kMib * kMib;
  if (plan.size_bytes == 0) return needed;
  if (plan.size_bytes >= needed) return plan.size_bytes / 4096 * 4096;
  return fail(ENOSPC, plan.what, ": its ", tree.inodes, " files need ", needed / kMib, "M, and ",
              plan.size_bytes / kMib, "M were asked for: give a larger --size");
}

/// An empty file system, in a file that is a hole but for it.
Result<void> make_ext4(const DiskPlan& plan, const TreeSize& size, std::uint64_t disk_bytes,
                       const fs::path& out) {
  {
    LB_ASSIGN(const UniqueFd file, open_path(out, O_WRONLY | O_CREAT | O_EXCL, 0600));
    if (::ftruncate(file.get(), static_cast<off_t>(disk_bytes)) != 0)
      return errno_error("cannot make ", out.string(), " of ", disk_bytes, " bytes");
  }
  // No lazy initialisation: a guest would do it in the background. No reserve: the host's cap is the disk's
  // size.
  const auto made = run_tool({"mkfs.ext4", "-q", "-F", "-b", "4096", "-I", "256", "-m", "0", "-L",
                              std::string(plan.label), "-N", str_cat(inodes_for(size, disk_bytes)), "-E",
                              "lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0", out.string()});
  if (!made) {
    if (made.error().code == ENOENT) return fail(ENOENT, "mkfs.ext4 is not installed: apt install e2fsprogs");
    return while_doing(made.error(), "cannot make the ", plan.what);
  }
  return {};
}

/// The kept disk in `target`, made by `plan` when it is not there.
Result<fs::path> kept_disk(const DiskPlan& plan, const fs::path& target) {
  std::error_code ignored;
  if (fs::exists(target / kDiskFile, ignored)) return target / kDiskFile;
  const InterruptScope interrupts;
  LB_ASSIGN(StagingDirectory staging, StagingDirectory::create(target));
  const fs::path made = staging.path() / "disk";
  LB_TRY(make_directories(made, 0700));
  LB_TRY(build_disk(plan, staging.path(), made / kDiskFile));
  // Never written to again, by no one.
  fs::permissions(made / kDiskFile, fs::perms::owner_read, ignored);
  LB_TRY(staging.commit(made));
  return target / kDiskFile;
}

Result<std::string> content_hash(const fs::path& path) {
  LB_ASSIGN(const UniqueFd file, open_path(path, O_RDONLY));
  LB_ASSIGN(const Mapping mapping, Mapping::read_only(file.get()));
  const auto bytes = mapping.bytes();
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  char text[33];
  std::snprintf(text, sizeof(text), "%016llx%016llx", static_cast<unsigned long long>(hash.high64),
                static_cast<unsigned long long>(hash.low64));
  return std::string(text);
}

}  // namespace

Result<void> build_disk(const DiskPlan& plan, const fs::path& work, const fs::path& out) {
  const fs::path tree = work / "tree";
  LB_TRY(make_directories(tree, 0700));
  LB_ASSIGN(const ImageMount mount, ImageMount::mount({.oci_mount = plan.oci_mount,
                                                       .image = plan.image,
                                                       .platform = store::platform_text(plan.platform),
                                                       .added_layers = plan.added_layers,
                                                       .mountpoint = tree,
                                                       .show_progress = plan.show_progress}));
  const auto size = measure_tree(tree);
  if (!size) return while_doing(size.error(), plan.what);
  LB_ASSIGN(const std::uint64_t disk_bytes, size_for(plan, *size));
  LB_TRY(make_ext4(plan, *size, disk_bytes, out));
  std::optional<Progress> progress;
  if (plan.show_progress) progress.emplace(plan.what, size->data_bytes);
  const auto filled = fill_disk(tree, out, [&](std::uint64_t done_bytes) {
    if (progress) progress->update(std::min(done_bytes, size->data_bytes));
  });
  if (!filled && filled.error().code != EINTR)
    return while_doing(filled.error(), "cannot make the ", plan.what);
  return filled;
}

Result<fs::path> base_disk_path(const StateDirs& dirs, const DiskPlan& plan) {
  LB_ASSIGN(const store::Image image, store::open_image(plan.image, dirs, {.platform = plan.platform}));
  for (const store::ImageLayer& layer : image.layers) {
    if (layer.is_directory)
      return fail(EINVAL, plan.image,
                  ": a directory changes, so no disk of it can be kept; layerboot disk makes one");
  }
  return disks_directory(dirs) /
         str_cat(image.chain_id.file_name(), "-", plan.size_bytes / kMib, "M-", kDiskFormat) / kDiskFile;
}

Result<store::Digest> image_below_disk(const fs::path& base) {
  std::string name = base.parent_path().filename().string();
  const auto algorithm_end = name.find('-');
  if (algorithm_end == std::string::npos) return fail(EINVAL, base.string(), " is no disk of an image");
  name.resize(std::min(name.size(), name.find('-', algorithm_end + 1)));
  name[algorithm_end] = ':';
  return store::Digest::parse(name);
}

Result<fs::path> base_disk(const StateDirs& dirs, const DiskPlan& plan) {
  LB_ASSIGN(const fs::path path, base_disk_path(dirs, plan));
  return kept_disk(plan, path.parent_path());
}

Result<fs::path> modules_disk(const StateDirs& dirs, const fs::path& oci_mount, const fs::path& modules_tar,
                              const std::string& release) {
  LB_ASSIGN(const std::string hash, content_hash(modules_tar));
  // An image of nothing, to put the layer on.
  const fs::path nothing = disks_directory(dirs) / "nothing";
  LB_TRY(make_directories(nothing));
  return kept_disk({.oci_mount = oci_mount,
                    .image = str_cat("dir:", nothing.string()),
                    .added_layers = {modules_tar},
                    .size_bytes = 0,
                    .label = kModulesDiskLabel,
                    .what = str_cat("disk with the modules of ", release)},
                   disks_directory(dirs) / str_cat("modules-", release, "-", hash, "-", kDiskFormat));
}

Result<void> copy_disk(const fs::path& base, const fs::path& copy) {
  return make_whole(copy, [&](const fs::path& part) {
    return run_tool(
        {"cp", "--reflink=auto", "--sparse=always", "--no-preserve=mode", base.string(), part.string()});
  });
}

Result<void> make_overlay(const fs::path& base, const fs::path& overlay) {
  LB_ASSIGN(const fs::path whole_base, absolute_path(base));
  auto made = make_whole(overlay, [&](const fs::path& part) {
    return run_tool(
        {"qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", whole_base.string(), part.string()});
  });
  if (!made && made.error().code == ENOENT)
    return fail(ENOENT, "qemu-img is not installed: apt install qemu-utils");
  return made;
}

}  // namespace layerboot::launcher
