#include "launcher/images/image_commit.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <system_error>

#include "launcher/host/process_io.h"
#include "launcher/host/run_tool.h"
#include "launcher/host/staging_directory.h"
#include "launcher/host/time_text.h"
#include "launcher/images/image_change.h"
#include "launcher/images/new_image.h"
#include "launcher/images/store_index.h"
#include "launcher/images/store_leftovers.h"
#include "oci-mount/base/decimal.h"
#include "oci-mount/base/progress.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;
using store::Json;

/// Of SOURCE_DATE_EPOCH, which oci-mount has found to be a time where it is set.
std::int64_t creation_time() {
  const char* const given = std::getenv("SOURCE_DATE_EPOCH");
  const auto seconds = parse_whole<std::int64_t>(given == nullptr ? "" : given);
  return seconds ? *seconds : seconds_now();
}

/// The base's configuration with what was asked for, but for the new layer.
Result<Json> changed_config(const store::Image& base, const CommitOptions& options) {
  LB_ASSIGN(Json config, store::parse_json_object(base.config_text, store::kMaxManifestJsonBytes,
                                                  store::kMaxJsonDepth, "the image's config"));
  for (const std::string& change : options.changes) LB_TRY(apply_change(config["config"], change));
  return config;
}

/// An entry for each of the base's layers: buildah refuses an image whose history tells of some layers only.
void complete_history(Json& history, std::size_t layer_count) {
  const auto is_of_a_layer = [](const Json& entry) {
    return !entry.is_object() || !entry.value("empty_layer", Json(false)).is_boolean() ||
           !entry.value("empty_layer", false);
  };
  auto told = static_cast<std::size_t>(std::ranges::count_if(history, is_of_a_layer));
  for (; told < layer_count; ++told) history.push_back({{"created_by", "not told"}});
}

void add_history(Json& config, const CommitOptions& options, const std::string& created,
                 bool has_layer = true) {
  Json& history = config["history"];
  if (!history.is_array()) history = Json::array();
  const Json* const diff_ids = store::find_member(config["rootfs"], "diff_ids");
  if (diff_ids != nullptr) complete_history(history, diff_ids->size());
  if (options.squash) {
    for (Json& entry : history) {
      if (entry.is_object()) entry["empty_layer"] = true;
    }
  }
  Json entry = {{"created", created}, {"created_by", options.created_by}};
  if (!has_layer) entry["empty_layer"] = true;
  if (!options.author.empty()) entry["author"] = options.author;
  if (!options.message.empty()) entry["comment"] = options.message;
  history.push_back(std::move(entry));
}

/// Whether all is one layer now that is to have no machine's identity, whatever the image below has.
bool drops_identity(const Json& config, const CommitOptions& options) {
  return options.squash && !options.keep_identity && !label_in(config, kIdentityLabel).empty();
}

/// What is not for everybody. Whoever has the image below has its identity too, unless that is dropped; and
/// whoever has a layer with a hash of a password can guess at that.
void label_secrets(Json& config, const CommitOptions& options) {
  Json& inner = config["config"];
  if (!inner.is_object()) inner = Json::object();
  Json& labels = inner["Labels"];
  if (!labels.is_object()) labels = Json::object();
  if (options.keep_identity) labels[kIdentityLabel] = options.vm;
  if (options.drop_identity) labels.erase(kIdentityLabel);
  if (options.has_password) labels[kPasswordLabel] = options.vm;
  if (labels.empty()) inner.erase("Labels");
}

/// For one more layer, and for those that a VM of the new image has on top of it.
Result<void> check_has_room(const store::Image& base, const CommitOptions& options) {
  const std::size_t own = std::max<std::size_t>(options.added_layers.size(), 1);
  if (base.layers.size() + 1 + own <= store::kMaxLayers) return {};
  return fail(E2BIG, options.image, " has ", base.layers.size(), " layers; with one more, and ", own,
              " that the VM has on top, there would be more than ", store::kMaxLayers,
              ", and nothing could run it: layerboot commit --squash makes one layer of them");
}

Result<Json> finished_config(Json config, const CommitOptions& options, const std::string& diff_id) {
  const std::string created = utc_text(creation_time());
  config["created"] = created;
  if (!options.author.empty()) config["author"] = options.author;
  add_history(config, options, created);
  Json& diff_ids = config["rootfs"]["diff_ids"];
  if (options.squash || !diff_ids.is_array()) diff_ids = Json::array();
  diff_ids.push_back(diff_id);
  config["rootfs"]["type"] = "layers";
  return config;
}

}  // namespace

