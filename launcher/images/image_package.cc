#include "launcher/images/image_package.h"

#include <fcntl.h>
#include <unistd.h>

#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "launcher/host/run_tool.h"
#include "launcher/host/staging_directory.h"
#include "launcher/images/image_commit.h"
#include "launcher/images/new_image.h"
#include "launcher/images/package_layout.h"
#include "launcher/images/store_index.h"
#include "launcher/images/store_leftovers.h"
#include "oci-mount/base/absolute_path.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/progress.h"
#include "oci-mount/base/remove_tree.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;
using store::Json;

constexpr const char* kTarType = "application/vnd.oci.image.layer.v1.tar";
/// Of the VM's image, a container's layer each; those that are left share one. overlay2 stacks 128 at most.
constexpr std::size_t kMaxOwnLayers = 64;
constexpr std::size_t kPieceBytes = std::size_t{1} << 20;

/// A directory that a layer is made of: the files' places, and symlinks there to what they hold.
class LayerTree {
 public:
  explicit LayerTree(fs::path root) : root_(std::move(root)) {}

  Result<void> add(std::string_view place, const fs::path& source) {
    const fs::path path = root_ / fs::path(place).relative_path();
    LB_TRY(make_directories(path.parent_path()));
    LB_ASSIGN(const fs::path whole, absolute_path(source));
    if (::symlink(whole.c_str(), path.c_str()) != 0) return errno_error("cannot make ", path.string());
    return {};
  }
  Result<void> add_text(std::string_view place, std::string_view text) {
    const fs::path path = root_ / fs::path(place).relative_path();
    LB_TRY(make_directories(path.parent_path()));
    return write_whole_file(path, text);
  }
  [[nodiscard]] const fs::path& root() const { return root_; }

 private:
  fs::path root_;
};

/// Owners, times and modes are made the same whoever packs, so that the same files are the same layer.
Result<void> pack(const LayerTree& tree, const fs::path& file) {
  ToolSpec tool;
  tool.argv = {"tar",
               "--create",
               "--file",
               file.string(),
               "--sort",
               "name",
               "--format",
               "gnu",
               "--mtime",
               "@0",
               "--owner",
               "0",
               "--group",
               "0",
               "--mode",
               "u=rwX,go=rX",
               "--numeric-owner",
               "--dereference",
               "--directory",
               tree.root().string()};
  // Without "./", which would give the container's root our attributes.
  std::error_code error;
  std::set<std::string> tops;
  for (const auto& entry : fs::directory_iterator(tree.root(), error))
    tops.insert(entry.path().filename().string());
  if (error) return fail(error.value(), "cannot read ", tree.root().string());
  tool.argv.insert(tool.argv.end(), tops.begin(), tops.end());
  LB_TRY(run_tool(tool));
  return {};
}

/// The file's descriptor, when it is durable.
Result<Json> describe_tar(const fs::path& path) {
  LB_ASSIGN(const UniqueFd file, open_path(path, O_RDONLY));
  LB_ASSIGN(auto hasher, store::Hasher::create(store::HashAlgorithm::kSha256));
  std::vector<std::byte> piece(kPieceBytes);
  std::uint64_t size_bytes = 0;
  for (;;) {
    LB_TRY(InterruptScope::check());
    const ssize_t got = ::read(file.get(), piece.data(), piece.size());
    if (got < 0) return errno_error("cannot read ", path.string());
    if (got == 0) break;
    hasher.update(std::span(piece).first(static_cast<std::size_t>(got)));
    size_bytes += static_cast<std::uint64_t>(got);
  }
  if (::fsync(file.get()) != 0) return errno_error("cannot sync ", path.string());
  return Json{{"mediaType", kTarType}, {"digest", hasher.finish().text()}, {"size", size_bytes}};
}

/// The container's image while it grows.
class Package {
 public:
  Package(const fs::path& store, fs::path work) : image_(store), work_(std::move(work)) {}

  Result<void> add_base(const store::Image& base) {
    for (const store::ImageLayer& layer : base.layers) {
      LB_TRY(image_.add_layer(layer));
      note(layer.diff_id.text(), "the programs' image");
    }
    return {};
  }

