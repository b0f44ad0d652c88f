#include "launcher/cli/image_show.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <vector>

#include "launcher/cli/columns.h"
#include "launcher/cli/image_list.h"
#include "launcher/host/time_text.h"
#include "launcher/images/image_supply.h"
#include "launcher/images/image_use.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/progress.h"
#include "oci-mount/store/image.h"
#include "oci-mount/store/json_document.h"

namespace layerboot::launcher {

namespace {

using nlohmann::json;

constexpr std::size_t kShownCommandBytes = 60;

/// One step of the image's making, as its config tells. Some change the config alone, and have no layer.
struct Step {
  std::string created;
  std::string created_by;
  const store::ImageLayer* layer = nullptr;
};

/// The config's history with its layers; layers that it does not tell of come last, without words. A history
/// is for people: what is odd in it is left out.
std::vector<Step> steps_of(const store::Image& image) {
  std::vector<Step> steps;
  const auto config =
      store::parse_json_object(image.config_text, store::kMaxManifestJsonBytes, store::kMaxJsonDepth, "");
  const json* const history = config ? store::find_member(*config, "history") : nullptr;
  std::size_t next = 0;
  if (history != nullptr && history->is_array()) {
    for (const json& entry : *history) {
      const json* const empty = store::find_member(entry, "empty_layer");
      const bool has_layer = empty == nullptr || *empty != true;
      Step step{store::text_member(entry, "created"), store::text_member(entry, "created_by"), nullptr};
      if (step.created_by.empty()) step.created_by = store::text_member(entry, "comment");
      if (has_layer && next < image.layers.size()) step.layer = &image.layers[next++];
      steps.push_back(std::move(step));
    }
  }
  while (next < image.layers.size()) steps.push_back({{}, {}, &image.layers[next++]});
  return steps;
}

/// The size of the layer's index with its recut file; none where it has no index.
std::optional<std::uint64_t> index_bytes(const StateDirs& dirs, const store::ImageLayer& layer) {
  if (layer.is_directory) return {};
  std::optional<std::uint64_t> sum;
  for (const char* const extension : {".lidx", ".zst"}) {
    struct stat st{};
    const auto path = dirs.index() / (layer.blob.file_name() + extension);
    if (::stat(path.c_str(), &st) == 0) sum = sum.value_or(0) + static_cast<std::uint64_t>(st.st_size);
  }
  return sum;
}

std::string digest_of_layer(const store::ImageLayer& layer) {
  return layer.is_directory ? str_cat("dir:", layer.path.string()) : layer.blob.text();
}

json layer_json(const StateDirs& dirs, const store::ImageLayer& layer) {
  if (layer.is_directory) return {{"directory", layer.path.string()}};
  const auto index = index_bytes(dirs, layer);
  return {{"digest", layer.blob.text()},
          {"diff_id", layer.diff_id.text()},
          {"media_type", layer.media_type},
          {"size_bytes", layer.size_bytes},
          {"index_bytes", index ? json(*index) : json()}};
}

/// What the local store says of it.
Result<json> stored_json(const StateDirs& dirs, const IndexEntry& entry) {
  const StoredImage image = look_at_image(dirs.store(), entry);
  LB_ASSIGN(const ImageUse use, ImageUse::look(dirs));
  return json{{"name", image.name},
              {"digest", image.digest},
              {"registry_digest", image.registry_digest.empty() ? json() : json(image.registry_digest)},
              {"source", image.source.empty() ? json() : json(image.source)},
              {"id", image.config_digest.empty() ? json() : json(image.config_digest)},
              {"media_type", image.media_type},
              {"size_bytes", image.size_bytes},
              {"in_use_by", use.vms_of(image)},
              {"problem", image.problem.empty() ? json() : json(image.problem)}};
}

void add_opened(const StateDirs& dirs, const store::Image& image, json& object) {
  object["manifest_digest"] = image.config_text.empty() ? json() : json(image.manifest_digest.text());
  object["chain_id"] = image.chain_id.text();
  object["layers"] = json::array();
  for (const auto& layer : image.layers) object["layers"].push_back(layer_json(dirs, layer));
  const auto config =
      store::parse_json_object(image.config_text, store::kMaxManifestJsonBytes, store::kMaxJsonDepth, "");
  object["config"] = config ? *config : json();
}

std::string one_line(std::string text, bool whole) {
  std::ranges::replace(text, '\t', ' ');
  text = printable_whole(text);
  if (!whole && text.size() > kShownCommandBytes) text = str_cat(text.substr(0, kShownCommandBytes), "...");
  return text;
}

}  // namespace

Result<json> inspect_image(const StateDirs& dirs, const std::string& reference) {
  json object = {{"reference", reference}};
  LB_ASSIGN(const auto entries, find_entries(dirs, reference));
  std::string opened = reference;
  if (!entries.empty()) {
    LB_ASSIGN(const json stored, stored_json(dirs, entries.front()));
    object.update(stored);
    if (!object["problem"].is_null()) return object;
  }
  LB_ASSIGN(opened, supply_image(dirs, reference, {.policy = PullPolicy::kNever}));
  LB_ASSIGN(const store::Image image, store::open_image(opened, dirs, {.or_other = true}));
  add_opened(dirs, image, object);
  return object;
}

Result<void> show_history(const StateDirs& dirs, const Options& options) {
  LB_ASSIGN(const std::string reference, supply_image(dirs, options.image, {.policy = PullPolicy::kNever}));
  LB_ASSIGN(const store::Image image, store::open_image(reference, dirs, {.or_other = true}));
  std::vector<Step> steps = steps_of(image);
  std::ranges::reverse(steps);
  json list = json::array();
  std::vector<std::vector<std::string>> rows{{"LAYER", "CREATED", "SIZE", "INDEX", "CREATED BY"}};
  for (const Step& step : steps) {
    const auto created = parse_utc(step.created);
    const auto index = step.layer == nullptr ? std::nullopt : index_bytes(dirs, *step.layer);
    if (options.json) {
      list.push_back({{"created", created ? json(utc_text(*created)) : json()},
                      {"created_by", step.created_by},
                      {"layer", step.layer == nullptr ? json() : layer_json(dirs, *step.layer)}});
      continue;
    }
    const bool dated = created && *created > 0;
    rows.push_back(
        {step.layer == nullptr ? "-" : shown_digest(digest_of_layer(*step.layer), options.no_trunc),
         dated ? str_cat(span_text(seconds_now() - *created), " ago") : "-",
         step.layer == nullptr ? "-" : human_size(step.layer->size_bytes), index ? human_size(*index) : "-",
         one_line(step.created_by, options.no_trunc)});
  }
  const std::string text = options.json ? store::json_text(list, 2) + "\n" : columns(rows);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return {};
}

}  // namespace layerboot::launcher
