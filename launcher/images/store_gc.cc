#include "launcher/images/store_gc.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <sstream>
#include <system_error>

#include "launcher/host/architecture.h"
#include "launcher/host/staging_directory.h"
#include "launcher/images/store_index.h"
#include "launcher/images/store_leftovers.h"
#include "launcher/vm/vm_config.h"
#include "launcher/vm/vm_directory.h"
#include "oci-mount/base/disk_blocks.h"
#include "oci-mount/base/files.h"
#include "oci-mount/layer/identity.h"
#include "oci-mount/layer/layer_index.h"
#include "oci-mount/store/digest.h"
#include "oci-mount/store/image.h"
#include "oci-mount/store/lease.h"
#include "oci-mount/store/reference.h"
#include "oci-mount/tree/tree_builder.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxRecordBytes = std::size_t{1} << 20;
/// Of a directory that changed, and of the trees with it, only age tells that they are of no more use.
constexpr std::chrono::hours kKeepUnused{7 * 24};

/// The directory's entries; none where it is not there.
Result<std::vector<fs::directory_entry>> entries_of(const fs::path& directory) {
  std::vector<fs::directory_entry> entries;
  std::error_code error;
  for (fs::directory_iterator at(directory, error), end; !error && at != end; at.increment(error))
    entries.push_back(*at);
  if (error && error != std::errc::no_such_file_or_directory)
    return fail(error.value(), "cannot read ", directory.string(), ": ", error.message());
  return entries;
}

Result<void> remove_file(const fs::path& path, std::size_t& count, GcReport& report) {
  struct stat st{};
  if (::lstat(path.c_str(), &st) != 0 || !S_ISREG(st.st_mode)) return {};
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return errno_error("cannot remove ", path.string());
  report.freed_bytes += allocated_bytes(st);
  ++count;
  return {};
}

bool is_old(const fs::path& path) {
  std::error_code error;
  const auto written = fs::last_write_time(path, error);
  return !error && fs::file_time_type::clock::now() - written > kKeepUnused;
}

Result<void> collect_blobs(const fs::path& store, const std::set<std::string>& reachable, GcReport& report) {
  for (const char* const algorithm : {"sha256", "sha512"}) {
    LB_ASSIGN(const auto blobs, entries_of(store / "blobs" / algorithm));
    for (const auto& blob : blobs) {
      if (reachable.contains(str_cat(algorithm, ":", blob.path().filename().string()))) continue;
      LB_TRY(remove_file(blob.path(), report.blobs, report));
    }
  }
  LB_ASSIGN(const Leftovers leftovers, remove_leftovers(store));
  report.blobs += leftovers.files;
  report.freed_bytes += leftovers.freed_bytes;
  return {};
}

/// The digests of all blobs, whoever needs them.
Result<std::set<std::string>> all_blobs(const fs::path& store) {
  std::set<std::string> digests;
  for (const char* const algorithm : {"sha256", "sha512"}) {
    LB_ASSIGN(const auto blobs, entries_of(store / "blobs" / algorithm));
    for (const auto& blob : blobs) {
      const auto digest = store::Digest::parse(str_cat(algorithm, ":", blob.path().filename().string()));
      if (digest) digests.insert(digest->text());
    }
  }
  return digests;
}

/// Adds the blobs of images that index.json has forgotten, but a process still reads.
Result<void> add_leased(const fs::path& store, const std::set<std::string>& blobs,
                        std::set<std::string>& reachable) {
  for (const std::string& blob : blobs) {
    if (reachable.contains(blob)) continue;
    LB_ASSIGN(const auto digest, store::Digest::parse(blob));
    LB_ASSIGN(const bool leased, store::is_leased(blob_path(store, digest)));
    if (!leased) continue;
    const StoredDocuments of_it = follow_documents(store, digest);
    reachable.insert(of_it.blobs.begin(), of_it.blobs.end());
  }
  return {};
}

/// Whether what a local file's or a directory's index is of is still there, as it was.
bool is_source_there(const layer::IndexOwner& owner) {
  struct stat st{};
  if (::stat(owner.source.c_str(), &st) != 0) return false;
  if (owner.identity.kind == layer::IdentityKind::kDirectory) return S_ISDIR(st.st_mode);
  return layer::LayerIdentity::of_file(st).record() == owner.identity;
}

/// Whether the index is of no use: of another version, damaged, or of what is gone.
bool is_orphan(const fs::path& index) {
  const auto owner = layer::read_index_owner(index);
  return owner ? !is_source_there(*owner) : owner.error().code != EACCES;
}