std::string label_in(const Json& config, const char* label) {
  const Json* const inner = store::find_member(config, "config");
  const Json* const labels = inner == nullptr ? nullptr : store::find_member(*inner, "Labels");
  const Json* const vm = labels == nullptr ? nullptr : store::find_member(*labels, label);
  if (vm == nullptr) return {};
  return vm->is_string() && !vm->get<std::string>().empty() ? vm->get<std::string>() : "?";
}

Result<Json> write_written_layer(const StateDirs& dirs, const CommitOptions& options, const fs::path& file) {
  ToolSpec tool;
  tool.argv = {options.oci_mount.string(), "-q",         "--index-dir",
               dirs.index().string(),      "--platform", store::platform_text(options.platform)};
  for (const fs::path& layer : options.added_layers)
    tool.argv.insert(tool.argv.end(), {"--add-layer", layer.string()});
  tool.argv.insert(tool.argv.end(),
                   {"diff", "--layer", "--compression", options.compression, "--output", file.string()});
  if (options.squash) tool.argv.emplace_back("--squash");
  if (options.keep_identity) tool.argv.emplace_back("--keep-identity");
  if (options.drop_identity) tool.argv.emplace_back("--drop-identity");
  tool.argv.insert(tool.argv.end(), {options.image, options.upper.string()});
  std::optional<Progress> progress;
  if (options.show_progress) progress.emplace(str_cat("committing ", options.vm), 0);
  pid_t pid = -1;
  tool.on_start = [&pid](pid_t started) { pid = started; };
  tool.on_tick = [&] {
    if (progress) progress->update(bytes_written_by(pid));
  };
  std::string warnings;
  tool.messages = &warnings;
  LB_ASSIGN(const std::string said, run_tool(tool));
  progress.reset();
  if (!warnings.empty()) std::fprintf(stderr, "%s\n", warnings.c_str());
  return store::parse_json_object(said, store::kMaxManifestJsonBytes, store::kMaxJsonDepth,
                                  "what oci-mount says of the layer");
}

Result<void> check_takes_layers(const store::Image& image, std::string_view name) {
  if (std::ranges::none_of(image.layers, &store::ImageLayer::is_directory)) return {};
  return fail(ENOTSUP, name, " is a directory, not an image that a layer could be added to");
}

Result<std::string> commit_image(const StateDirs& dirs, CommitOptions options) {
  LB_ASSIGN(const store::Image base, store::open_image(options.image, dirs, {.platform = options.platform}));
  LB_TRY(check_takes_layers(base, options.image));
  if (!options.squash) LB_TRY(check_has_room(base, options));
  LB_ASSIGN(Json config, changed_config(base, options));
  options.drop_identity = drops_identity(config, options);
  const InterruptScope interruptible;
  LB_ASSIGN(const StoreLock lock, StoreLock::acquire(dirs.store()));
  LB_TRY(remove_leftovers(dirs.store()));
  LB_ASSIGN(const StagingDirectory staging, StagingDirectory::create(dirs.store() / "pull"));
  NewImage image(dirs.store());
  if (!options.squash) {
    for (const auto& layer : base.layers) LB_TRY(image.add_layer(layer));
  }
  const fs::path file = staging.path() / "layer";
  if (options.before_reading) LB_TRY(options.before_reading());
  LB_ASSIGN(const Json written, write_written_layer(dirs, options, file));
  if (options.after_reading) LB_TRY(options.after_reading());
  LB_ASSIGN(const std::string diff_id, store::string_member(written, "diff_id", "the new layer"));
  LB_ASSIGN(const std::uint64_t size_bytes, store::size_member(written, "size", "the new layer"));
  LB_TRY(image.add_layer_file(file, {{"mediaType", store::text_member(written, "mediaType")},
                                     {"digest", store::text_member(written, "digest")},
                                     {"size", size_bytes}}));
  label_secrets(config, options);
  LB_ASSIGN(config, finished_config(std::move(config), options, diff_id));
  return image.finish(config, options.name);
}

Result<std::string> change_image(const StateDirs& dirs, const CommitOptions& options) {
  LB_ASSIGN(const store::Image base, store::open_image(options.image, dirs, {.platform = options.platform}));
  for (const auto& layer : base.layers) {
    if (layer.is_directory)
      return fail(ENOTSUP, options.image, " is a directory, not an image to be changed");
  }
  LB_ASSIGN(Json config, changed_config(base, options));
  const InterruptScope interruptible;
  LB_ASSIGN(const StoreLock lock, StoreLock::acquire(dirs.store()));
  NewImage image(dirs.store());
  for (const auto& layer : base.layers) LB_TRY(image.add_layer(layer));
  const std::string created = utc_text(creation_time());
  config["created"] = created;
  add_history(config, options, created, false);
  return image.finish(config, options.name);
}

}  // namespace layerboot::launcher
