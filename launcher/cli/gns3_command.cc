#include "launcher/cli/gns3_command.h"

#include <sys/stat.h>
#include <unistd.h>

#include <optional>
#include <span>
#include <system_error>
#include <vector>

#include "launcher/cli/disk_command.h"
#include "launcher/cli/store_commands.h"
#include "launcher/cli/written_content.h"
#include "launcher/export/gns3_appliance.h"
#include "launcher/host/architecture.h"
#include "launcher/host/programs.h"
#include "launcher/host/put_in_place.h"
#include "launcher/host/run_tool.h"
#include "launcher/host/staging_directory.h"
#include "launcher/kernel/appliance_initrd.h"
#include "launcher/kernel/kernel_choice.h"
#include "launcher/vm/image_workload.h"
#include "launcher/vm/vm_directory.h"
#include "launcher/vm/vm_layer.h"
#include "oci-mount/base/absolute_path.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/mapping.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/store/digest.h"
#include "oci-mount/store/image.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxKernelBytes = std::size_t{256} << 20;

/// Where the appliance is made, and what goes from there to `out` once all of it is made.
struct Workshop {
  const StateDirs& dirs;
  const Options& options;
  fs::path work;  // on the file system of `out`
  fs::path out;
  std::vector<MadeFile> made;     // in `work`
  std::vector<fs::path> written;  // of a VM: what it wrote, as a layer
};

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

/// By md5sum(1): the sum is GNS3's wish, and nothing rests on it.
Result<ApplianceFile> described(const fs::path& file, std::string filename) {
  LB_ASSIGN(const std::string line, run_tool({"md5sum", "--", file.string()}));
  constexpr std::size_t kHexBytes = 32;
  // A line begins with a '\' where the name has odd characters.
  const std::size_t at = line.starts_with('\\') ? 1 : 0;
  if (line.size() < at + kHexBytes) return fail(EPROTO, "md5sum does not give a sum of ", file.string());
  std::error_code code;
  const std::uint64_t size_bytes = fs::file_size(file, code);
  if (code) return fail(code.value(), file.string());
  return ApplianceFile{
      .filename = std::move(filename), .md5 = line.substr(at, kHexBytes), .size_bytes = size_bytes};
}

enum class Kept {
  kForAll,   // what all appliances share, whatever becomes of this one
  kForThis,  // goes again where this appliance does not come about
};

/// A file made under a name that its bytes have told. One that is there already need not be what its name
/// says: that is looked at now, and again at the end, when all else is made.
Result<ApplianceFile> add_file(Workshop& shop, std::string name, Kept kept) {
  const bool there = is_there(shop.out / name);
  if (there) LB_TRY(check_same_file(shop.out / name, shop.work / name));
  LB_ASSIGN(ApplianceFile file, described(shop.work / name, name));
  shop.made.push_back({.name = std::move(name), .shared = there || kept == Kept::kForAll});
  return file;
}

Result<std::string> telling_name(std::string_view before, std::span<const std::byte> bytes,
                                 std::string_view after) {
  constexpr std::size_t kTellingDigits = 12;
  LB_ASSIGN(const auto digest, store::digest_of(store::HashAlgorithm::kSha256, bytes));
  return str_cat(before, digest.hex().substr(0, kTellingDigits), after);
}

Result<ApplianceFile> share_bytes(Workshop& shop, std::string_view bytes, std::string_view before,
                                  std::string_view after) {
  LB_ASSIGN(std::string name, telling_name(before, as_bytes(bytes), after));
  LB_TRY(write_whole_file(shop.work / name, bytes));
  return add_file(shop, std::move(name), Kept::kForAll);
}

/// By the bytes of the file: a qcow2 of the same content need not be the same everywhere.
Result<ApplianceFile> add_disk(Workshop& shop, const fs::path& raw, std::string_view before, Kept kept) {
  const fs::path made = shop.work / "made.qcow2";
  LB_TRY(as_qcow2(raw, made, true));
  LB_ASSIGN(const UniqueFd file, open_path(made, O_RDONLY));
  LB_ASSIGN(const Mapping mapping, Mapping::read_only(file.get()));
  LB_ASSIGN(std::string name, telling_name(before, mapping.bytes(), ".qcow2"));
  LB_TRY(rename_durably(made, shop.work / name));
  return add_file(shop, std::move(name), kept);
}

