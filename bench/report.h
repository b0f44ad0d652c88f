// Results of one server: as a table for people, as JSON for programs.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "bench/load_run.h"

namespace layerboot::bench {

[[nodiscard]] std::string table_heading();
[[nodiscard]] std::string table_line(const LoadResult& result);
/// {"server": …, "results": [{…}]}
[[nodiscard]] std::string results_json(std::string_view server, std::span<const LoadResult> results);

}  // namespace layerboot::bench
