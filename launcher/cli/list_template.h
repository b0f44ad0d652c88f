// `--format`: "json", "table", or a template such as '{{.Name}}\t{{.State}}', Go's as far as lists need them.
#pragma once

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/cli/columns.h"
#include "oci-mount/base/ascii.h"
#include "oci-mount/base/result.h"
#include "oci-mount/store/json_document.h"

namespace layerboot::launcher {

/// What a line of a list may have of a row.
template <typename Row>
struct ListField {
  std::string_view name;
  std::string (*of)(const Row&);
  std::string_view heading = {};  // of a table's column; empty: the name in capitals
};

/// A format over rows of one kind. The fields are lent.
template <typename Row>
class ListTemplate {
 public:
  using Fields = std::span<const ListField<Row>>;

  /// EINVAL for what is no format, or names a field that there is not.
  static Result<ListTemplate> parse(std::string_view text, Fields fields) {
    constexpr std::string_view kTable = "table";
    ListTemplate made(fields);
    if (text == "json") text = "{{json .}}";
    if (text == kTable || text.starts_with("table ")) {
      made.is_table_ = true;
      text.remove_prefix(std::min(text.size(), kTable.size() + 1));
    }
    LB_TRY(made.parse_pieces(text));
    const bool has_field = std::ranges::any_of(
        made.pieces_, [](const Piece& piece) { return piece.field != nullptr || piece.is_all; });
    if (has_field || made.pieces_.empty()) return made;
    return fail(EINVAL, "--format ", text,
                ": write json, table, or a template with fields: ", names_of(fields));
  }

  /// Whether it says anything: else the list is as it is without --format.
  [[nodiscard]] bool is_given() const { return !pieces_.empty(); }

  /// A line for each row, or columns with a heading. REQUIRES: is_given().
  [[nodiscard]] std::string text(std::span<const Row> rows) const {
    std::string text;
    std::vector<std::vector<std::string>> cells;
    if (is_table_) cells.push_back(cells_of(line(nullptr)));
    for (const Row& row : rows) {
      if (is_table_) {
        cells.push_back(cells_of(line(&row)));
      } else {
        text += line(&row) + '\n';
      }
    }
    return is_table_ ? columns(cells) : text;
  }

  /// ".Name .State", for messages and the help.
  static std::string names_of(Fields fields) {
    std::string names;
    for (const auto& field : fields) names += str_cat(names.empty() ? "" : " ", ".", field.name);
    return names;
  }

 private:
  struct Piece {
    std::string text;
    const ListField<Row>* field = nullptr;
    bool is_all = false;  // all fields, as a JSON object
  };

  explicit ListTemplate(Fields fields) : fields_(fields) {}

  Result<void> parse_pieces(std::string_view text) {
    while (!text.empty()) {
      const auto open = text.find("{{");
      if (std::string literal = unescaped(text.substr(0, open)); !literal.empty())
        pieces_.push_back({.text = std::move(literal)});
      if (open == std::string_view::npos) break;
      const auto close = text.find("}}", open);
      if (close == std::string_view::npos) return fail(EINVAL, "--format: a {{ without its }}");
      std::string name(text.substr(open + 2, close - open - 2));
      std::erase(name, ' ');
      text.remove_prefix(close + 2);
      if (name == "json.") {
        pieces_.push_back({.text = {}, .is_all = true});
        continue;
      }
      const auto field = std::ranges::find_if(
          fields_, [&](const ListField<Row>& one) { return name == str_cat(".", one.name); });
      if (field == fields_.end())
        return fail(EINVAL, "--format: no field {{", name, "}}; there are: ", names_of(fields_));
      pieces_.push_back({.text = {}, .field = &*field});
    }
    return {};
  }

  /// Of the heading where there is no row.
  [[nodiscard]] std::string line(const Row* row) const {
    std::string text;
    for (const Piece& piece : pieces_) {
      if (piece.field != nullptr) {
        text += row == nullptr ? heading_of(*piece.field) : piece.field->of(*row);
      } else if (piece.is_all) {
        text += row == nullptr ? std::string() : all_fields(*row);
      } else {
        text += piece.text;
      }
    }
    return text;
  }

  static std::string heading_of(const ListField<Row>& field) {
    return field.heading.empty() ? ascii_upper(field.name) : std::string(field.heading);
  }

  /// Docker's way of JSON: a line each, all of it text.
  [[nodiscard]] std::string all_fields(const Row& row) const {
    nlohmann::json object;
    for (const auto& field : fields_) object[std::string(field.name)] = field.of(row);
    return store::json_text(object);
  }

  static std::vector<std::string> cells_of(std::string_view line) {
    std::vector<std::string> cells;
    while (true) {
      const auto tab = line.find('\t');
      cells.emplace_back(line.substr(0, tab));
      if (tab == std::string_view::npos) return cells;
      line.remove_prefix(tab + 1);
    }
  }

  static std::string unescaped(std::string_view text) {
    std::string literal;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const bool escape =
          text[i] == '\\' && i + 1 < text.size() && (text[i + 1] == 't' || text[i + 1] == 'n');
      literal += !escape ? text[i] : text[i + 1] == 't' ? '\t' : '\n';
      if (escape) ++i;
    }
    return literal;
  }

  Fields fields_;
  std::vector<Piece> pieces_;
  bool is_table_ = false;
};

}  // namespace layerboot::launcher
