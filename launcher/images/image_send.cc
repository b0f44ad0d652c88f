#include "launcher/images/image_send.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "launcher/host/process_io.h"
#include "launcher/host/run_tool.h"
#include "launcher/host/staging_directory.h"
#include "launcher/images/image_commit.h"
#include "launcher/images/image_name.h"
#include "launcher/images/image_supply.h"
#include "launcher/images/pull_source.h"
#include "launcher/images/skopeo.h"
#include "launcher/images/store_pull.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/progress.h"
#include "oci-mount/store/image.h"
#include "oci-mount/store/lease.h"
#include "oci-mount/store/oci_json.h"
#include "oci-mount/store/unpacked_archive.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;
using store::Json;

constexpr std::string_view kStagedName = "image";

/// An image that is whole, and that stays as long as this lives.
struct HeldImage {
  IndexEntry entry;
  Json descriptor;
  store::Lease lease;
};

Result<HeldImage> hold_image(const StateDirs& dirs, const std::string& reference) {
  HeldImage held;
  LB_ASSIGN(held.entry, one_entry(dirs, reference));
  const StoredImage image = look_at_image(dirs.store(), held.entry);
  if (image.state == ImageState::kIncomplete)
    return fail(ENOENT, "image ", reference, " of the local store is not whole (", image.problem,
                "): layerboot verify --repair fetches what is missing");
  LB_ASSIGN(const auto digest, store::Digest::parse(held.entry.digest));
  LB_ASSIGN(held.lease, store::take_lease(blob_path(dirs.store(), digest)));
  LB_ASSIGN(held.descriptor, find_descriptor(dirs.store(), held.entry));
  return held;
}

/// A layout of that image alone, whose blobs are the store's: skopeo takes neither every name nor a path with
/// a ':' in it.
Result<void> write_layout(const fs::path& layout, const HeldImage& image) {
  LB_TRY(make_directories(layout));
  IndexEntry entry = image.entry;
  entry.name = kStagedName;
  return put_entry(layout, image.descriptor, entry);
}

/// What the image is labelled with (image_commit.h); empty: nothing.
std::string label_of(const Json& config, const char* label) {
  const Json* const inner = store::find_member(config, "config");
  const Json* const labels = inner == nullptr ? nullptr : store::find_member(*inner, "Labels");
  const Json* const vm = labels == nullptr ? nullptr : store::find_member(*labels, label);
  if (vm == nullptr) return {};
  return vm->is_string() && !vm->get<std::string>().empty() ? vm->get<std::string>() : "?";
}

/// An image with private keys or a password's hash in it is not for others by mistake.
Result<void> check_has_no_secrets(const StateDirs& dirs, const HeldImage& image) {
  LB_ASSIGN(const store::Image opened, store::open_image(str_cat("image@", image.entry.digest), dirs));
  const Json config = Json::parse(opened.config_text, nullptr, false);
  if (const std::string vm = label_of(config, kIdentityLabel); !vm.empty())
    return fail(
        EPERM, "it has in it what makes VM ", vm,
        " that machine, such as its ssh host keys: commit without --rebase and --keep-identity makes one "
        "for others, --with-identity pushes this one");
  if (const std::string vm = label_of(config, kPasswordLabel); !vm.empty())
    return fail(EPERM, "it has in it, as a hash, root's password that VM ", vm,
                " was given by --password: reset the VM, run it without and commit it again, or push this "
                "one by --with-identity");
  return {};
}

struct Copy {
  const fs::path& store;
  const fs::path& staging;  // holds the layout
  std::string destination;
  std::vector<std::string> words;  // of skopeo's, about the destination
  std::string label;               // of the progress; "": none
};

Result<void> carry_out(const Copy& copy) {
  std::optional<Progress> progress;
  if (!copy.label.empty()) progress.emplace(copy.label, 0);
  SkopeoCall call;
  call.words = {"copy", "--quiet", "--src-shared-blob-dir", fs::absolute(copy.store / "blobs").string()};
  call.words.insert(call.words.end(), copy.words.begin(), copy.words.end());
  call.words.push_back(str_cat("oci:layout:", kStagedName));
  call.words.push_back(copy.destination);
  call.working_directory = copy.staging;
  pid_t pid = -1;
  call.on_start = [&pid](pid_t started) { pid = started; };
  call.on_tick = [&] {
    if (progress) progress->update(bytes_read_by(pid));  // of the blobs, mostly
  };
  LB_TRY(run_skopeo(call));
  return {};
}