  /// For add(). REQUIRES: the one before was added.
  Result<LayerTree> new_tree() {
    const fs::path root = work_ / "tree";
    LB_TRY(remove_tree(root));
    LB_TRY(make_directories(root));
    return LayerTree(root);
  }

  Result<void> add(const LayerTree& tree, std::string_view what) {
    const fs::path file = work_ / "layer.tar";
    LB_TRY(pack(tree, file));
    LB_ASSIGN(Json descriptor, describe_tar(file));
    const std::string digest = store::text_member(descriptor, "digest");
    LB_TRY(image_.add_layer_file(file, std::move(descriptor)));
    note(digest, what);
    return {};
  }

  Result<std::string> finish(Json config, const std::string& name) {
    config["rootfs"] = {{"type", "layers"}, {"diff_ids", std::move(diff_ids_)}};
    config["history"] = std::move(history_);
    return image_.finish(config, name);
  }

 private:
  void note(const std::string& diff_id, std::string_view what) {
    diff_ids_.push_back(diff_id);
    history_.push_back({{"created_by", str_cat("layerboot package: ", what)}});
  }

  NewImage image_;
  fs::path work_;
  Json diff_ids_ = Json::array();
  Json history_ = Json::array();
};

Result<void> add_programs(Package& package, const PackageOptions& options) {
  LB_ASSIGN(LayerTree tree, package.new_tree());
  LB_TRY(tree.add("/usr/bin/layerboot", options.layerboot));
  LB_TRY(tree.add("/usr/bin/vfsd", options.vfsd));
  LB_TRY(tree.add("/usr/libexec/layerboot/guest-init", options.guest_init));
  return package.add(tree, "layerboot");
}

Result<void> add_kernel(Package& package, const Kernel& kernel) {
  LB_ASSIGN(LayerTree tree, package.new_tree());
  const fs::path directory = kernel.vmlinuz.parent_path();
  const fs::path place = kPackagedKernel;
  std::error_code ignored;
  for (const char* name : {"vmlinuz", "release", "config", "modules.tar"}) {
    if (fs::exists(directory / name, ignored)) LB_TRY(tree.add((place / name).string(), directory / name));
  }
  LB_TRY(tree.add((place / "initrd").string(), kernel.initrd));
  return package.add(tree, str_cat("kernel ", kernel.release));
}

/// The VM's image as a layout of its own in `layout`: copied, and so read once from end to end.
Result<void> copy_image(const store::Image& image, const fs::path& layout, const PackageOptions& options) {
  std::optional<Progress> progress;
  std::uint64_t total_bytes = 0;
  for (const store::ImageLayer& layer : image.layers) total_bytes += layer.size_bytes;
  if (options.show_progress) progress.emplace(str_cat("packaging ", image.reference), total_bytes);
  NewImage copy(layout);
  std::uint64_t done_bytes = 0;
  for (const store::ImageLayer& layer : image.layers) {
    LB_TRY(copy.add_layer(layer));
    done_bytes += layer.size_bytes;
    if (progress) progress->update(done_bytes);
  }
  LB_ASSIGN(const Json config, store::parse_json_object(image.config_text, store::kMaxManifestJsonBytes,
                                                        store::kMaxJsonDepth, "the image's config"));
  LB_TRY(copy.finish(config, std::string(kPackagedTag)));
  return {};
}

