#include "launcher/store_gc.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <system_error>

#include "launcher/store_index.h"
#include "launcher/vm_config.h"
#include "oci-mount/base/files.h"
#include "oci-mount/store/digest.h"
#include "oci-mount/store/image.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxRecordBytes = std::size_t{1} << 20;
/// Indexes of local files and of trees don't say what they are of: they go by age.
constexpr std::chrono::hours kKeepUnnamed{7 * 24};

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
  report.freed_bytes += static_cast<std::uint64_t>(st.st_blocks) * 512;
  ++count;
  return {};
}

bool is_old(const fs::path& path) {
  std::error_code error;
  const auto written = fs::last_write_time(path, error);
  return !error && fs::file_time_type::clock::now() - written > kKeepUnnamed;
}

Result<void> collect_blobs(const fs::path& store, const std::set<std::string>& reachable, GcReport& report) {
  for (const char* const algorithm : {"sha256", "sha512"}) {
    LB_ASSIGN(const auto blobs, entries_of(store / "blobs" / algorithm));
    for (const auto& blob : blobs) {
      if (reachable.contains(str_cat(algorithm, ":", blob.path().filename().string()))) continue;
      LB_TRY(remove_file(blob.path(), report.blobs, report));
    }
  }
  // What skopeo was writing when it was killed.
  LB_ASSIGN(const auto others, entries_of(store));
  for (const auto& other : others) {
    if (other.path().filename().string().starts_with("oci-put-blob"))
      LB_TRY(remove_file(other.path(), report.blobs, report));
  }
  return {};
}

Result<void> collect_indexes(const fs::path& index_dir, const std::set<std::string>& wanted,
                             GcReport& report) {
  LB_ASSIGN(const auto files, entries_of(index_dir));
  for (const auto& file : files) {
    const std::string name = file.path().filename().string();
    const bool layer = file.path().extension() == ".lidx";
    if (!layer && file.path().extension() != ".tree") continue;
    const bool named = layer && name.starts_with("sha");
    if (named ? wanted.contains(name) : !is_old(file.path())) continue;
    LB_TRY(remove_file(file.path(), report.indexes, report));
  }
  return {};
}

}  // namespace

Result<std::map<std::string, std::string>> images_of_vms(const StateDirs& dirs) {
  std::map<std::string, std::string> images;
  LB_ASSIGN(const auto vms, entries_of(dirs.vms()));
  for (const auto& vm : vms) {
    const auto path = vm.path() / "config.json";
    const auto text = read_file(path, kMaxRecordBytes);
    if (!text && (text.error().code == ENOENT || text.error().code == ENOTDIR)) continue;
    if (!text) return std::unexpected(text.error());
    const auto record = record_from_json(*text);
    if (!record) return while_doing(record.error(), path.string(), ": which image it uses can't be told");
    if (!record->image.empty()) images.emplace(record->image, vm.path().filename().string());
  }
  return images;
}

Result<GcReport> collect_garbage(const StateDirs& dirs) {
  LB_ASSIGN(const StoreContents contents, StoreContents::read(dirs.store()));
  std::set<std::string> reachable(contents.reachable().begin(), contents.reachable().end());
  std::set<std::string> wanted_indexes;
  for (const std::string& text : reachable) {
    LB_ASSIGN(const auto digest, store::Digest::parse(text));
    wanted_indexes.insert(digest.file_name() + ".lidx");
  }
  // A VM's image may lie elsewhere: its blobs are not ours, its indexes are.
  LB_ASSIGN(const auto used, images_of_vms(dirs));
  for (const auto& [reference, vm] : used) {
    const auto image = store::open_image(reference, dirs);
    if (!image) continue;  // gone: so are its blobs
    for (const auto& layer : image->layers) wanted_indexes.insert(layer.blob.file_name() + ".lidx");
  }
  GcReport report;
  LB_TRY(collect_blobs(dirs.store(), reachable, report));
  LB_TRY(collect_indexes(dirs.index(), wanted_indexes, report));
  return report;
}

}  // namespace layerboot::launcher
