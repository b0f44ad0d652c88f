#include "launcher/vm/event_log.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "launcher/host/log_bound.h"
#include "launcher/host/time_text.h"
#include "oci-mount/base/file_lock.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/mode_bits.h"
#include "oci-mount/store/json_document.h"

namespace layerboot::launcher {

namespace {

using nlohmann::json;

constexpr std::int64_t kNanoseconds = 1'000'000'000;
constexpr std::size_t kShortTextBytes = 1024;  // each byte may take six in JSON
// As somebody else may move the log between the opening and the lock.
constexpr int kOpenTries = 8;
constexpr std::chrono::milliseconds kLockBound{500};

std::int64_t nanoseconds_now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

bool same_file(int one, int other) {
  struct stat of_one{};
  struct stat of_other{};
  return ::fstat(one, &of_one) == 0 && ::fstat(other, &of_other) == 0 && is_same_file(of_one, of_other);
}

/// No descriptor where there is no file.
Result<UniqueFd> open_if_there(const std::filesystem::path& path) {
  auto file = open_path(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!file && file.error().code == ENOENT) return UniqueFd();
  return file;
}

struct OpenLog {
  UniqueFd fd;
  std::uint64_t size_bytes = 0;
  bool locked = false;
};

/// The file that has the log's name, locked if that can be had in time.
Result<OpenLog> open_log(const std::filesystem::path& log) {
  OpenLog open;
  for (int i = 0; i < kOpenTries; ++i) {
    LB_ASSIGN(open.fd, open_path(log, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, kPrivateFile));
    open.locked = take_lock_within(open.fd.get(), kLockBound);
    struct stat st{};
    if (::fstat(open.fd.get(), &st) != 0) return errno_error(log.string());
    if (!S_ISREG(st.st_mode)) return fail(EINVAL, log.string(), " is not a file");
    open.size_bytes = static_cast<std::uint64_t>(st.st_size);
    if (!open.locked || is_still_at(open.fd.get(), log)) return open;
  }
  return fail(EAGAIN, log.string(), " is moved again and again");
}

/// Whether somebody was cut off within a line.
bool ends_within_line(const OpenLog& open) {
  char last = '\n';
  if (open.size_bytes == 0) return false;
  return ::pread(open.fd.get(), &last, 1, static_cast<off_t>(open.size_bytes - 1)) == 1 && last != '\n';
}

std::string bounded_line(VmEvent& event) {
  std::string line = event_line(event);
  if (line.size() < kMaxEventLineBytes) return line;
  event.labels.clear();
  event.error.resize(std::min(event.error.size(), kShortTextBytes));
  event.image.resize(std::min(event.image.size(), kShortTextBytes));
  return event_line(event);
}

}  // namespace

std::string precise_utc_text(std::int64_t time_ns) {
  std::string text = utc_text(time_ns / kNanoseconds);
  text.pop_back();
  std::array<char, 32> fraction{};
  std::snprintf(fraction.data(), fraction.size(), ".%09lldZ", static_cast<long long>(time_ns % kNanoseconds));
  return text + fraction.data();
}

std::string event_line(const VmEvent& event) {
  nlohmann::ordered_json line = {{"time", precise_utc_text(event.time_ns)},
                                 {"time_ns", event.time_ns},
                                 {"event", event.action},
                                 {"vm", event.vm}};
  if (!event.image.empty()) line["image"] = event.image;
  if (!event.labels.empty()) line["labels"] = event.labels;
  if (event.exit_status) line["exit_status"] = *event.exit_status;
  if (!event.error.empty()) line["error"] = event.error;
  if (!event.new_name.empty()) line["new_name"] = event.new_name;
  if (event.size_bytes) line["bytes"] = *event.size_bytes;
  return store::json_text(line);
}

Result<VmEvent> parse_event(std::string_view line) {
  const json object = json::parse(line, nullptr, false);
  const auto has = [&](const char* key, bool (json::*kind)() const noexcept) {
    return object.is_object() && object.contains(key) && (object[key].*kind)();
  };
  if (!has("time_ns", &json::is_number_integer) || !has("event", &json::is_string) ||
      !has("vm", &json::is_string)) {
    return fail(EINVAL, "no event");
  }
  VmEvent event;
  event.time_ns = object["time_ns"].get<std::int64_t>();
  event.action = object["event"].get<std::string>();
  event.vm = object["vm"].get<std::string>();
  if (has("image", &json::is_string)) event.image = object["image"].get<std::string>();
  if (has("labels", &json::is_array)) {
    for (const json& label : object["labels"]) {
      if (label.is_string()) event.labels.push_back(label.get<std::string>());
    }
  }
  if (has("exit_status", &json::is_number_integer)) event.exit_status = object["exit_status"].get<int>();
  if (has("error", &json::is_string)) event.error = object["error"].get<std::string>();
  if (has("new_name", &json::is_string)) event.new_name = object["new_name"].get<std::string>();
  if (has("bytes", &json::is_number_unsigned)) event.size_bytes = object["bytes"].get<std::uint64_t>();
  return event;
}

Result<void> append_event(const std::filesystem::path& log, VmEvent event, std::uint64_t max_bytes) {
  LB_TRY(make_directories(log.parent_path(), kPrivateDirectory));
  LB_ASSIGN(OpenLog open, open_log(log));
  event.time_ns = nanoseconds_now();
  std::string text = bounded_line(event) + '\n';
  // Without the lock the file may be somebody else's to move, too.
  if (open.locked && open.size_bytes > 0 && open.size_bytes + text.size() > max_bytes) {
    if (::rename(log.c_str(), older_log(log).c_str()) != 0)
      return errno_error("cannot rename ", log.string());
    // Still locked: who waits for it finds that it has lost its name.
    const UniqueFd older = std::move(open.fd);
    LB_ASSIGN(open, open_log(log));
    // Others may have written to it first.
    event.time_ns = nanoseconds_now();
    text = bounded_line(event) + '\n';
  }
  if (ends_within_line(open)) text.insert(text.begin(), '\n');
  const ssize_t written = ::write(open.fd.get(), text.data(), text.size());
  if (written == static_cast<ssize_t>(text.size())) return {};
  const int why = written < 0 ? errno : ENOSPC;
  if (written > 0 && open.locked) {
    // What fails here leaves a line without an end, which the next writer ends.
    [[maybe_unused]] const int cut = ::ftruncate(open.fd.get(), static_cast<off_t>(open.size_bytes));
  }
  errno = why;
  return errno_error("cannot write to ", log.string());
}

void note_event(const std::filesystem::path& log, VmEvent event) {
  const std::string what = event.action;
  if (const auto noted = append_event(log, std::move(event)); !noted)
    log_warn("'layerboot events' will not show this ", what, ": ", noted.error().describe());
}

Result<EventReader> EventReader::open(const std::filesystem::path& log) {
  const auto directory = log.parent_path();
  LB_TRY(make_directories(directory, kPrivateDirectory));
  UniqueFd watch(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!watch ||
      ::inotify_add_watch(watch.get(), directory.c_str(), IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0) {
    return errno_error("cannot watch ", directory.string());
  }
  return EventReader(log, std::move(watch));
}

Result<void> EventReader::read_rest(std::vector<VmEvent>& events) {
  std::array<char, 65'536> chunk{};
  for (;;) {
    const ssize_t got = ::read(file_.get(), chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error("cannot read ", log_.string());
    if (got == 0) return {};
    rest_.append(chunk.data(), static_cast<std::size_t>(got));
    std::size_t begin = 0;
    for (auto end = rest_.find('\n'); end != std::string::npos; end = rest_.find('\n', begin)) {
      if (auto event = parse_event(std::string_view(rest_).substr(begin, end - begin)))
        events.push_back(*std::move(event));
      begin = end + 1;
    }
    rest_.erase(0, begin);
    // No line of ours: its end is not worth waiting for.
    if (rest_.size() > kMaxEventLineBytes) rest_.resize(kMaxEventLineBytes);
  }
}

Result<void> EventReader::turn_to(UniqueFd file, std::vector<VmEvent>& events) {
  if (!file || (file_ && same_file(file_.get(), file.get()))) return {};
  file_ = std::move(file);
  rest_.clear();
  return read_rest(events);
}

Result<std::vector<VmEvent>> EventReader::read() {
  // Before the files are looked at: what comes from now on is told again.
  std::array<char, 4096> told{};
  while (::read(watch_.get(), told.data(), told.size()) > 0) continue;
  std::vector<VmEvent> events;
  // In this order: were the log moved in between, the older one would be the file that we have as the present
  // one.
  LB_ASSIGN(UniqueFd latest, open_if_there(log_));
  LB_ASSIGN(UniqueFd older, open_if_there(older_log(log_)));
  if (file_) LB_TRY(read_rest(events));
  if (file_ && latest && same_file(file_.get(), latest.get())) return events;
  // Ours was moved, and another may have been moved after it.
  if (!latest || !older || !same_file(latest.get(), older.get())) LB_TRY(turn_to(std::move(older), events));
  LB_TRY(turn_to(std::move(latest), events));
  return events;
}

}  // namespace layerboot::launcher
