#include "launcher/images/image_send.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <set>

#include "launcher/host/output_place.h"
#include "launcher/host/process_io.h"
#include "launcher/host/run_tool.h"
#include "launcher/host/staging_directory.h"
#include "launcher/images/held_image.h"
#include "launcher/images/image_commit.h"
#include "launcher/images/image_name.h"
#include "launcher/images/pull_source.h"
#include "launcher/images/skopeo.h"
#include "launcher/images/store_pull.h"
#include "oci-mount/base/absolute_path.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/progress.h"
#include "oci-mount/store/docker_archive.h"
#include "oci-mount/store/image.h"
#include "oci-mount/store/media_types.h"
#include "oci-mount/store/oci_json.h"
#include "oci-mount/store/unpacked_archive.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;
using store::Json;

/// An image with private keys or a password's hash in it is not for others by mistake.
Result<void> check_has_no_secrets(const StateDirs& dirs, const HeldImage& image) {
  LB_ASSIGN(const store::Image opened,
            store::open_image(str_cat("image@", image.entry.digest), dirs, {.or_other = true}));
  const Json config = Json::parse(opened.config_text, nullptr, false);
  if (const std::string vm = label_in(config, kIdentityLabel); !vm.empty())
    return fail(EPERM, "it has in it, or in an image below, what makes VM ", vm,
                " that machine, such as its ssh host keys: commit --squash, without --rebase and "
                "--keep-identity, makes one for others; --with-identity takes this one");
  if (const std::string vm = label_in(config, kPasswordLabel); !vm.empty())
    return fail(EPERM, "it has in it, as a hash, root's password that VM ", vm,
                " was given by --password: reset the VM, run it without and commit it again; "
                "--with-identity takes this one");
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
  LB_ASSIGN(const fs::path blobs, absolute_path(copy.store / "blobs"));
  call.words = {"copy", "--quiet", "--src-shared-blob-dir", blobs.string()};
  call.words.insert(call.words.end(), copy.words.begin(), copy.words.end());
  call.words.push_back(str_cat("oci:layout:", kHeldName));
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

/// As the person's umask has it.
mode_t mode_of_new_files() {
  const mode_t mask = ::umask(0);
  ::umask(mask);
  return 0666 & ~mask;
}

Result<void> check_is_for_an_archive(int fd) {
  if (::isatty(fd) != 1) return {};
  return fail(EINVAL, "an archive is not for a terminal: say --output FILE, or send it to a pipe");
}

struct NamedImage {
  std::string reference;  // skopeo's, of the archive's only image without a name in it
  std::string name;       // empty: none
};

/// Where an archive says what its images are called.
struct ArchiveContents {
  fs::path file;  // it, or what it was unpacked into
  std::vector<NamedImage> images;
};

/// As Docker's archives have it; none where there is no manifest.json.
Result<std::vector<NamedImage>> images_by_repo_tags(const store::TarArchive& archive, const fs::path& file) {
  std::vector<NamedImage> images;
  const auto text = archive.read("manifest.json", store::kMaxManifestJsonBytes);
  if (!text && text.error().code == ENOENT) return images;
  if (!text) return std::unexpected(text.error());
  const std::string source = str_cat("docker-archive:", file.string());
  LB_ASSIGN(const auto list, store::parse_docker_manifest(*text, "its manifest.json"));
  for (const auto& image : list) {
    for (const std::string& tag : image.tags) images.push_back({str_cat(source, ":", tag), tag});
  }
  if (images.empty()) images.push_back({source, ""});
  return images;
}

/// As an OCI layout has it. Tools of containerd's write the tag alone where others write the whole name,
/// which they put beside it.
std::vector<NamedImage> images_by_annotations(const store::IndexDocument& index, const fs::path& file) {
  const std::string source = str_cat("oci-archive:", file.string());
  std::vector<NamedImage> images;
  for (const auto& manifest : index.manifests) {
    if (manifest.ref_name.empty() && manifest.full_name.empty()) continue;
    NamedImage image{manifest.ref_name.empty() ? source : str_cat(source, ":", manifest.ref_name),
                     manifest.full_name.empty() ? manifest.ref_name : manifest.full_name};
    const bool is_known = std::ranges::any_of(images, [&](const NamedImage& other) {
      return other.reference == image.reference && other.name == image.name;
    });
    if (!is_known) images.push_back(std::move(image));
  }
  if (images.empty()) images.push_back({source, ""});
  return images;
}

/// One that skopeo finds by nothing else than another one of them; null where each is told apart.
const NamedImage* find_one_of_two_alike(const std::vector<NamedImage>& images) {
  std::set<std::string> references;
  for (const NamedImage& image : images) {
    if (!references.insert(image.reference).second) return &image;
  }
  return nullptr;
}

bool has_whole_names(const std::vector<NamedImage>& images) {
  return std::ranges::all_of(
      images, [](const NamedImage& image) { return image.name.find_first_of(":/") != std::string::npos; });
}

Result<ArchiveContents> look_into(const fs::path& file, const fs::path& cache) {
  LB_ASSIGN(const auto opened, store::open_archive(file, cache, store::Unpacking::kAllowed));
  ArchiveContents contents;
  contents.file = opened.unpacked.empty() ? file : opened.unpacked;
  if (const auto text = opened.tar->read("index.json", store::kMaxIndexJsonBytes)) {
    LB_ASSIGN(const auto index, store::parse_index(*text, "its index.json"));
    contents.images = images_by_annotations(index, contents.file);
    if (has_whole_names(contents.images) && find_one_of_two_alike(contents.images) == nullptr)
      return contents;
  }
  LB_ASSIGN(auto tagged, images_by_repo_tags(*opened.tar, contents.file));
  const bool is_named = !tagged.empty() && !tagged.front().name.empty();
  if (is_named || contents.images.empty()) contents.images = std::move(tagged);
  if (contents.images.empty())
    return fail(EINVAL, "it is no archive of images: it has neither index.json nor manifest.json");
  if (const NamedImage* const one = find_one_of_two_alike(contents.images))
    return fail(EINVAL, "several of its images have the same tag and nothing else to tell them apart (",
                printable(one->name), " among them): export them one by one");
  return contents;
}

/// Standard input, or a file under another name. Gives `to`.
Result<fs::path> bring_in(const fs::path& from, const fs::path& to) {
  if (!from.empty()) {
    std::error_code error;
    LB_TRY(open_path(from, O_RDONLY));
    fs::create_symlink(from, to, error);
    if (error) return fail(error.value(), to.string());
    return to;
  }
  LB_ASSIGN(const UniqueFd copy, open_path(to, O_WRONLY | O_CREAT | O_EXCL, 0600));
  const auto got = copy_stream(STDIN_FILENO, copy.get());
  if (!got) return while_doing(got.error(), "the archive");
  return to;
}

/// With the digest that it has where that can be: not of Docker's manifests, which the store has converted.
Result<std::string> take_in(const StateDirs& dirs, PullOptions pull) {
  pull.keeps_digest = pull.reference.starts_with("oci-archive:");
  auto taken = pull_image(dirs, pull);
  if (taken || !pull.keeps_digest || taken.error().code == EINTR) return taken;
  pull.keeps_digest = false;
  return pull_image(dirs, pull);
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
  LB_TRY(write_layout_of(staging.path() / "layout", image));
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
  if (options.output.empty()) LB_TRY(check_is_for_an_archive(STDOUT_FILENO));
  LB_ASSIGN(const HeldImage image, hold_image(dirs, options.reference));
  if (!options.with_identity) {
    const auto good = check_has_no_secrets(dirs, image);
    if (!good) return while_doing(good.error(), "cannot save ", options.reference);
  }
  const bool is_docker = options.kind == ArchiveKind::kDocker;
  if (is_docker && image.entry.name.empty())
    return fail(EINVAL, "image ", options.reference,
                " has no name, which Docker's archives need: layerboot tag gives it one");
  OutputPlace place;
  if (!options.output.empty()) {
    LB_ASSIGN(place, open_output(options.output));
  }
  if (place.stream) LB_TRY(check_is_for_an_archive(place.stream.get()));
  const fs::path target = place.file.empty() ? dirs.cache / "save" : place.file;
  StagingDirectory::remove_leftovers(target);
  LB_ASSIGN(const StagingDirectory staging, StagingDirectory::create(target));
  LB_TRY(write_layout_of(staging.path() / "layout", image));
  const std::string name = image.entry.name.empty() ? "" : str_cat(":", image.entry.name);
  std::vector<std::string> words;
  // Or layers that are not compressed would be.
  if (!is_docker && image.entry.media_type == store::kOciManifestType)
    words.emplace_back("--preserve-digests");
  const auto saved =
      carry_out({.store = dirs.store(),
                 .staging = staging.path(),
                 .destination = str_cat(is_docker ? "docker-archive:archive" : "oci-archive:archive", name),
                 .words = words,
                 .label = options.show_progress ? str_cat("saving ", options.reference) : ""});
  if (!saved) return while_doing(saved.error(), "cannot save ", options.reference);
  const fs::path made = staging.path() / "archive";
  LB_ASSIGN(const UniqueFd file, open_path(made, O_RDONLY));
  if (place.file.empty()) {
    const auto sent = copy_stream(file.get(), place.stream ? place.stream.get() : STDOUT_FILENO);
    return sent ? sent : while_doing(sent.error(), "the archive");
  }
  if (::fchmod(file.get(), mode_of_new_files()) != 0 || ::fsync(file.get()) != 0)
    return errno_error("cannot sync ", made.string());
  return rename_durably(made, place.file);
}

Result<std::vector<std::string>> load_images(const StateDirs& dirs, const LoadOptions& options) {
  const InterruptScope interruptible;
  fs::path file;
  if (!options.input.empty()) {
    LB_ASSIGN(file, absolute_path(options.input));
  }
  std::optional<StagingDirectory> staging;
  if (options.input.empty() && ::isatty(STDIN_FILENO) == 1)
    return fail(EINVAL, "say --input FILE, or send an archive to standard input");
  // skopeo takes what is behind a ':' for a tag.
  if (options.input.empty() || file.string().contains(':')) {
    StagingDirectory::remove_leftovers(dirs.cache / "load");
    LB_ASSIGN(auto made, StagingDirectory::create(dirs.cache / "load"));
    staging.emplace(std::move(made));
    LB_ASSIGN(file, bring_in(file, staging->path() / "archive"));
  }
  const std::string what = options.input.empty() ? "standard input" : options.input.string();
  auto contents = look_into(file, dirs.unpacked());
  if (!contents) return while_doing(contents.error(), "cannot load ", what);
  if (!options.name.empty() && contents->images.size() > 1)
    return fail(EINVAL, what, " has several images, which can't all be called ", options.name);
  if (options.name.empty() && contents->images.front().name.empty())
    return fail(EINVAL, "the image in ", what, " has no name: layerboot load --input FILE NAME gives it one");
  std::vector<std::string> loaded;
  for (const NamedImage& image : contents->images) {
    PullOptions pull;
    pull.reference = image.reference;
    pull.name = options.name.empty() ? image.name : options.name;
    pull.show_progress = options.show_progress;
    pull.keep_source = false;
    pull.any_platform = true;
    LB_ASSIGN(loaded.emplace_back(), take_in(dirs, pull));
  }
  return loaded;
}

}  // namespace layerboot::launcher
