// What happened to the VMs of one user: a log that commands and supervisors write, and `layerboot events`
// reads.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// create: a name's first run; start: its QEMU runs; reboot: the guest reset itself; stop: the run's end, in
/// whatever way.
inline constexpr std::array<std::string_view, 8> kEventActions = {"create", "start",  "reboot", "stop",
                                                                  "reset",  "resize", "rename", "remove"};

struct VmEvent {
  std::string action;  // one of kEventActions
  std::string vm;
  std::string image;                        // as ps has it; empty: not known
  std::vector<std::string> labels;          // NAME=VALUE each
  std::optional<int> exit_status;           // stop
  std::string error;                        // stop; empty: none
  std::string new_name;                     // rename
  std::optional<std::uint64_t> size_bytes;  // resize
  std::int64_t time_ns = 0;                 // since 1970; append_event() sets it

  bool operator==(const VmEvent&) const = default;
};

/// A log that would grow beyond this is moved to older_log(PATH) first, over the one there: both together
/// hold the latest 1 to 2 MiB, some 5,000 events.
inline constexpr std::uint64_t kMaxEventLogBytes = std::uint64_t{1} << 20;
/// One line with its end. Labels, and then the end of an error, are left out of one that would be longer.
inline constexpr std::size_t kMaxEventLineBytes = 16'384;

inline std::filesystem::path event_log_of(const StateDirs& dirs) {
  return dirs.data / "events" / "log.jsonl";
}

/// One JSON object in one line, without its end: `time` (RFC 3339, for people), `time_ns`, `event`, `vm`, and
/// what there is of `image`, `labels`, `exit_status`, `error`, `new_name`, `bytes`.
std::string event_line(const VmEvent& event);
/// EINVAL for what is no such object. Further members are skipped.
Result<VmEvent> parse_event(std::string_view line);
/// "2026-11-29T10:51:06.012345678Z".
std::string precise_utc_text(std::int64_t time_ns);

/// Adds `event` with the present time: whole, or not at all. Processes take turns by a lock on the file; one
/// that is stopped while it holds the lock is waited for half a second at most. A line that a power cut or a
/// full disk left unfinished is ended first. The log and its directory are made for the owner alone.
/// `max_bytes`: for tests.
Result<void> append_event(const std::filesystem::path& log, VmEvent event,
                          std::uint64_t max_bytes = kMaxEventLogBytes);
/// The same for whom it is no reason to fail: a warning says why there is no line.
void note_event(const std::filesystem::path& log, VmEvent event);

/// Follows a log from the oldest event on, across its moves. What is no event is skipped.
class EventReader {
 public:
  /// Makes the log's directory, so that it can be watched before there is an event.
  static Result<EventReader> open(const std::filesystem::path& log);

  /// What has come since the last call.
  Result<std::vector<VmEvent>> read();
  /// Readable when something may have come; lent. read() takes that away.
  [[nodiscard]] int watch() const { return watch_.get(); }

 private:
  explicit EventReader(std::filesystem::path log, UniqueFd watch)
      : log_(std::move(log)), watch_(std::move(watch)) {}
  Result<void> read_rest(std::vector<VmEvent>& events);
  /// Goes on with another file than the present one.
  Result<void> turn_to(UniqueFd file, std::vector<VmEvent>& events);

  std::filesystem::path log_;
  UniqueFd watch_;
  UniqueFd file_;
  std::string rest_;  // of file_: a line that has no end yet
};

}  // namespace layerboot::launcher
