// Records: "name=value" pairs, each ended by a NUL. How the launcher tells guest-init what to run.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace guest_init {

/// In order; names may repeat. A value holds any byte but NUL.
using Records = std::vector<std::pair<std::string, std::string>>;

/// More bytes or records than these are no records of ours: decoding gives nothing.
inline constexpr std::size_t kMaxRecordsBytes = std::size_t{256} << 10;
inline constexpr std::size_t kMaxRecords = 8192;

/// Appends one record. What follows a NUL in `value` is cut off: no argument and no variable can hold one.
void append_record(std::string& bytes, std::string_view name, std::string_view value);

/// Nothing when the last record is not ended, a record has no '=', or a bound is passed.
[[nodiscard]] std::optional<Records> decode_records(std::string_view bytes);

}  // namespace guest_init