Result<void> add_kernel(Workshop& shop, const Kernel& kernel, Gns3Appliance& appliance) {
  LB_ASSIGN(const std::string image, read_file(kernel.vmlinuz, kMaxKernelBytes));
  LB_TRY(check_bzimage(image));
  LB_ASSIGN(appliance.kernel,
            share_bytes(shop, image, str_cat("layerboot-vmlinuz-", kernel.release, "-"), ""));
  const fs::path unpacked = shop.work / "modules";
  LB_TRY(make_directories(unpacked));
  LB_ASSIGN(const fs::path guest_init, find_guest_init(shop.options.guest_init));
  LB_ASSIGN(const std::string initrd, appliance_initrd(kernel, guest_init, unpacked));
  LB_ASSIGN(appliance.initrd,
            share_bytes(shop, initrd, str_cat("layerboot-initrd-", kernel.release, "-"), ".img"));
  if (kernel.modules_tar.empty()) return {};
  LB_ASSIGN(const DiskPlan plan, disk_plan(shop.options, 0));
  LB_ASSIGN(const fs::path raw, modules_disk(shop.dirs, plan.oci_mount, kernel.modules_tar, kernel.release));
  LB_ASSIGN(appliance.modules,
            add_disk(shop, raw, str_cat("layerboot-modules-", kernel.release, "-"), Kept::kForAll));
  return {};
}

/// What makes the image at home in a machine, of any name.
Result<fs::path> machine_layer(const Workshop& shop, const Kernel& kernel, const Gns3Appliance& appliance) {
  VmConfig config;
  config.name = appliance.name;
  config.image = shop.options.image;
  config.disk_root = true;
  config.kernel_release = kernel.release;
  config.net = Net::kNone;  // the launcher's own unit is for all cards
  std::vector<LayerFile> files;
  if (appliance.dhcp) files.push_back({.path = std::string(kNetworkUnitPath), .content = kGns3NetworkUnit});
  LB_ASSIGN(config.workload, image_workload(shop.dirs, shop.options.image, image_platform(shop.options)));
  const fs::path layer = shop.work / "layer.tar";
  LB_TRY(write_vm_layer(config, layer, files));
  return layer;
}

Result<void> add_root(Workshop& shop, const Kernel& kernel, Gns3Appliance& appliance) {
  LB_ASSIGN(DiskPlan plan, disk_plan(shop.options, shop.options.disk_bytes));
  LB_ASSIGN(const fs::path layer, machine_layer(shop, kernel, appliance));
  plan.added_layers = shop.written;
  plan.added_layers.push_back(layer);
  const fs::path mounted = shop.work / "root";
  LB_TRY(make_directories(mounted));
  const fs::path raw = shop.work / "root.raw";
  LB_TRY(build_disk(plan, mounted, raw));
  // Never the name of an older one: nodes that are linked clones of that are lost once it changes.
  LB_ASSIGN(appliance.root, add_disk(shop, raw, appliance.name + "-", Kept::kForThis));
  return {};
}

/// "12" of "debian:12"; a version has to have a name.
std::string version_of(std::string_view image) {
  const auto colon = image.rfind(':');
  const auto tag = colon == std::string_view::npos ? std::string_view() : image.substr(colon + 1);
  return tag.empty() || tag.find('/') != std::string_view::npos ? "latest" : std::string(tag);
}

/// The VM of that name, kept from running meanwhile; none where there is none.
Result<std::optional<VmDirectory>> vm_of_name(const StateDirs& dirs, const std::string& name) {
  if (!check_name(name)) return std::nullopt;
  auto directory = VmDirectory::open_existing(dirs, name);
  if (directory) {
    log_info("VM ", name, ": with what it wrote");
    return std::optional(*std::move(directory));
  }
  if (directory.error().code == ENOENT) return std::nullopt;
  if (directory.error().code == EBUSY)
    return fail(EBUSY, "VM ", name, " is running: stop it first (layerboot stop ", name, ")");
  return std::unexpected(directory.error());
}

/// What is one machine's own (machine-id, ssh's host keys) stays out: there may be many nodes.
Result<void> add_written(Workshop& shop, CommitOptions content) {
  LB_ASSIGN(content.oci_mount, find_oci_mount(shop.options.oci_mount));
  content.compression = "none";
  content.show_progress = shop.options.log_level >= LogLevel::kInfo;
  const fs::path layer = shop.work / "written.tar";
  const auto written = write_written_layer(shop.dirs, content, layer);
  if (!written) return while_doing(written.error(), "cannot read what VM ", content.vm, " wrote");
  shop.written.push_back(layer);
  return {};
}