/// Whether a layer that the tree was made of has no index any more.
bool is_orphan_tree(const fs::path& tree_file) {
  const auto key = tree::read_tree_key(tree_file);
  if (!key) return key.error().code != EACCES;
  std::istringstream lines(*key);
  std::string line;
  std::getline(lines, line);  // "layers", and the version
  std::error_code ignored;
  while (std::getline(lines, line)) {
    std::ranges::replace(line, ':', '-');
    if (!fs::exists(tree_file.parent_path() / (line + ".lidx"), ignored)) return true;
  }
  return false;
}

bool is_garbage(const fs::path& file, const std::set<std::string>& wanted) {
  const std::string name = file.filename().string();
  const std::string extension = file.extension().string();
  if (extension == ".lidx" && name.starts_with("file-")) return is_orphan(file);
  if (extension == ".lidx" && name.starts_with("dir-")) return is_old(file) || is_orphan(file);
  // The recut file lies beside its index.
  if (extension == ".lidx" || extension == ".zst") return !wanted.contains(file.stem().string());
  return false;
}

/// What a verify that was killed left: whole indexes, built for nobody.
Result<void> remove_abandoned(const fs::path& directory, GcReport& report) {
  const bool is_verifys = directory.filename().string().starts_with(".verify-");
  struct stat st{};
  if (!is_verifys || ::lstat(directory.c_str(), &st) != 0 || !S_ISDIR(st.st_mode) || !is_old(directory))
    return {};
  LB_ASSIGN(const auto files, entries_of(directory));
  for (const auto& file : files) LB_TRY(remove_file(file.path(), report.indexes, report));
  std::error_code ignored;
  fs::remove(directory, ignored);
  return {};
}

/// Layers' indexes first: the trees are then of layers that have one, or not.
Result<void> collect_indexes(const fs::path& index_dir, const std::set<std::string>& wanted,
                             GcReport& report) {
  LB_ASSIGN(const auto files, entries_of(index_dir));
  for (const auto& file : files) {
    LB_TRY(remove_abandoned(file.path(), report));
    if (is_garbage(file.path(), wanted)) LB_TRY(remove_file(file.path(), report.indexes, report));
  }
  for (const auto& file : files) {
    if (file.path().extension() == ".tree" && (is_old(file.path()) || is_orphan_tree(file.path())))
      LB_TRY(remove_file(file.path(), report.indexes, report));
  }
  return {};
}

/// Base disks that no VM lies on, and disks of modules by age: they are made anew when a VM wants them.
Result<void> collect_disks(const StateDirs& dirs, GcReport& report) {
  std::set<std::string> wanted;
  LB_ASSIGN(const auto vms, entries_of(dirs.vms()));
  for (const auto& vm : vms) {
    const auto base = read_file(vm.path() / "disk.base", kMaxRecordBytes);
    if (base) wanted.insert(fs::path(*base).parent_path().filename().string());
    if (!base && base.error().code != ENOENT && base.error().code != ENOTDIR)
      return while_doing(base.error(), "which disk a VM lies on can't be told");
  }
  LB_ASSIGN(const auto disks, entries_of(dirs.data / "disks"));
  for (const auto& disk : disks) {
    const std::string name = disk.path().filename().string();
    if (name.starts_with('.')) continue;  // being made
    const bool modules = name.starts_with("modules-");
    if (modules ? !is_old(disk.path()) : wanted.contains(name)) continue;
    LB_TRY(remove_file(disk.path() / "disk.raw", report.disks, report));
    std::error_code ignored;
    fs::remove(disk.path(), ignored);
  }
  return {};
}

/// Archives that came compressed, but for those that a VM was made from, or somebody reads.
Result<void> collect_unpacked(const fs::path& directory, const std::set<std::string>& wanted,
                              GcReport& report) {
  LB_ASSIGN(const auto files, entries_of(directory));
  for (const auto& file : files) {
    if (wanted.contains(file.path().filename().string()) || !file.is_regular_file()) continue;
    LB_ASSIGN(const bool busy, is_open_elsewhere(file.path()));
    if (!busy) LB_TRY(remove_file(file.path(), report.archives, report));
  }
  return {};
}

using ImagesOfVms = std::map<std::string, std::vector<std::string>>;

/// Images whose name another one has taken since. They stay for the VMs that were made from the name: which
/// of the two a VM lies on, its record does not say.
Result<void> forget_displaced(const StateDirs& dirs, const ImagesOfVms& images) {
  std::set<std::string> used;
  for (const auto& [reference, vms] : images) {
    used.insert(reference);
    const auto parsed = store::parse_reference(reference, dirs);
    if (parsed) used.insert(parsed->names.begin(), parsed->names.end());
    if (parsed && parsed->digest) used.insert(parsed->digest->text());
  }
  LB_TRY(forget_entries(dirs.store(), [&](const IndexEntry& entry) {
    return entry.name.empty() && !entry.former_name.empty() && !used.contains(entry.former_name) &&
           !used.contains(entry.digest);
  }));
  return {};
}

