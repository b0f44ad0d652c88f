#include "launcher/agent/guest_words.h"

#include <algorithm>
#include <vector>

#include "oci-mount/base/printable.h"
#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {

namespace {

constexpr std::string_view kCut = "…";
constexpr std::string_view kSpace = " \t\r\n";

}  // namespace

std::string one_line(std::string_view text) {
  const std::size_t last = text.find_last_not_of(kSpace);
  text = last == std::string_view::npos ? std::string_view() : text.substr(0, last + 1);
  std::string out;
  for (const char c : printable_lines(text)) {
    if (c == '\n') {
      out += "\\012";
    } else {
      out += c == '\t' ? ' ' : c;
    }
  }
  // A line that is marked and cut already stays.
  if (out.size() <= kGuestSays.size() + kMaxGuestWordsBytes + kCut.size()) return out;
  std::size_t end = kMaxGuestWordsBytes;
  while ((static_cast<unsigned char>(out[end]) & 0xc0U) == 0x80) --end;
  return str_cat(std::string_view(out).substr(0, end), kCut);
}

std::string guest_words(std::string_view text) { return str_cat(kGuestSays, one_line(text)); }

std::string guest_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (text.substr(0, end).find_last_not_of(kSpace) != std::string_view::npos)
      lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  std::vector<std::string> last;
  std::size_t bytes = 0;
  for (auto line = lines.rbegin(); line != lines.rend() && last.size() < kMaxGuestLines; ++line) {
    std::string words = guest_words(*line);
    bytes += words.size() + 1;
    if (bytes > kMaxGuestLinesBytes) break;
    last.push_back(std::move(words));
  }
  std::string out;
  for (auto line = last.rbegin(); line != last.rend(); ++line) out += str_cat(out.empty() ? "" : "\n", *line);
  return out;
}

}  // namespace layerboot::launcher
