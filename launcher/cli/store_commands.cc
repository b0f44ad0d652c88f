#include "launcher/cli/store_commands.h"

#include <algorithm>
#include <cstdio>
#include <set>

#include "launcher/cli/image_list.h"
#include "launcher/images/image_name.h"
#include "launcher/images/image_use.h"
#include "launcher/images/notation_guess.h"
#include "launcher/images/store_gc.h"
#include "launcher/images/store_index.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/progress.h"
#include "oci-mount/store/lease.h"

namespace layerboot::launcher {

namespace {

std::string shown_name(const IndexEntry& entry) { return printable_whole(called(entry)); }

/// The entries that go when `reference` is removed.
Result<std::vector<IndexEntry>> entries_to_remove(const StateDirs& dirs, const std::string& reference,
                                                  bool force) {
  LB_ASSIGN(auto entries, find_entries(dirs, reference));
  if (entries.empty()) return std::unexpected(no_such_image(dirs, reference));
  std::set<std::string> digests;
  std::string names;
  for (const IndexEntry& entry : entries) {
    digests.insert(entry.digest);
    names += str_cat(names.empty() ? "" : ", ", shown_name(entry));
  }
  const bool by_name =
      digests.size() == 1 && (entries.size() == 1 || entries.front().name == entries.back().name);
  if (by_name || (force && digests.size() == 1)) return entries;
  if (digests.size() > 1)
    return fail(EINVAL, "\"", reference, "\" is the beginning of several images' digests: ", names);
  return fail(EBUSY, "image ", reference, " has several names: ", names,
              "; remove one by its name, or all with --force");
}

/// Whether somebody reads `image`, and no entry that stays leads to what is read.
Result<bool> is_read_and_goes(const std::filesystem::path& store, const StoreContents& contents,
                              const StoredImage& image, const std::vector<IndexEntry>& going) {
  for (const std::string& blob : image.blobs) {
    const bool shared = std::ranges::any_of(contents.images(), [&](const StoredImage& other) {
      const bool goes =
          std::ranges::any_of(going, [&](const IndexEntry& one) { return is_same(one, other); });
      return !goes && std::ranges::binary_search(other.blobs, blob);
    });
    if (shared) continue;
    LB_ASSIGN(const auto digest, store::Digest::parse(blob));
    LB_ASSIGN(const bool leased, store::is_leased(blob_path(store, digest)));
    if (leased) return true;
  }
  return false;
}

Result<void> check_unused(const StateDirs& dirs, const std::vector<IndexEntry>& going) {
  LB_ASSIGN(const StoreContents contents, StoreContents::read(dirs.store()));
  LB_ASSIGN(const ImageUse use, ImageUse::look(dirs));
  for (const IndexEntry& entry : going) {
    const auto vms = use.vms_of(entry);
    if (!vms.empty()) {
      return fail(EBUSY, "image ", shown_name(entry), " is in use by VM ", vms.front(), ": layerboot rm ",
                  vms.front(), " removes it");
    }
    for (const StoredImage& image : contents.images()) {
      if (!is_same(image, entry)) continue;
      LB_ASSIGN(const bool read_now, is_read_and_goes(dirs.store(), contents, image, going));
      if (read_now) {
        return fail(EBUSY, "image ", shown_name(entry),
                    " is being read by a process: end the mount or the daemon that serves it first");
      }
    }
  }
  return {};
}

/// The images to verify.
Result<std::vector<IndexEntry>> chosen_entries(const StateDirs& dirs,
                                               const std::vector<std::string>& references) {
  if (references.empty()) return read_entries(dirs.store());
  std::vector<IndexEntry> chosen;
  for (const std::string& reference : references) {
    LB_ASSIGN(const auto entries, find_entries(dirs, reference));
    if (entries.empty()) return std::unexpected(no_such_image(dirs, reference));
    chosen.push_back(entries.front());
  }
  return chosen;
}

/// No repair helps where nobody can tell of what the entry is.
bool is_unreadable(const StoredImage& image) {
  if (!store::Digest::parse(image.digest) || image.media_type.empty()) return true;
  return !image.descriptor && image.descriptor.error().code != ENOTSUP;
}

/// What helps, unless the problem says it by itself.
std::string unless_told(const std::string& problem, const std::string& advice) {
  return problem.contains("layerboot rmi") ? "" : advice;
}

/// "can't be run: …", as `images` has it.
std::string why_not_run(const StoredImage& image) {
  return image.state == ImageState::kUnusable ? str_cat("can't be run: ", printable_whole(image.problem))
                                              : "";
}

/// Whether it is as it should be in the end.
Result<bool> verify_image(const StateDirs& dirs, const IndexEntry& entry, const Options& options) {
  const StoredImage image = look_at_image(dirs.store(), entry);
  if (is_unreadable(image)) {
    const std::string name = shown_name(entry);
    std::printf("%s: %s%s\n", name.c_str(), why_not_run(image).c_str(),
                unless_told(image.problem, str_cat("; layerboot rmi ", name, " forgets it")).c_str());
    return false;
  }
  const bool show_progress = options.log_level >= LogLevel::kInfo;
  LB_ASSIGN(auto findings, check_image(dirs.store(), image, show_progress));
  // An index names the images of other platforms, which nobody fetched.
  if (image.state != ImageState::kIncomplete)
    std::erase_if(findings, [](const auto& one) { return one.missing; });
  for (const BlobFinding& finding : findings)
    std::printf("%s: %s\n", shown_name(entry).c_str(), finding.what.c_str());
  const bool other_problem = findings.empty() && image.state == ImageState::kIncomplete;
  if (other_problem)
    std::printf("%s: %s\n", shown_name(entry).c_str(), printable_whole(image.problem).c_str());
  if (findings.empty() && !other_problem) {
    const std::string remark = why_not_run(image);
    std::printf("%s: %zu blobs, %s: as they should be%s%s\n", shown_name(entry).c_str(), image.blobs.size(),
                human_size(image.size_bytes).c_str(), remark.empty() ? "" : "; ", remark.c_str());
    return true;
  }
  if (!options.repair) return false;
  LB_TRY(repair_image(dirs, image, findings,
                      {.reference = {},
                       .name = {},
                       .platform = {},
                       .tls_verify = options.tls_verify,
                       .show_progress = show_progress}));
  std::printf("%s: repaired\n", shown_name(entry).c_str());
  return true;
}

}  // namespace

SupplyOptions supply_options(const Options& options) {
  return {.policy = options.pull_policy,
          .tls_verify = options.tls_verify,
          .show_progress = options.log_level >= LogLevel::kInfo,
          .platform = options.platform};
}

Result<void> pull(const StateDirs& dirs, const PullOptions& options) {
  LB_TRY(check_notation(options.reference, Wanted::kToPull));
  LB_ASSIGN(const std::string name, pull_image(dirs, options));
  std::printf("%s\n", name.c_str());
  return {};
}

Result<void> tag_image(const StateDirs& dirs, const std::string& reference, const std::string& name) {
  LB_ASSIGN(const std::string given, name_to_give(name));
  LB_ASSIGN(const StoreLock lock, StoreLock::acquire(dirs.store()));
  LB_ASSIGN(IndexEntry entry, one_entry(dirs, reference));
  LB_ASSIGN(const auto descriptor, find_descriptor(dirs.store(), entry));
  entry.name = given;
  return put_entry(dirs.store(), descriptor, entry);
}

Result<void> remove_images(const StateDirs& dirs, const std::vector<std::string>& references, bool force) {
  LB_ASSIGN(const StoreLock lock, StoreLock::acquire(dirs.store()));
  for (const std::string& reference : references) {
    LB_ASSIGN(const auto going, entries_to_remove(dirs, reference, force));
    LB_TRY(check_unused(dirs, going));
    LB_TRY(forget_entries(dirs.store(), [&](const IndexEntry& entry) {
      return std::ranges::any_of(going, [&](const IndexEntry& one) { return is_same(one, entry); });
    }));
    for (const IndexEntry& entry : going) std::printf("%s\n", shown_name(entry).c_str());
  }
  return {};
}

Result<int> verify_images(const StateDirs& dirs, const Options& options) {
  LB_ASSIGN(const auto entries, chosen_entries(dirs, options.names));
  bool all_well = true;
  for (const IndexEntry& entry : entries) {
    const auto well = verify_image(dirs, entry, options);
    if (!well && well.error().code == EINTR) return std::unexpected(well.error());
    if (!well) log_error(well.error().describe());
    all_well &= well.value_or(false);
  }
  return all_well ? 0 : 1;
}

Result<void> clean_up(const StateDirs& dirs) {
  LB_ASSIGN(const StoreLock lock, StoreLock::acquire(dirs.store()));
  LB_ASSIGN(const GcReport report, collect_garbage(dirs));
  for (const auto& [name, problem] : report.doubtful) {
    log_warn("all blobs were kept: what image ", printable_whole(name), " needs can't be told, as ",
             problem.empty() ? "a document of it is damaged" : printable_whole(problem),
             unless_told(problem, "; layerboot pull makes it whole, layerboot rmi gives it up"));
  }
  std::printf("removed %zu blobs and %zu indexes, %zu disks, %zu unpacked archives, %s\n", report.blobs,
              report.indexes, report.disks, report.archives, human_size(report.freed_bytes).c_str());
  return {};
}

}  // namespace layerboot::launcher
