#include "launcher/vm/last_run.h"

#include <chrono>
#include <nlohmann/json.hpp>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/mode_bits.h"

namespace layerboot::launcher {

namespace {

using nlohmann::json;

constexpr std::size_t kMaxBytes = 65'536;

}  // namespace

Result<void> save_last_run(const std::filesystem::path& path, const LastRun& run) {
  const json document = {{"started", run.started},
                         {"ended", run.ended ? json(*run.ended) : json()},
                         {"exit_status", run.exit_status},
                         {"error", run.error}};
  const std::string text = document.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
  return write_whole_file(path, text, kPrivateFile);
}

Result<std::optional<LastRun>> load_last_run(const std::filesystem::path& path) {
  const auto text = read_file(path, kMaxBytes);
  if (!text && text.error().code == ENOENT) return std::nullopt;
  if (!text) return std::unexpected(text.error());
  const json document = json::parse(*text, nullptr, false);
  const auto is = [&](const char* key, bool (json::*kind)() const noexcept) {
    return document.is_object() && document.contains(key) && (document[key].*kind)();
  };
  if (!is("started", &json::is_number_integer) || !is("exit_status", &json::is_number_integer) ||
      !is("error", &json::is_string)) {
    return fail(EINVAL, path.string(), " is damaged");
  }
  LastRun run;
  run.started = document["started"].get<std::int64_t>();
  if (is("ended", &json::is_number_integer)) run.ended = document["ended"].get<std::int64_t>();
  run.exit_status = document["exit_status"].get<int>();
  run.error = document["error"].get<std::string>();
  return run;
}

}  // namespace layerboot::launcher
