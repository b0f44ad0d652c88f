#include "launcher/cli/image_list.h"

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <vector>

#include "launcher/cli/image_tree.h"
#include "launcher/cli/list_filter.h"
#include "launcher/cli/list_template.h"
#include "launcher/host/time_text.h"
#include "launcher/images/image_name.h"
#include "launcher/images/image_use.h"
#include "launcher/images/store_index.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/progress.h"
#include "oci-mount/store/json_document.h"

namespace layerboot::launcher {

namespace {

constexpr std::size_t kShortDigest = 19;  // "sha256:" and 12 digits
constexpr std::string_view kNone = "<none>";

/// An image with all that a list may say of it.
struct Row {
  StoredImage image;
  std::vector<std::string> vms;
  bool read_now = false;
  bool whole_digests = false;

  [[nodiscard]] bool used() const { return read_now || !vms.empty(); }
};

std::string or_none(std::string_view text) {
  return text.empty() ? std::string(kNone) : printable_whole(text);
}

std::string repository(const Row& row) {
  return or_none(familiar_name(split_name(row.image.name).repository));
}
std::string tag(const Row& row) { return or_none(split_name(row.image.name).tag); }
/// The one that the registry knows it by, where there is one.
std::string digest(const Row& row) {
  const auto& image = row.image;
  return shown_digest(image.registry_digest.empty() ? image.digest : image.registry_digest,
                      row.whole_digests);
}
std::string id(const Row& row) {
  return row.image.config_digest.empty() ? std::string(kNone)
                                         : shown_digest(row.image.config_digest, row.whole_digests);
}
/// Builds that are to be repeated exactly are all of 1970, or of the year 1.
std::string created_since(const Row& row) {
  const auto created = parse_utc(row.image.created);
  return !created || *created <= 0 ? "-" : str_cat(span_text(seconds_now() - *created), " ago");
}
std::string created_at(const Row& row) {
  const auto created = parse_utc(row.image.created);
  return created ? utc_text(*created) : "-";
}
std::string size(const Row& row) { return human_size(row.image.size_bytes); }
std::string in_use_by(const Row& row) {
  std::string text;
  for (const std::string& vm : row.vms) text += str_cat(text.empty() ? "" : ", ", vm);
  return text.empty() && row.read_now ? "a process" : text;
}
std::string layers(const Row& row) { return std::to_string(row.image.layer_count); }
std::string platform(const Row& row) {
  return row.image.platform.os.empty() ? std::string("-")
                                       : printable_whole(store::platform_text(row.image.platform));
}
std::string problem(const Row& row) { return printable_whole(row.image.problem); }

constexpr std::array kFields = {ListField<Row>{"Repository", repository},
                                ListField<Row>{"Tag", tag},
                                ListField<Row>{"Digest", digest},
                                ListField<Row>{"ID", id, "IMAGE ID"},
                                ListField<Row>{"CreatedSince", created_since, "CREATED"},
                                ListField<Row>{"CreatedAt", created_at, "CREATED AT"},
                                ListField<Row>{"Size", size},
                                ListField<Row>{"InUseBy", in_use_by, "IN USE BY"},
                                ListField<Row>{"Layers", layers},
                                ListField<Row>{"Platform", platform},
                                ListField<Row>{"Problem", problem}};

Result<ListFilter> parse_filter(const std::string& text) {
  constexpr std::array<std::string_view, 3> kFlags = {"dangling", "used", "usable"};
  const auto [key, value] = split_filter(text);
  const bool is_flag = std::ranges::find(kFlags, key) != kFlags.end();
  if ((key == "reference" && !value.empty()) || (is_flag && (value == "true" || value == "false")))
    return ListFilter{key, value};
  return fail(EINVAL, "--filter ", text,
              ": write reference=PATTERN, or dangling, used or usable with =true or =false");
}

/// As Docker's: the pattern may leave out the tag, and what Docker Hub's names have in front.
bool matches(const std::string& pattern, const std::string& name) {
  const std::string familiar(familiar_name(name));
  const SplitName split = split_name(familiar);
  const SplitName full = split_name(name);
  return std::ranges::any_of(
      std::array{name, familiar, std::string(split.repository), std::string(full.repository)},
      [&](const std::string& candidate) {
        return ::fnmatch(pattern.c_str(), candidate.c_str(), FNM_PATHNAME) == 0;
      });
}

bool passes(const Row& row, const ListFilter& filter) {
  const bool wanted = filter.value == "true";
  if (filter.key == "reference") return !row.image.name.empty() && matches(filter.value, row.image.name);
  if (filter.key == "dangling") return row.image.name.empty() == wanted;
  if (filter.key == "used") return row.used() == wanted;
  return (row.image.state == ImageState::kWhole) == wanted;
}

Result<std::vector<Row>> rows_of(const StateDirs& dirs, const Options& options) {
  std::vector<ListFilter> filters;
  for (const std::string& text : options.filters) {
    LB_ASSIGN(auto filter, parse_filter(text));
    filters.push_back(std::move(filter));
  }
  LB_ASSIGN(const StoreContents contents, StoreContents::read(dirs.store()));
  // One VM's damaged record is no reason not to list: nothing is changed here.
  ImageUse use;
  if (auto looked = ImageUse::look(dirs); looked) {
    use = *std::move(looked);
  } else {
    log_warn(looked.error().describe());
  }
  std::vector<Row> rows;
  for (const StoredImage& image : contents.images()) {
    Row row{.image = image,
            .vms = use.vms_of(image),
            .read_now = is_read_by_a_process(dirs.store(), image).value_or(false),
            .whole_digests = options.no_trunc};
    if (std::ranges::all_of(filters, [&](const ListFilter& filter) { return passes(row, filter); }))
      rows.push_back(std::move(row));
  }
  return rows;
}

std::string json_text(const nlohmann::json& list) { return store::json_text(list, 2) + "\n"; }

std::string as_json(const std::vector<Row>& rows) {
  nlohmann::json list = nlohmann::json::array();
  for (const Row& row : rows) {
    const StoredImage& image = row.image;
    const auto created = parse_utc(image.created);
    list.push_back(
        {{"name", image.name},
         {"digest", image.digest},
         {"registry_digest",
          image.registry_digest.empty() ? nlohmann::json() : nlohmann::json(image.registry_digest)},
         {"id", image.config_digest.empty() ? nlohmann::json() : nlohmann::json(image.config_digest)},
         {"created", created ? nlohmann::json(utc_text(*created)) : nlohmann::json()},
         {"size_bytes", image.size_bytes},
         {"layers", image.layer_count},
         {"platform", image.platform.os.empty() ? nlohmann::json() : nlohmann::json(platform(row))},
         {"in_use_by", row.vms},
         {"read_now", row.read_now},
         {"problem", image.problem.empty() ? nlohmann::json() : nlohmann::json(image.problem)}});
  }
  return json_text(list);
}

std::string tree_name(const Row& row) {
  return row.image.name.empty() ? digest(row) : printable_whole(familiar_name(row.image.name));
}
std::string remark(const Row& row) {
  std::string text = in_use_by(row);
  if (row.image.state == ImageState::kOtherPlatform)
    text += str_cat(text.empty() ? "" : "; ", "for ", platform(row));
  if (!row.image.problem.empty()) text += str_cat(text.empty() ? "" : "; ", "can't be run: ", problem(row));
  return text;
}

std::vector<ImageTreeNode> tree_of(const std::vector<Row>& rows) {
  std::vector<std::vector<StoredLayer>> layers;
  layers.reserve(rows.size());
  for (const Row& row : rows) layers.push_back(row.image.layers);
  return image_tree(layers);
}

/// A line for each node, and one more for each further image of it, which adds nothing.
void add_tree_lines(const std::vector<Row>& rows, const ImageTreeNode& node, const std::string& before,
                    const std::string& below, std::vector<std::vector<std::string>>& lines) {
  const std::string plus = before.empty() ? "" : "+";
  const bool has_image = !node.images.empty();
  const std::string name = has_image ? tree_name(rows[node.images.front()]) : "(shared)";
  lines.push_back({str_cat(before, name), str_cat(plus, node.layers.size()),
                   str_cat(plus, human_size(node.size_bytes())),
                   shown_digest(node.layers.back().digest, rows.front().whole_digests),
                   has_image ? remark(rows[node.images.front()]) : ""});
  const std::size_t further = has_image ? node.images.size() - 1 : 0;
  for (std::size_t i = 0; i < further + node.children.size(); ++i) {
    const bool is_last = i + 1 == further + node.children.size();
    const std::string branch = str_cat(below, is_last ? "└─ " : "├─ ");
    if (i < further) {
      const Row& row = rows[node.images[i + 1]];
      lines.push_back({str_cat(branch, tree_name(row)), "+0", "+0", "", remark(row)});
    } else {
      add_tree_lines(rows, node.children[i - further], branch, str_cat(below, is_last ? "   " : "│  "),
                     lines);
    }
  }
}

/// What is no image comes last: nobody knows what it shares.
std::string as_tree(const std::vector<Row>& rows) {
  std::vector<std::vector<std::string>> lines{{"IMAGE", "LAYERS", "SIZE", "TOP LAYER", "IN USE BY"}};
  for (const ImageTreeNode& node : tree_of(rows)) add_tree_lines(rows, node, "", "", lines);
  for (const Row& row : rows) {
    if (row.image.layers.empty()) lines.push_back({tree_name(row), "-", size(row), "", remark(row)});
  }
  return columns(lines);
}

nlohmann::json tree_json(const std::vector<Row>& rows, const std::vector<ImageTreeNode>& nodes) {
  nlohmann::json list = nlohmann::json::array();
  for (const ImageTreeNode& node : nodes) {
    nlohmann::json images = nlohmann::json::array();
    for (const std::size_t image : node.images)
      images.push_back({{"name", rows[image].image.name}, {"digest", rows[image].image.digest}});
    nlohmann::json layers = nlohmann::json::array();
    for (const StoredLayer& layer : node.layers)
      layers.push_back({{"digest", layer.digest}, {"size_bytes", layer.size_bytes}});
    list.push_back({{"images", std::move(images)},
                    {"layers", std::move(layers)},
                    {"children", tree_json(rows, node.children)}});
  }
  return list;
}

std::string as_columns(const std::vector<Row>& rows) {
  std::vector<std::vector<std::string>> cells{{"NAME", "TAG", "DIGEST", "CREATED", "SIZE", "IN USE BY"}};
  for (const Row& row : rows) {
    cells.push_back({repository(row), tag(row), digest(row), created_since(row), size(row), remark(row)});
  }
  return columns(cells);
}

}  // namespace

std::string shown_digest(std::string_view digest, bool whole) {
  return printable_whole(whole ? digest : digest.substr(0, kShortDigest));
}

std::string image_list_fields() { return ListTemplate<Row>::names_of(kFields); }

Result<void> check_image_list(Options& options) {
  for (const std::string& text : options.filters) LB_TRY(parse_filter(text));
  LB_TRY(ListTemplate<Row>::parse(options.format, kFields));
  return {};
}

Result<void> list_images(const StateDirs& dirs, const Options& options) {
  LB_ASSIGN(const auto rows, rows_of(dirs, options));
  std::string text;
  if (options.names_only) {
    for (const Row& row : rows) {
      if (!row.image.name.empty()) text += str_cat(printable_whole(row.image.name), "\n");
    }
  } else if (options.image_tree) {
    text = options.json ? json_text(tree_json(rows, tree_of(rows))) : as_tree(rows);
  } else if (options.json) {
    text = as_json(rows);
  } else if (const auto format = ListTemplate<Row>::parse(options.format, kFields);
             format && format->is_given()) {
    text = format->text(rows);
  } else {
    text = as_columns(rows);
  }
  std::fwrite(text.data(), 1, text.size(), stdout);
  return {};
}

}  // namespace layerboot::launcher