Result<void> check_platform(const store::Platform& platform, std::string_view whose) {
  const auto machine = architecture_for(platform);
  if (machine && (*machine)->name == "amd64") return {};
  return fail(ENOTSUP, whose, " is for ", printable(store::platform_text(platform)),
              ": an appliance is made for x86-64 alone");
}

/// The image, fetched if need be, and that such a machine runs it: --platform, which others advise, is no
/// option of ours.
Result<std::string> image_for_machine(const StateDirs& dirs, const Options& options) {
  auto reference = supply_image(dirs, options.image, supply_options(options));
  if (!reference) {
    if (reference.error().code != ENOTSUP) return reference;
    return while_doing(reference.error(), "an appliance is made for x86-64 alone");
  }
  const auto opened = store::open_image(*reference, dirs);
  if (opened) return reference;
  const auto other = store::open_image(*reference, dirs, {.or_other = true});
  if (other) LB_TRY(check_platform(other->config.platform, str_cat("image ", options.image)));
  return std::unexpected(opened.error());
}

Gns3Appliance appliance_for(const Options& options, std::string_view given_image) {
  Gns3Appliance appliance;
  static_cast<Gns3Machine&>(appliance) = options.gns3;
  appliance.name = options.name;
  appliance.image = given_image;
  appliance.version = version_of(given_image);
  return appliance;
}

/// The directory for the files. What of its path was made here goes again when this does, where nothing is in
/// it.
class OutputDirectory {
 public:
  explicit OutputDirectory(const fs::path& path) {
    for (fs::path part = path; !part.empty() && !is_there(part); part = part.parent_path())
      made_.push_back(part);
  }
  OutputDirectory(const OutputDirectory&) = delete;
  OutputDirectory& operator=(const OutputDirectory&) = delete;
  ~OutputDirectory() {
    for (const fs::path& part : made_) ::rmdir(part.c_str());
  }

 private:
  std::vector<fs::path> made_;  // the innermost first
};

}  // namespace

Result<void> export_gns3(const StateDirs& dirs, const Options& given) {
  Options options = given;
  LB_ASSIGN(const fs::path out, normal_absolute_path(options.output));
  const fs::path description = out / (options.name + ".gns3a");
  if (is_there(description))
    return fail(EEXIST, description.string(), " is there already: remove it, or give another --name");
  LB_ASSIGN(const auto vm, vm_of_name(dirs, given.image));
  CommitOptions content;
  if (vm) {
    LB_TRY(written_content(dirs, *vm, content));
    LB_TRY(check_platform(content.platform, str_cat("VM ", given.image)));
    options.image = content.image;
    options.platform = store::platform_text(content.platform);
  } else {
    LB_ASSIGN(options.image, image_for_machine(dirs, given));
  }
  LB_ASSIGN(const Kernel kernel, kernel_for(dirs, options.kernel, options.guest_init));
  const InterruptScope interrupts;
  const OutputDirectory output(out);
  LB_TRY(make_directories(out));
  LB_ASSIGN(const StagingDirectory staging, StagingDirectory::create(out / "making"));
  Workshop shop{
      .dirs = dirs, .options = options, .work = staging.path(), .out = out, .made = {}, .written = {}};
  if (vm) LB_TRY(add_written(shop, content));
  Gns3Appliance appliance = appliance_for(options, vm ? content.image : given.image);
  appliance.kernel_append = kernel.tcg_append;
  LB_TRY(add_kernel(shop, kernel, appliance));
  LB_TRY(add_root(shop, kernel, appliance));
  LB_ASSIGN(const std::string json, gns3_appliance_json(appliance, options.gns3.registry_version));
  // Last: it names the others.
  LB_TRY(write_whole_file(staging.path() / description.filename(), json));
  shop.made.push_back({.name = description.filename().string()});
  LB_TRY(put_in_place(shop.work, shop.out, shop.made));
  log_info(description.string(),
           ": import it by GNS3's 'Import appliance', which asks for the files beside it");
  return {};
}

}  // namespace layerboot::launcher
