#include "launcher/kernel/kernel_package.h"

#include <unistd.h>

#include <array>
#include <cstdio>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "launcher/host/run_tool.h"
#include "launcher/kernel/apt_source.h"
#include "launcher/kernel/initrd.h"
#include "launcher/kernel/kernel_store.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/progress.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

constexpr const char* kKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
constexpr std::size_t kMaxOsReleaseBytes = 64 * 1024;
/// What goes into an initrd beside guest-init, and comes with the kernel where it can't be the host's own.
constexpr std::array kProgramPackages = {"busybox-static", "e2fsck-static"};

using Options = std::vector<std::string>;

/// A kernel that apt can fetch.
struct Candidate {
  std::vector<std::string> apt_options;  // that apt finds it with
  std::vector<std::string> packages;     // the kernel package, and what it is made of
  std::string version;
  std::uint64_t size_bytes = 0;  // of all of them
};

std::vector<std::string> apt(const char* program, const std::vector<std::string>& options,
                             std::initializer_list<std::string> rest) {
  std::vector<std::string> argv = {program};
  argv.insert(argv.end(), options.begin(), options.end());
  argv.insert(argv.end(), rest);
  return argv;
}

Result<PackageInfo> look_up(const Options& options, const std::string& package) {
  LB_ASSIGN(const std::string text,
            run_tool(apt("apt-cache", options, {"show", "--no-all-versions", package})));
  return parse_package(text);
}

Result<Candidate> find_candidate(const Options& options, const std::string& series,
                                 const Architecture& architecture) {
  const std::string meta_package(architecture.kernel_package);
  LB_ASSIGN(const PackageInfo meta, look_up(options, meta_package));
  if (!version_matches(meta.version, series)) {
    return fail(ENOENT, meta_package, " there is ", meta.version, ", not ", series);
  }
  const std::string image = kernel_package_of(meta);
  if (image.empty()) return fail(ENOENT, meta_package, ' ', meta.version, " names no kernel package");
  LB_ASSIGN(const PackageInfo info, look_up(options, image));
  Candidate candidate{options, kernel_parts_of(image, info), info.version, info.size_bytes};
  if (is_foreign(architecture))
    candidate.packages.insert(candidate.packages.end(), kProgramPackages.begin(), kProgramPackages.end());
  for (std::size_t i = 1; i < candidate.packages.size(); ++i) {
    LB_ASSIGN(const PackageInfo part, look_up(options, candidate.packages[i]));
    candidate.size_bytes += part.size_bytes;
  }
  return candidate;
}

/// Where this machine has Debian's packages from.
struct OwnRelease {
  std::string codename;
  std::string index_targets;
};

Result<OwnRelease> own_release() {
  OwnRelease own;
  LB_ASSIGN(const std::string os_release, read_file("/etc/os-release", kMaxOsReleaseBytes));
  own.codename = os_codename(os_release);
  LB_ASSIGN(own.index_targets, run_tool({"apt-get", "indextargets", std::string(kIndexTargetsFormat)}));
  return own;
}

/// The options by which apt has `sources`, lists and cache of its own under `work`, read anew; `more` too.
Result<Options> private_options(const fs::path& work, const std::optional<std::string>& sources,
                                const OwnRelease& own, std::vector<std::string> more) {
  if (!sources)
    return fail(ENOENT, "apt has no source of Debian ", own.codename,
                " (is apt-get update still to be run?)");
  for (const char* folder :
       {"apt/sources.list.d", "apt/preferences.d", "apt/lists/partial", "apt/cache/archives/partial"}) {
    LB_TRY(make_directories(work / folder));
  }
  LB_TRY(write_whole_file(work / "apt/sources.list", *sources));
  LB_TRY(write_whole_file(work / "apt/status", ""));
  const std::string base = (work / "apt").string();
  LB_TRY(write_whole_file(work / "apt/apt.conf", private_apt_configuration(base)));
  more.insert(more.end(), {str_cat("Dir::Etc::SourceList=", base, "/sources.list"),
                           str_cat("Dir::Etc::SourceParts=", base, "/sources.list.d"),
                           str_cat("Dir::State::Lists=", base, "/lists"),
                           str_cat("Dir::Cache=", base, "/cache"), "Acquire::Languages=none"});
  Options options = {"-c", base + "/apt.conf"};
  for (const std::string& setting : more) options.insert(options.end(), {"-o", setting});
  LB_TRY(run_tool(apt("apt-get", options, {"-q", "update", "--error-on=any"})));
  return options;
}

