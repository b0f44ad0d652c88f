#include "guest-init/records.h"

namespace guest_init {

void append_record(std::string& bytes, std::string_view name, std::string_view value) {
  bytes += name;
  bytes += '=';
  bytes += value.substr(0, value.find('\0'));
  bytes += '\0';
}

std::optional<Records> decode_records(std::string_view bytes) {
  if (bytes.size() > kMaxRecordsBytes) return std::nullopt;
  Records records;
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\0');
    const std::size_t equals = bytes.find('=');
    if (end == std::string_view::npos || equals == std::string_view::npos || equals > end)
      return std::nullopt;
    if (records.size() == kMaxRecords) return std::nullopt;
    records.emplace_back(bytes.substr(0, equals), bytes.substr(equals + 1, end - equals - 1));
    bytes.remove_prefix(end + 1);
  }
  return records;
}

}  // namespace guest_init
