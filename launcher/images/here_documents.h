// The here-documents of RUN, COPY and ADD, as BuildKit has them. Pure.
//
// A word that is digits, if any, "<<", a '-' at will and a name begins one; outside of quotes, and with no
// blank before the name. Its lines are those behind the instruction, up to one that is the name alone.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace layerboot::launcher {

struct HereDocument {
  std::string name;
  bool is_raw = false;        // its name is quoted: no variables
  bool without_tabs = false;  // "<<-": those that its lines begin with are none of it
  std::string lines;          // as they are written, with their ends

  friend bool operator==(const HereDocument&, const HereDocument&) = default;
};

/// The word that begins one, in the text of an instruction.
struct HereWord {
  std::size_t begin = 0;
  std::size_t size = 0;
  HereDocument document;  // without lines
};

/// In their order. None where a quotation has no end.
[[nodiscard]] std::vector<HereWord> find_here_words(std::string_view text);

/// Whether `line`, without its end, is the last of the document.
[[nodiscard]] bool ends_document(const HereDocument& document, std::string_view line);

/// What it says: without the tabs that are none of it.
[[nodiscard]] std::string text_of(const HereDocument& document);

}  // namespace layerboot::launcher
