#include "oci-mount/base/id_map.h"

#include <utility>

#include "oci-mount/base/decimal.h"

namespace layerboot {

namespace {

constexpr std::string_view kForm = ": give UID:GID of this machine, or ranges GUEST-HOST-COUNT[+…]";

std::string_view take_until(std::string_view& text, char end) {
  const std::string_view part = text.substr(0, text.find(end));
  text.remove_prefix(part.size() < text.size() ? part.size() + 1 : text.size());
  return part;
}

Result<std::uint32_t> parse_id(std::string_view text) {
  const auto value = parse_decimal(text, ~0U - 1);  // the last number means "none" to chown(2)
  if (!value) return fail(EINVAL, "'", text, "' is no id");
  return static_cast<std::uint32_t>(*value);
}

Result<IdRange> parse_range(std::string_view text) {
  std::vector<std::uint32_t> numbers;
  constexpr std::size_t kNumbers = 3;
  const bool ends_early = text.empty() || text.back() == '-';
  while (!text.empty() && numbers.size() < kNumbers) {
    LB_ASSIGN(const std::uint32_t number, parse_id(take_until(text, '-')));
    numbers.push_back(number);
  }
  if (ends_early || !text.empty() || (numbers.size() != 1 && numbers.size() != kNumbers))
    return fail(EINVAL, "a range is not GUEST-HOST-COUNT");
  if (numbers.size() == 1) return IdRange{0, numbers[0], 1};
  const IdRange range{numbers[0], numbers[1], numbers[2]};
  if (range.count == 0 || range.count > ~0U - range.guest || range.count > ~0U - range.host)
    return fail(EINVAL, "a range has no ids, or more than there are");
  return range;
}

bool overlap(std::uint32_t a, std::uint32_t b, const IdRange& one, const IdRange& other) {
  return a < b ? b - a < one.count : a - b < other.count;
}

Result<IdRanges> parse_ranges(std::string_view text) {
  std::vector<IdRange> ranges;
  if (text.empty() || text.back() == '+') return fail(EINVAL, "a range is missing");
  while (!text.empty()) {
    LB_ASSIGN(const IdRange range, parse_range(take_until(text, '+')));
    for (const IdRange& other : ranges) {
      if (overlap(range.guest, other.guest, range, other) || overlap(range.host, other.host, range, other))
        return fail(EINVAL, "two ranges overlap");
    }
    ranges.push_back(range);
    if (ranges.size() > IdRanges::kMaxRanges)
      return fail(EINVAL, "more than ", IdRanges::kMaxRanges, " ranges");
  }
  return IdRanges(std::move(ranges));
}

}  // namespace

Result<std::uint32_t> IdRanges::to_host(std::uint32_t guest) const {
  for (const IdRange& range : ranges_) {
    if (guest >= range.guest && guest - range.guest < range.count) return range.host + (guest - range.guest);
  }
  return fail(EOVERFLOW);
}

std::uint32_t IdRanges::to_guest(std::uint32_t host) const {
  for (const IdRange& range : ranges_) {
    if (host >= range.host && host - range.host < range.count) return range.guest + (host - range.host);
  }
  return kNobody;
}

Result<IdMap> parse_id_map(std::string_view text) {
  std::string_view rest = text;
  const bool has_groups = text.find(':') != std::string_view::npos;
  auto users = parse_ranges(take_until(rest, ':'));
  if (!users) return fail(EINVAL, "'", text, "': ", users.error().text, kForm);
  if (!has_groups) return IdMap{*users, *users};
  auto groups = parse_ranges(rest);
  if (!groups) return fail(EINVAL, "'", text, "': ", groups.error().text, kForm);
  return IdMap{*std::move(users), *std::move(groups)};
}

}  // namespace layerboot
