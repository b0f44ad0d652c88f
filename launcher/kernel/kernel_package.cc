#include "launcher/kernel/kernel_package.h"

#include <unistd.h>

#include <cstdio>
#include <optional>
#include <system_error>
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

#if defined(__x86_64__)
constexpr const char* kMetaPackage = "linux-image-cloud-amd64";
#elif defined(__aarch64__)
constexpr const char* kMetaPackage = "linux-image-cloud-arm64";
#endif
constexpr const char* kKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
constexpr std::size_t kMaxOsReleaseBytes = 64 * 1024;

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

Result<Candidate> find_candidate(const std::vector<std::string>& options, const std::string& series) {
  LB_ASSIGN(const std::string meta_text, run_tool(apt("apt-cache", options, {"show", kMetaPackage})));
  const PackageInfo meta = parse_package(meta_text);
  if (!version_matches(meta.version, series)) {
    return fail(ENOENT, kMetaPackage, " there is ", meta.version, ", not ", series);
  }
  const std::string image = kernel_package_of(meta);
  if (image.empty()) return fail(ENOENT, kMetaPackage, ' ', meta.version, " names no kernel package");
  LB_ASSIGN(const std::string text, run_tool(apt("apt-cache", options, {"show", image})));
  const PackageInfo info = parse_package(text);
  Candidate candidate{options, kernel_parts_of(image, info), info.version, info.size_bytes};
  for (std::size_t i = 1; i < candidate.packages.size(); ++i) {
    LB_ASSIGN(const std::string part, run_tool(apt("apt-cache", options, {"show", candidate.packages[i]})));
    candidate.size_bytes += parse_package(part).size_bytes;
  }
  return candidate;
}

/// apt with sources, lists and cache of its own under `work`, for the backports of this machine's release.
Result<std::vector<std::string>> backports_options(const fs::path& work) {
  LB_ASSIGN(const std::string os_release, read_file("/etc/os-release", kMaxOsReleaseBytes));
  const std::string codename = os_codename(os_release);
  LB_ASSIGN(const std::string targets,
            run_tool({"apt-get", "indextargets", std::string(kIndexTargetsFormat)}));
  const auto source = backports_source(targets, codename, kKeyring);
  if (!source)
    return fail(ENOENT, "apt has no source of Debian ", codename, " (is apt-get update still to be run?)");
  for (const char* folder : {"apt/sources.list.d", "apt/lists/partial", "apt/cache/archives/partial"}) {
    LB_TRY(make_directories(work / folder));
  }
  LB_TRY(write_kernel_text(work / "apt/sources.list", *source));
  const std::string base = (work / "apt").string();
  std::vector<std::string> options;
  for (const std::string& setting :
       {str_cat("Dir::Etc::SourceList=", base, "/sources.list"),
        str_cat("Dir::Etc::SourceParts=", base, "/sources.list.d"),
        str_cat("Dir::State::Lists=", base, "/lists"), str_cat("Dir::Cache=", base, "/cache")}) {
    options.insert(options.end(), {"-o", setting});
  }
  log_info("kernel: reading the package list of ", codename, "-backports");
  LB_TRY(run_tool(apt("apt-get", options, {"-q", "update", "--error-on=any"})));
  return options;
}

Result<Candidate> backports_candidate(const fs::path& work, const std::string& series) {
  LB_ASSIGN(const auto options, backports_options(work));
  return find_candidate(options, series);
}

Result<Candidate> choose_candidate(const fs::path& work, const std::string& series) {
  // This machine's own release first: that asks nothing of the network.
  auto own = find_candidate({}, series);
  if (own ? !series.empty() || is_recent_kernel(own->version) : own.error().code == EINTR) return own;
  auto candidate = backports_candidate(work, series);
  if (candidate || !own || candidate.error().code == EINTR) return candidate;
  log_warn("kernel: none from backports (", candidate.error().describe(), "); taking this release's own");
  return own;
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

Result<void> move_file(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) == 0) return {};
  return errno_error("cannot move ", from.string());
}

/// Debian's packages since Linux 6.16 have image and configuration beside the modules, earlier ones in /boot.
Result<void> gather_in_boot(const fs::path& tree, const std::string& release) {
  const fs::path modules = tree / "usr/lib/modules" / release;
  LB_TRY(make_directories(tree / "boot"));
  for (const std::string name : {"vmlinuz", "config"}) {
    const fs::path wanted = tree / "boot" / str_cat(name, '-', release);
    std::error_code ignored;
    if (fs::exists(wanted, ignored)) continue;
    LB_TRY(move_file(modules / name, wanted));
  }
  return {};
}

}  // namespace

Result<void> write_kernel_text(const fs::path& path, std::string_view text) {
  LB_ASSIGN(AtomicFile file, AtomicFile::create(path));
  LB_TRY(file.append(as_bytes(text)));
  return file.commit();
}

Result<void> kernel_from_tree(const fs::path& tree, const fs::path& into) {
  LB_TRY(merge_usr(tree));
  LB_ASSIGN(const std::string release, only_release(tree / "usr/lib/modules"));
  LB_TRY(gather_in_boot(tree, release));
  const fs::path modules = tree / "usr/lib/modules" / release;
  LB_TRY(run_tool({"depmod", "-b", tree.string(), release}));
  LB_ASSIGN(const ModuleTexts texts, read_module_texts(modules));
  if (!serves(texts, "fs-virtiofs")) return std::unexpected(no_virtiofs_error(release));

  LB_TRY(make_directories(into));
  log_info("kernel: packing the modules of ", release);
  const std::string config = str_cat("boot/config-", release);
  LB_TRY(run_tool({"tar", "-C", tree.string(), "--format=gnu", "--sort=name", "--mtime=@0", "--owner=0",
                   "--group=0", "--numeric-owner", "--mode=go-w", "-cf", (into / "modules.tar").string(),
                   str_cat("usr/lib/modules/", release), config}));
  LB_ASSIGN(const std::string archive, modules_archive(modules, release, texts));
  LB_TRY(write_kernel_text(into / "modules.cpio", archive));
  LB_TRY(write_kernel_text(into / "release", release + "\n"));
  LB_TRY(move_file(tree / config, into / "config"));
  return move_file(tree / str_cat("boot/vmlinuz-", release), into / "vmlinuz");
}

Result<void> fetch_debian_kernel(const std::string& series, const fs::path& work, const fs::path& into) {
  auto candidate = choose_candidate(work, series);
  if (!candidate) {
    return while_doing(candidate.error(), "no Debian kernel", series.empty() ? "" : " ", series,
                       " to be had from this machine's apt sources");
  }
  LB_ASSIGN(const fs::path packages, download(*candidate, work));
  log_info("kernel: unpacking ", candidate->packages.front(), ' ', candidate->version);
  const fs::path tree = work / "tree";
  LB_TRY(unpack(packages, tree));
  return kernel_from_tree(tree, into);
}

}  // namespace layerboot::launcher