/// From standard input into a file, or from a file to standard output.
Result<void> copy_bytes(int from, int to) {
  std::vector<std::byte> piece(std::size_t{1} << 20);
  for (;;) {
    LB_TRY(InterruptScope::check());
    const ssize_t got = ::read(from, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error("cannot read the archive");
    if (got == 0) return {};
    for (auto rest = std::span(piece).first(static_cast<std::size_t>(got)); !rest.empty();) {
      const ssize_t put = ::write(to, rest.data(), rest.size());
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return errno_error("cannot write the archive");
      rest = rest.subspan(static_cast<std::size_t>(put));
    }
  }
}

/// Where an archive says what its images are called, and how skopeo is to read it.
struct ArchiveContents {
  std::string notation;
  fs::path file;  // it, or what it was unpacked into
  std::vector<std::string> names;
};

Result<ArchiveContents> look_into(const fs::path& file, const fs::path& cache) {
  LB_ASSIGN(const auto opened, store::open_archive(file, cache, store::Unpacking::kAllowed));
  const auto& archive = opened.tar;
  ArchiveContents contents;
  contents.file = opened.unpacked.empty() ? file : opened.unpacked;
  if (const auto text = archive->read("index.json", store::kMaxIndexJsonBytes)) {
    contents.notation = "oci-archive:";
    LB_ASSIGN(const auto index, store::parse_index(*text, "its index.json"));
    for (const auto& manifest : index.manifests) {
      if (!manifest.ref_name.empty()) contents.names.push_back(manifest.ref_name);
    }
    return contents;
  }
  const auto text = archive->read("manifest.json", store::kMaxManifestJsonBytes);
  if (!text) return fail(EINVAL, "it is no archive of images: it has neither index.json nor manifest.json");
  contents.notation = "docker-archive:";
  const Json list = Json::parse(*text, nullptr, false);
  if (!list.is_array()) return fail(EINVAL, "its manifest.json is damaged");
  for (const Json& image : list) {
    LB_ASSIGN(const auto tags, store::strings_member(image, "RepoTags", "its manifest.json"));
    contents.names.insert(contents.names.end(), tags.begin(), tags.end());
  }
  return contents;
}

}  // namespace

Result<std::string> push_image(const StateDirs& dirs, const PushOptions& options) {
  const InterruptScope interruptible;
  LB_ASSIGN(const HeldImage image, hold_image(dirs, options.reference));
  if (!options.with_identity) {
    const auto good = check_has_no_secrets(dirs, image);
    if (!good) return while_doing(good.error(), "cannot push ", options.reference);
  }
  const std::string wanted = options.destination.empty() ? image.entry.name : options.destination;
  if (wanted.empty())
    return fail(EINVAL, "image ", options.reference,
                " has no name: say where to push it, or give it one (layerboot tag)");
  Copy copy{.store = dirs.store(), .staging = {}, .destination = wanted, .words = {}, .label = {}};
  std::optional<ImageName> registry_name;
  if (!is_other_engines(wanted)) {
    LB_ASSIGN(registry_name, parse_image_name(wanted));
    if (!registry_name->digest.empty())
      return fail(EINVAL, "\"", wanted, "\": what is pushed gets a tag, not a digest");
    copy.destination = str_cat("docker://", registry_name->text());
    copy.words = {"--preserve-digests"};
    if (!options.tls_verify) copy.words.emplace_back("--dest-tls-verify=false");
  }
  if (options.show_progress) copy.label = str_cat("pushing ", wanted);
  LB_ASSIGN(const StagingDirectory staging, StagingDirectory::create(dirs.cache / "push"));
  LB_TRY(write_layout(staging.path() / "layout", image));
  const auto pushed = carry_out({.store = copy.store,
                                 .staging = staging.path(),
                                 .destination = copy.destination,
                                 .words = copy.words,
                                 .label = copy.label});
  const std::string name = registry_name ? registry_name->text() : wanted;
  if (pushed) return name;
  return fail(pushed.error().code, "cannot push ", name, ": ", pushed.error().describe(),
              registry_name ? registry_advice(pushed.error(), *registry_name) : "");
}