Result<Candidate> backports_candidate(const fs::path& work, const std::string& series,
                                      const Architecture& architecture) {
  LB_ASSIGN(const OwnRelease own, own_release());
  log_info("kernel: reading the package list of ", own.codename, "-backports");
  LB_ASSIGN(const auto options,
            private_options(work, backports_source(own.index_targets, own.codename, kKeyring), own, {}));
  return find_candidate(options, series, architecture);
}

bool is_wanted(const Result<Candidate>& own, const std::string& series) {
  return own ? !series.empty() || is_recent_kernel(own->version) : own.error().code == EINTR;
}

Result<Candidate> choose_own_candidate(const fs::path& work, const std::string& series) {
  // This machine's own release first: that asks nothing of the network.
  auto own = find_candidate({}, series, own_architecture());
  if (is_wanted(own, series)) return own;
  auto candidate = backports_candidate(work, series, own_architecture());
  if (candidate || !own || candidate.error().code == EINTR) return candidate;
  log_warn("kernel: none from backports (", candidate.error().describe(), "); taking this release's own");
  return own;
}

Result<Options> foreign_options(const fs::path& work, const OwnRelease& own, const Architecture& architecture,
                                bool backports) {
  const std::string base = (work / "apt").string();
  return private_options(
      work, all_sources(own.index_targets, own.codename, architecture.since_suite, kKeyring, backports), own,
      {str_cat("APT::Architecture=", architecture.debian),
       str_cat("APT::Architectures=", architecture.debian), str_cat("Dir::State=", base),
       str_cat("Dir::State::status=", base, "/status")});
}

/// Nothing of this machine's own apt is of use but where its packages come from.
Result<Candidate> choose_foreign_candidate(const fs::path& work, const std::string& series,
                                           const Architecture& architecture) {
  LB_ASSIGN(const OwnRelease own, own_release());
  log_info("kernel: reading the package lists of ", architecture.debian);
  auto with_backports = foreign_options(work, own, architecture, true);
  if (!with_backports) {
    if (with_backports.error().code == EINTR) return std::unexpected(with_backports.error());
    LB_ASSIGN(const Options plain, foreign_options(work, own, architecture, false));
    log_warn("kernel: nothing from backports (", with_backports.error().describe(), ")");
    return find_candidate(plain, series, architecture);
  }
  Options options = *std::move(with_backports);
  auto candidate = find_candidate(options, series, architecture);
  if (is_wanted(candidate, series)) return candidate;
  options.insert(options.end(), {"-o", str_cat("APT::Default-Release=", own.codename, "-backports")});
  auto backported = find_candidate(options, series, architecture);
  return backported || !candidate ? backported : candidate;
}

Result<Candidate> choose_candidate(const fs::path& work, const std::string& series,
                                   const Architecture& architecture) {
  return is_foreign(architecture) ? choose_foreign_candidate(work, series, architecture)
                                  : choose_own_candidate(work, series);
}

std::uint64_t folder_size(const fs::path& folder) {
  std::uint64_t sum = 0;
  std::error_code ignored;
  for (fs::recursive_directory_iterator entry(folder, ignored), end; entry != end; entry.increment(ignored)) {
    if (const auto size = entry->file_size(ignored); !ignored) sum += size;
  }
  return sum;
}

/// Into a directory, which is given.
Result<fs::path> download(const Candidate& candidate, const fs::path& work) {
  const fs::path folder = work / "download";
  LB_TRY(make_directories(folder));
  Progress progress(str_cat("kernel: fetching ", candidate.packages.front()), candidate.size_bytes);
  ToolSpec spec;
  spec.argv = apt("apt-get", candidate.apt_options, {"-q", "download"});
  spec.argv.insert(spec.argv.end(), candidate.packages.begin(), candidate.packages.end());
  spec.working_directory = folder;
  spec.on_tick = [&] { progress.update(folder_size(folder)); };
  LB_TRY(run_tool(spec));
  progress.update(candidate.size_bytes);
  return folder;
}

Result<void> unpack(const fs::path& folder, const fs::path& tree) {
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(folder, code)) {
    if (entry.path().extension() != ".deb") continue;
    LB_TRY(run_tool({"dpkg-deb", "-x", entry.path().string(), tree.string()}));
  }
  return {};
}

Result<void> move_file(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) == 0) return {};
  return errno_error("cannot move ", from.string());
}

/// The programs for an initrd, which lie where the packages have them, into `into`.
Result<void> take_programs(const fs::path& tree, const fs::path& into) {
  LB_TRY(make_directories(into));
  for (const auto& [name, packaged] :
       {std::pair{"busybox", "bin/busybox"}, {"e2fsck", "sbin/e2fsck.static"}}) {
    std::error_code ignored;
    const fs::path here = fs::exists(tree / packaged, ignored) ? tree / packaged : tree / "usr" / packaged;
    LB_TRY(move_file(here, into / name));
  }
  return {};
}