/// Blobs that no index.json tells of may be all that is left of somebody's images.
Result<void> check_index_is_there(const fs::path& store, const std::set<std::string>& blobs) {
  std::error_code ignored;
  if (blobs.empty() || fs::exists(store / "index.json", ignored)) return {};
  return fail(
      ENOENT, store.string(), " has ", blobs.size(),
      " blobs and no index.json that tells what they are "
      "of: nothing was removed; pull what is still wanted, then remove the directory's other blobs by ",
      "another gc");
}

/// A VM that has no record yet has written nothing. What another one has written lies on an image that
/// nothing tells of any more.
Result<void> check_has_nothing(const StateDirs& dirs, const std::string& vm) {
  const VmPaths paths(dirs, vm);
  std::error_code ignored;
  for (const fs::path& path : {paths.upper(), paths.upper_disk(), paths.root_disk(DiskFormat::kRaw),
                               paths.root_disk(DiskFormat::kQcow2)}) {
    if (!fs::exists(path, ignored)) continue;
    return fail(ENOENT, "VM ", vm, " has no config.json: which image its files lie on can't be told; put ",
                paths.config().string(), " back, or remove the VM by: layerboot rm ", vm);
  }
  return {};
}

}  // namespace

Result<std::map<std::string, std::vector<std::string>>> images_of_vms(const StateDirs& dirs) {
  std::map<std::string, std::vector<std::string>> images;
  LB_ASSIGN(const auto vms, entries_of(dirs.vms()));
  for (const auto& vm : vms) {
    const auto path = vm.path() / "config.json";
    const auto text = read_file(path, kMaxRecordBytes);
    if (!text && (text.error().code == ENOENT || text.error().code == ENOTDIR)) {
      LB_TRY(check_has_nothing(dirs, vm.path().filename().string()));
      continue;
    }
    if (!text) return std::unexpected(text.error());
    const auto record = record_from_json(*text);
    if (!record) return while_doing(record.error(), path.string(), ": which image it uses can't be told");
    if (!record->image.empty()) images[record->image].push_back(vm.path().filename().string());
  }
  return images;
}

Result<GcReport> collect_garbage(const StateDirs& dirs) {
  LB_ASSIGN(const std::set<std::string> blobs, all_blobs(dirs.store()));
  LB_TRY(check_index_is_there(dirs.store(), blobs));
  LB_ASSIGN(const ImagesOfVms used, images_of_vms(dirs));
  LB_TRY(forget_displaced(dirs, used));
  LB_ASSIGN(const StoreContents contents, StoreContents::read(dirs.store()));
  std::set<std::string> reachable(contents.reachable().begin(), contents.reachable().end());
  GcReport report;
  report.doubtful = contents.incomplete();
  if (!report.doubtful.empty()) reachable.insert(blobs.begin(), blobs.end());
  LB_TRY(add_leased(dirs.store(), blobs, reachable));
  std::set<std::string> wanted_indexes;  // file names without their extension
  for (const std::string& text : reachable) {
    LB_ASSIGN(const auto digest, store::Digest::parse(text));
    wanted_indexes.insert(digest.file_name());
  }
  // A VM's image may lie elsewhere: its blobs are not ours, its indexes are.
  std::set<std::string> wanted_archives;
  for (const auto& [reference, vms] : used) {
    for (const Architecture& machine : architectures()) {
      for (const std::string_view architecture : machine.images) {
        const auto image = store::open_image(
            reference, dirs,
            {.platform = {"linux", std::string(architecture), {}}, .unpacking = store::Unpacking::kNever});
        if (!image) continue;  // not for it, or gone: so are its blobs
        if (!image->unpacked.empty()) wanted_archives.insert(image->unpacked.filename().string());
        for (const auto& layer : image->layers) wanted_indexes.insert(layer.blob.file_name());
      }
    }
  }
  LB_TRY(collect_blobs(dirs.store(), reachable, report));
  LB_TRY(collect_indexes(dirs.index(), wanted_indexes, report));
  LB_TRY(collect_unpacked(dirs.unpacked(), wanted_archives, report));
  LB_TRY(collect_disks(dirs, report));
  report.freed_bytes += StagingDirectory::remove_leftovers_in(dirs.cache);
  return report;
}

}  // namespace layerboot::launcher
