#include "launcher/cli/disk_command.h"

#include <unistd.h>

#include <system_error>

#include "launcher/cli/store_commands.h"
#include "launcher/host/programs.h"
#include "launcher/host/run_tool.h"
#include "launcher/host/staging_directory.h"
#include "oci-mount/base/absolute_path.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/store/image.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

Result<bool> is_directory_image(const StateDirs& dirs, const DiskPlan& plan) {
  LB_ASSIGN(const store::Image image, store::open_image(plan.image, dirs, {.platform = plan.platform}));
  for (const auto& layer : image.layers) {
    if (layer.is_directory) return true;
  }
  return false;
}

Result<void> write_in_format(const fs::path& raw, DiskFormat format, const fs::path& out) {
  if (format == DiskFormat::kRaw) {
    return copy_disk(raw, out);
  }
  return as_qcow2(raw, out, false);
}

}  // namespace

Result<void> as_qcow2(const fs::path& raw, const fs::path& out, bool compressed) {
  std::vector<std::string> argv = {"qemu-img", "convert"};
  if (compressed) argv.emplace_back("-c");
  argv.insert(argv.end(), {"-f", "raw", "-O", "qcow2", raw.string(), out.string()});
  auto converted = run_tool(std::move(argv));
  if (converted) return {};
  if (converted.error().code == ENOENT)
    return fail(ENOENT, "qemu-img is not installed: apt install qemu-utils");
  return std::unexpected(converted.error());
}

Result<DiskPlan> disk_plan(const Options& options, std::uint64_t size_bytes) {
  DiskPlan plan;
  LB_ASSIGN(plan.oci_mount, find_oci_mount(options.oci_mount));
  plan.image = options.image;
  plan.platform = image_platform(options);
  plan.size_bytes = size_bytes;
  plan.what = str_cat("disk of ", options.image);
  plan.show_progress = options.log_level >= LogLevel::kInfo;
  return plan;
}

Result<void> make_disk(const StateDirs& dirs, const Options& given) {
  Options options = given;
  LB_ASSIGN(const fs::path out, normal_absolute_path(options.output));
  std::error_code ignored;
  if (fs::exists(fs::symlink_status(out, ignored)))
    return fail(EEXIST, out.string(), " is there already: remove it, or name another file");
  if (!fs::is_directory(out.parent_path(), ignored))
    return fail(ENOENT, out.parent_path().string(), " is not a directory");
  LB_ASSIGN(options.image, supply_image(dirs, given.image, supply_options(given)));
  LB_ASSIGN(const DiskPlan plan, disk_plan(options, options.disk_bytes));
  LB_ASSIGN(const bool directory, is_directory_image(dirs, plan));
  const InterruptScope interrupts;
  LB_ASSIGN(StagingDirectory staging, StagingDirectory::create(out));
  fs::path raw = staging.path() / "disk.raw";
  if (directory) {
    LB_TRY(build_disk(plan, staging.path(), raw));
  } else {
    LB_ASSIGN(raw, base_disk(dirs, plan));
  }
  const fs::path made = staging.path() / "made";
  LB_TRY(write_in_format(raw, options.disk_output_format.value_or(DiskFormat::kRaw), made));
  LB_ASSIGN(const UniqueFd file, open_path(made, O_RDONLY));
  if (::fsync(file.get()) != 0) return errno_error("cannot sync ", made.string());
  LB_TRY(rename_durably(made, out));
  log_info(out.string(), ": ", plan.what, ", labelled ", plan.label);
  return {};
}

}  // namespace layerboot::launcher
