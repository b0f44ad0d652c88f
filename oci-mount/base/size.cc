#include "oci-mount/base/size.h"

#include <charconv>
#include <limits>
#include <string>

#include "oci-mount/base/ascii.h"

namespace layerboot {

namespace {

/// The power of two a suffix stands for, or -1.
int suffix_shift(std::string_view suffix) {
  const std::string lower = ascii_lower(std::string(suffix));
  if (lower.empty() || lower == "b") return 0;
  const auto unit = std::string_view("kmgt").find(lower.front());
  const std::string_view rest = std::string_view(lower).substr(1);
  if (unit == std::string_view::npos || !(rest.empty() || rest == "b" || rest == "ib")) return -1;
  return static_cast<int>(unit + 1) * 10;
}

}  // namespace

Result<std::uint64_t> parse_size(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const auto digits = static_cast<std::size_t>(end - text.data());
  const int shift = error == std::errc{} ? suffix_shift(text.substr(digits)) : -1;
  if (error == std::errc::result_out_of_range) return fail(ERANGE, "size ", text, " is too large");
  if (shift < 0) return fail(EINVAL, "'", text, "' is not a size: write 512M or 4G");
  if (number == 0) return fail(EINVAL, "size ", text, " leaves nothing: write 512M or 4G");
  constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (number > (kMost >> shift)) return fail(ERANGE, "size ", text, " is too large");
  return number << shift;
}

}  // namespace layerboot