/// The one name in `folder`, a tree's lib/modules.
Result<std::string> only_release(const fs::path& folder) {
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(folder, code)) {
    std::string name = entry.path().filename().string();
    if (is_release(name)) return name;
  }
  return fail(EINVAL, "the kernel package holds no modules (", folder.string(), ")");
}

/// Images are usr-merged: their /lib is a link, so the modules must lie in usr/lib, with a link for depmod.
Result<void> merge_usr(const fs::path& tree) {
  std::error_code code;
  if (fs::is_directory(fs::symlink_status(tree / "lib"))) {
    LB_TRY(make_directories(tree / "usr/lib"));
    fs::rename(tree / "lib/modules", tree / "usr/lib/modules", code);
    if (!code) fs::remove_all(tree / "lib", code);
  }
  if (!code && !fs::exists(fs::symlink_status(tree / "lib")))
    fs::create_symlink("usr/lib", tree / "lib", code);
  if (code) return fail(code.value(), "cannot arrange ", tree.string(), ": ", code.message());
  return {};
}

/// Debian's packages since Linux 6.16 have image and configuration beside the modules, earlier ones in /boot.
Result<void> gather_in_boot(const fs::path& tree, const std::string& release) {
  const fs::path modules = tree / "usr/lib/modules" / release;
  LB_TRY(make_directories(tree / "boot"));
  for (const std::string name : {"vmlinuz", "config"}) {
    const fs::path wanted = tree / "boot" / str_cat(name, '-', release);
    std::error_code ignored;
    if (fs::exists(wanted, ignored)) continue;
    // riscv64's is not compressed, and so called.
    const fs::path plain = tree / "boot" / str_cat("vmlinux-", release);
    LB_TRY(move_file(name == "vmlinuz" && fs::exists(plain, ignored) ? plain : modules / name, wanted));
  }
  return {};
}

}  // namespace

Result<void> kernel_from_tree(const fs::path& tree, const fs::path& into, unsigned user) {
  LB_TRY(merge_usr(tree));
  LB_ASSIGN(const std::string release, only_release(tree / "usr/lib/modules"));
  LB_TRY(gather_in_boot(tree, release));
  const fs::path modules = tree / "usr/lib/modules" / release;
  ToolSpec tool;
  tool.user = user;
  tool.working_directory = tree;
  // By no path: what the tree lies in is closed to other users than us.
  tool.argv = {"depmod", "-b", "/proc/self/cwd", release};
  LB_TRY(run_tool(tool));
  LB_ASSIGN(const ModuleTexts texts, read_module_texts(modules));
  if (!serves(texts, "fs-virtiofs")) return std::unexpected(no_virtiofs_error(release));

  LB_TRY(make_directories(into));
  log_info("kernel: packing the modules of ", release);
  const std::string config = str_cat("boot/config-", release);
  tool.argv = {"tar",
               "--format=gnu",
               "--sort=name",
               "--mtime=@0",
               "--owner=0",
               "--group=0",
               "--numeric-owner",
               "--mode=go-w",
               "-cf",
               "-",
               str_cat("usr/lib/modules/", release),
               config};
  tool.output_file = into / "modules.tar";
  LB_TRY(run_tool(tool));
  LB_ASSIGN(const std::string archive, modules_archive(modules, release, texts, boot_aliases(), user));
  LB_TRY(write_whole_file(into / "modules.cpio", archive));
  LB_TRY(write_whole_file(into / "release", release + "\n"));
  LB_TRY(move_file(tree / config, into / "config"));
  return move_file(tree / str_cat("boot/vmlinuz-", release), into / "vmlinuz");
}

Result<void> fetch_debian_kernel(const std::string& series, const Architecture& architecture,
                                 const fs::path& work, const fs::path& into) {
  auto candidate = choose_candidate(work, series, architecture);
  if (!candidate) {
    return while_doing(candidate.error(), "no Debian kernel", series.empty() ? "" : " ", series, " for ",
                       architecture.name, " to be had from this machine's apt sources");
  }
  LB_ASSIGN(const fs::path packages, download(*candidate, work));
  log_info("kernel: unpacking ", candidate->packages.front(), ' ', candidate->version);
  const fs::path tree = work / "tree";
  LB_TRY(unpack(packages, tree));
  LB_TRY(kernel_from_tree(tree, into));
  return is_foreign(architecture) ? take_programs(tree, into / "programs") : Result<void>();
}

}  // namespace layerboot::launcher
