#include "launcher/cli/image_list.h"

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <vector>

#include "launcher/cli/time_text.h"
#include "launcher/images/image_name.h"
#include "launcher/images/image_use.h"
#include "launcher/images/store_index.h"
#include "launcher/vm/last_run.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/progress.h"

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

std::string or_none(std::string_view text) { return text.empty() ? std::string(kNone) : shown(text); }

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
  return row.image.platform.os.empty()
             ? std::string("-")
             : shown(str_cat(row.image.platform.os, "/", row.image.platform.architecture));
}
std::string problem(const Row& row) { return shown(row.image.problem); }

struct Field {
  std::string_view name;
  std::string (*of)(const Row&);
};
constexpr std::array kFields = {Field{"Repository", repository},
                                Field{"Tag", tag},
                                Field{"Digest", digest},
                                Field{"ID", id},
                                Field{"CreatedSince", created_since},
                                Field{"CreatedAt", created_at},
                                Field{"Size", size},
                                Field{"InUseBy", in_use_by},
                                Field{"Layers", layers},
                                Field{"Platform", platform},
                                Field{"Problem", problem}};

/// A piece of a template: text, or a field.
struct Piece {
  std::string text;
  const Field* field = nullptr;
};

/// "{{.Repository}}\t{{.ID}}": Go's templates as far as lists need them.
Result<std::vector<Piece>> parse_template(std::string_view text) {
  std::vector<Piece> pieces;
  while (!text.empty()) {
    const auto open = text.find("{{");
    std::string literal;
    for (std::size_t i = 0; i < std::min(open, text.size()); ++i) {
      const bool escape =
          text[i] == '\\' && i + 1 < text.size() && (text[i + 1] == 't' || text[i + 1] == 'n');
      literal += !escape ? text[i] : text[i + 1] == 't' ? '\t' : '\n';
      if (escape) ++i;
    }
    if (!literal.empty()) pieces.push_back({literal, nullptr});
    if (open == std::string_view::npos) break;
    const auto close = text.find("}}", open);
    if (close == std::string_view::npos) return fail(EINVAL, "--format: a {{ without its }}");
    std::string name(text.substr(open + 2, close - open - 2));
    std::erase(name, ' ');
    const auto field =
        std::ranges::find_if(kFields, [&](const Field& one) { return name == str_cat(".", one.name); });
    if (field == kFields.end())
      return fail(EINVAL, "--format: no field {{", name, "}}; there are: ", image_list_fields());
    pieces.push_back({{}, &*field});
    text.remove_prefix(close + 2);
  }
  return pieces;
}

struct Filter {
  std::string key;
  std::string value;
};

Result<Filter> parse_filter(const std::string& text) {
  constexpr std::array<std::string_view, 3> kFlags = {"dangling", "used", "usable"};
  const auto equals = text.find('=');
  const std::string key = text.substr(0, equals);
  const std::string value = equals == std::string::npos ? "" : text.substr(equals + 1);
  const bool is_flag = std::ranges::find(kFlags, key) != kFlags.end();
  if ((key == "reference" && !value.empty()) || (is_flag && (value == "true" || value == "false")))
    return Filter{key, value};
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

bool passes(const Row& row, const Filter& filter) {
  const bool wanted = filter.value == "true";
  if (filter.key == "reference") return !row.image.name.empty() && matches(filter.value, row.image.name);
  if (filter.key == "dangling") return row.image.name.empty() == wanted;
  if (filter.key == "used") return row.used() == wanted;
  return row.image.problem.empty() == wanted;
}

Result<std::vector<Row>> rows_of(const StateDirs& dirs, const Options& options) {
  std::vector<Filter> filters;
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
    if (std::ranges::all_of(filters, [&](const Filter& filter) { return passes(row, filter); }))
      rows.push_back(std::move(row));
  }
  return rows;
}

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
  return list.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string as_columns(const std::vector<Row>& rows) {
  std::vector<std::vector<std::string>> cells{{"NAME", "TAG", "DIGEST", "CREATED", "SIZE", "IN USE BY"}};
  for (const Row& row : rows) {
    std::string last = in_use_by(row);
    if (!row.image.problem.empty()) last += str_cat(last.empty() ? "" : "; ", "can't be run: ", problem(row));
    cells.push_back({repository(row), tag(row), digest(row), created_since(row), size(row), last});
  }
  return columns(cells);
}

}  // namespace

std::string shown(std::string_view text) {
  std::string safe(text);
  std::ranges::replace_if(safe, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; }, '?');
  return safe;
}

std::string shown_digest(std::string_view digest, bool whole) {
  return shown(whole ? digest : digest.substr(0, kShortDigest));
}

std::string image_list_fields() {
  std::string names;
  for (const Field& field : kFields) names += str_cat(names.empty() ? "" : " ", ".", field.name);
  return names;
}

Result<void> check_image_list(Options& options) {
  for (const std::string& text : options.filters) LB_TRY(parse_filter(text));
  LB_TRY(parse_template(options.format));
  return {};
}

std::string columns(const std::vector<std::vector<std::string>>& rows) {
  constexpr std::size_t kGap = 3;
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line.append(widths[i] - row[i].size() + kGap, ' ');
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

Result<void> list_images(const StateDirs& dirs, const Options& options) {
  LB_ASSIGN(const auto rows, rows_of(dirs, options));
  std::string text;
  if (options.names_only) {
    for (const Row& row : rows) {
      if (!row.image.name.empty()) text += str_cat(shown(row.image.name), "\n");
    }
  } else if (options.json) {
    text = as_json(rows);
  } else if (!options.format.empty()) {
    LB_ASSIGN(const auto pieces, parse_template(options.format));
    for (const Row& row : rows) {
      for (const Piece& piece : pieces) text += piece.field == nullptr ? piece.text : piece.field->of(row);
      text += '\n';
    }
  } else {
    text = as_columns(rows);
  }
  std::fwrite(text.data(), 1, text.size(), stdout);
  return {};
}

}  // namespace layerboot::launcher