Result<void> add_image(Package& package, const store::Image& image, const fs::path& layout,
                       const PackageOptions& options) {
  LB_TRY(copy_image(image, layout, options));
  const fs::path place = kPackagedImage;
  std::set<fs::path> added;
  const auto add_blob = [&](LayerTree& tree, const fs::path& blob) -> Result<void> {
    added.insert(blob);
    return tree.add((place / fs::relative(blob, layout)).string(), blob);
  };
  for (const store::ImageLayer& layer : image.layers) {
    if (added.size() == kMaxOwnLayers) break;
    const fs::path blob = blob_path(layout, layer.blob);
    if (added.contains(blob)) continue;
    LB_ASSIGN(LayerTree tree, package.new_tree());
    LB_TRY(add_blob(tree, blob));
    LB_TRY(package.add(tree, str_cat("a layer of the VM, ", layer.blob.text())));
  }
  LB_ASSIGN(LayerTree tree, package.new_tree());
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(layout, error)) {
    if (entry.is_regular_file() && !added.contains(entry.path())) LB_TRY(add_blob(tree, entry.path()));
  }
  if (error) return fail(error.value(), "cannot read ", layout.string());
  std::string words;
  for (const std::string& word : options.run_options) words += str_cat(word, '\n');
  LB_TRY(tree.add_text(kPackagedOptions, words));
  return package.add(tree, "the VM");
}

/// As containers' engines read it. No user: root of a container keeps files' owners, and may have /dev/kvm;
/// another one is the engine's to give, and works as well.
Result<Json> container_config(const store::Image& image, const PackageOptions& options) {
  LB_ASSIGN(const Json known, store::parse_json_object(image.config_text, store::kMaxManifestJsonBytes,
                                                       store::kMaxJsonDepth, "the image's config"));
  Json ports = Json::object();
  for (const auto* list : {&image.config.exposed_ports, &options.ports}) {
    for (const std::string& port : *list) {
      const bool has_protocol = port.find('/') != std::string::npos;
      ports[has_protocol ? port : str_cat(port, "/tcp")] = Json::object();
    }
  }
  const Json environment = {str_cat("PATH=", kPackagedPath), str_cat("XDG_DATA_HOME=", kPackagedData),
                            str_cat("XDG_CACHE_HOME=", kPackagedCache),
                            str_cat("XDG_RUNTIME_DIR=", kPackagedRuntime)};
  Json config = {{"architecture", image.config.platform.architecture},
                 {"os", "linux"},
                 {"config",
                  {{"Entrypoint", {"/usr/bin/layerboot", "packaged"}},
                   {"Env", environment},
                   {"WorkingDir", "/"},
                   {"StopSignal", "SIGTERM"},
                   {"Volumes", {{std::string(kPackagedState), Json::object()}}}}}};
  if (!ports.empty()) config["config"]["ExposedPorts"] = std::move(ports);
  // What the VM's is not for everybody for, holds for the package, too.
  if (const Json* const inner = store::find_member(known, "config"); inner != nullptr) {
    const Json* const labels = store::find_member(*inner, "Labels");
    for (const char* label : {kIdentityLabel, kPasswordLabel}) {
      const Json* const kept = labels == nullptr ? nullptr : store::find_member(*labels, label);
      if (kept != nullptr) config["config"]["Labels"][label] = *kept;
    }
  }
  // The VM's: packaged twice, it is the same image.
  if (const std::string created = store::text_member(known, "created"); !created.empty())
    config["created"] = created;
  return config;
}

}  // namespace

Result<std::string> package_image(const StateDirs& dirs, const PackageOptions& options) {
  LB_ASSIGN(const store::Image image, store::open_image(options.image, dirs));
  LB_ASSIGN(const store::Image base, store::open_image(options.base, dirs));
  for (const store::Image* part : {&image, &base}) {
    for (const auto& layer : part->layers) {
      if (layer.is_directory) return fail(ENOTSUP, part->reference, " is a directory, not an image");
    }
  }
  LB_ASSIGN(Json config, container_config(image, options));
  const InterruptScope interruptible;
  LB_ASSIGN(const StoreLock lock, StoreLock::acquire(dirs.store()));
  LB_TRY(remove_leftovers(dirs.store()));
  LB_ASSIGN(const StagingDirectory staging, StagingDirectory::create(dirs.store() / "pull"));
  Package package(dirs.store(), staging.path());
  LB_TRY(package.add_base(base));
  LB_TRY(add_programs(package, options));
  LB_TRY(add_kernel(package, options.kernel));
  LB_TRY(add_image(package, image, staging.path() / "image", options));
  return package.finish(std::move(config), options.name);
}

}  // namespace layerboot::launcher
