// TerminalText: what a guest has said, made fit for a person's terminal.
#pragma once

#include <string>
#include <string_view>

namespace layerboot::launcher {

/// A stream in pieces, cut anywhere. Text, line feeds, tabs and colours (ESC [ digits and semicolons m) come
/// out as they are, and a line's end as a line feed alone; whatever else a terminal acts on, and what is no
/// UTF-8, as \ooo: nothing in it moves the cursor, sets anything, or looks like a line of ours.
class TerminalText {
 public:
  /// What there is to be shown with this piece. A few bytes may be kept for the next one.
  [[nodiscard]] std::string take(std::string_view piece);
  /// What was kept, and the end of a colour. Nothing comes after it.
  [[nodiscard]] std::string finish();

 private:
  std::string held_;  // the beginning of what the next piece decides
  bool is_coloured_ = false;
};

}  // namespace layerboot::launcher