Result<void> save_image(const StateDirs& dirs, const SaveOptions& options) {
  const InterruptScope interruptible;
  const bool to_stdout = options.output.empty();
  if (to_stdout && ::isatty(STDOUT_FILENO) == 1)
    return fail(EINVAL, "an archive is not for a terminal: say --output FILE, or send it to a pipe");
  LB_ASSIGN(const HeldImage image, hold_image(dirs, options.reference));
  const bool is_docker = options.kind == ArchiveKind::kDocker;
  if (is_docker && image.entry.name.empty())
    return fail(EINVAL, "image ", options.reference,
                " has no name, which Docker's archives need: layerboot tag gives it one");
  LB_ASSIGN(const StagingDirectory staging,
            StagingDirectory::create(to_stdout ? dirs.cache / "save" : fs::absolute(options.output)));
  LB_TRY(write_layout(staging.path() / "layout", image));
  const std::string name = image.entry.name.empty() ? "" : str_cat(":", image.entry.name);
  const auto saved =
      carry_out({.store = dirs.store(),
                 .staging = staging.path(),
                 .destination = str_cat(is_docker ? "docker-archive:archive" : "oci-archive:archive", name),
                 .words = {},
                 .label = options.show_progress ? str_cat("saving ", options.reference) : ""});
  if (!saved) return while_doing(saved.error(), "cannot save ", options.reference);
  const fs::path made = staging.path() / "archive";
  LB_ASSIGN(const UniqueFd file, open_path(made, O_RDONLY));
  if (to_stdout) return copy_bytes(file.get(), STDOUT_FILENO);
  if (::fchmod(file.get(), 0644) != 0 || ::fsync(file.get()) != 0)
    return errno_error("cannot sync ", made.string());
  return rename_durably(made, fs::absolute(options.output));
}

Result<std::vector<std::string>> load_images(const StateDirs& dirs, const LoadOptions& options) {
  const InterruptScope interruptible;
  fs::path file = options.input.empty() ? fs::path() : fs::absolute(options.input);
  std::optional<StagingDirectory> staging;
  if (options.input.empty()) {
    if (::isatty(STDIN_FILENO) == 1)
      return fail(EINVAL, "say --input FILE, or send an archive to standard input");
    LB_ASSIGN(auto made, StagingDirectory::create(dirs.cache / "load"));
    staging.emplace(std::move(made));
    file = staging->path() / "archive";
    LB_ASSIGN(const UniqueFd copy, open_path(file, O_WRONLY | O_CREAT | O_EXCL, 0600));
    LB_TRY(copy_bytes(STDIN_FILENO, copy.get()));
  }
  const std::string what = options.input.empty() ? "standard input" : options.input.string();
  auto contents = look_into(file, dirs.unpacked());
  if (!contents) return while_doing(contents.error(), "cannot load ", what);
  if (!options.name.empty() && contents->names.size() > 1)
    return fail(EINVAL, what, " has several images, which can't all be called ", options.name);
  if (options.name.empty() && contents->names.empty())
    return fail(EINVAL, "the image in ", what, " has no name: layerboot load --input FILE NAME gives it one");
  if (contents->names.empty()) contents->names.emplace_back();
  std::vector<std::string> loaded;
  for (const std::string& name : contents->names) {
    PullOptions pull;
    pull.reference = str_cat(contents->notation, contents->file.string(), name.empty() ? "" : ":", name);
    pull.name = options.name.empty() ? name : options.name;
    pull.show_progress = options.show_progress;
    pull.keep_source = false;
    LB_ASSIGN(loaded.emplace_back(), pull_image(dirs.store(), pull));
  }
  return loaded;
}

}  // namespace layerboot::launcher
