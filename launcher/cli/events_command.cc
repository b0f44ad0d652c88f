#include "launcher/cli/events_command.h"

#include <fnmatch.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "launcher/cli/list_template.h"
#include "launcher/host/time_text.h"
#include "oci-mount/base/printable.h"

namespace layerboot::launcher {

namespace {

constexpr std::int64_t kNanoseconds = 1'000'000'000;
/// The longest that --until is not looked at.
constexpr int kMostPauseMs = 1000;

std::string time_of(const VmEvent& event) { return precise_utc_text(event.time_ns); }
std::string action(const VmEvent& event) { return printable_whole(event.action); }
std::string name(const VmEvent& event) { return printable_whole(event.vm); }
std::string image(const VmEvent& event) { return printable_whole(event.image); }
std::string status(const VmEvent& event) {
  return event.exit_status ? std::to_string(*event.exit_status) : "";
}
std::string error(const VmEvent& event) { return printable_whole(event.error); }
std::string new_name(const VmEvent& event) { return printable_whole(event.new_name); }
std::string bytes(const VmEvent& event) { return event.size_bytes ? std::to_string(*event.size_bytes) : ""; }
std::string labels(const VmEvent& event) { return labels_text(event.labels); }

constexpr std::array kEventFields = {
    ListField<VmEvent>{"Time", time_of},     ListField<VmEvent>{"Event", action},
    ListField<VmEvent>{"Name", name},        ListField<VmEvent>{"Image", image},
    ListField<VmEvent>{"Status", status},    ListField<VmEvent>{"Error", error},
    ListField<VmEvent>{"NewName", new_name}, ListField<VmEvent>{"Bytes", bytes},
    ListField<VmEvent>{"Labels", labels}};

Result<ListFilter> parse_event_filter(const std::string& text) {
  ListFilter filter = split_filter(text);
  // Docker's words.
  if (filter.key == "container" || filter.key == "name") filter.key = "vm";
  if (filter.key == "event" && filter.value == "die") filter.value = "stop";
  if (filter.key == "event" && filter.value == "destroy") filter.value = "remove";
  const bool known =
      filter.key == "vm" || filter.key == "image" || filter.key == "label" ||
      (filter.key == "event" && std::ranges::find(kEventActions, filter.value) != kEventActions.end());
  if (known && !filter.value.empty()) return filter;
  return fail(EINVAL, "--filter ", text,
              ": write vm=PATTERN, image=PATTERN, label=NAME[=VALUE], or event= with one of ", event_names());
}

bool passes(const VmEvent& event, const ListFilter& filter) {
  if (filter.key == "event") return event.action == filter.value;
  if (filter.key == "vm") {
    return ::fnmatch(filter.value.c_str(), event.vm.c_str(), 0) == 0 ||
           ::fnmatch(filter.value.c_str(), event.new_name.c_str(), 0) == 0;
  }
  // As for `ps`, a part is enough.
  if (filter.key == "image")
    return ::fnmatch(str_cat('*', filter.value, '*').c_str(), event.image.c_str(), 0) == 0;
  return has_label(event.labels, filter.value);
}

/// Until there may be something new. False when nobody reads our output any more.
bool wait_for_more(const EventReader& reader) {
  std::array<pollfd, 2> watched = {{{.fd = reader.watch(), .events = POLLIN, .revents = 0},
                                    {.fd = STDOUT_FILENO, .events = 0, .revents = 0}}};
  [[maybe_unused]] const int ready = ::poll(watched.data(), watched.size(), kMostPauseMs);
  return (watched[1].revents & (POLLERR | POLLHUP | POLLNVAL)) == 0;
}

}  // namespace

std::string event_names() {
  std::string names;
  for (const std::string_view action : kEventActions) names += str_cat(names.empty() ? "" : ", ", action);
  return names;
}

std::string event_field_names() { return ListTemplate<VmEvent>::names_of(kEventFields); }

Result<void> check_events(Options& options) {
  LB_TRY(parse_event_filters(options.filters));
  if (options.format.starts_with("table"))
    return fail(EINVAL, "--format table: events have no end, and so no columns: write json or a template");
  LB_TRY(ListTemplate<VmEvent>::parse(options.format, kEventFields));
  return {};
}

std::string event_text(const VmEvent& event) {
  std::string more;
  const auto add = [&more](std::string_view key, const std::string& value) {
    if (!value.empty()) more += str_cat(more.empty() ? "" : ", ", key, '=', value);
  };
  add("status", status(event));
  add("error", error(event));
  add("name", new_name(event));
  add("bytes", bytes(event));
  add("image", image(event));
  for (const std::string& label : event.labels)
    more += str_cat(more.empty() ? "" : ", ", printable_whole(label));
  return str_cat(time_of(event), ' ', action(event), ' ', name(event),
                 more.empty() ? "" : str_cat(" (", more, ')'));
}

Result<std::vector<ListFilter>> parse_event_filters(const std::vector<std::string>& texts) {
  std::vector<ListFilter> filters;
  for (const std::string& text : texts) {
    LB_ASSIGN(filters.emplace_back(), parse_event_filter(text));
  }
  return filters;
}

bool passes_event_filters(const VmEvent& event, const std::vector<ListFilter>& filters) {
  return pass_together(filters, [&](const ListFilter& filter) { return passes(event, filter); });
}

Result<void> show_events(const StateDirs& dirs, const Options& options) {
  LB_ASSIGN(const auto format, ListTemplate<VmEvent>::parse(options.format, kEventFields));
  LB_ASSIGN(const auto filters, parse_event_filters(options.filters));
  LB_ASSIGN(EventReader reader, EventReader::open(event_log_of(dirs)));
  // With neither, what there is already is left out.
  const bool from_now = !options.since && !options.until;
  if (from_now) LB_TRY(reader.read());
  const std::int64_t since_ns = options.since.value_or(0) * kNanoseconds;
  for (;;) {
    // Before the log is read: what comes in that second is not missed.
    const bool last = options.until && seconds_now() >= *options.until;
    LB_ASSIGN(const auto events, reader.read());
    for (const VmEvent& event : events) {
      if (event.time_ns < since_ns) continue;
      if (options.until && event.time_ns / kNanoseconds > *options.until) continue;
      if (!passes_event_filters(event, filters)) continue;
      const std::string line = format.is_given() ? format.text(std::span(&event, 1))
                               : options.json    ? event_line(event) + '\n'
                                                 : event_text(event) + '\n';
      std::fwrite(line.data(), 1, line.size(), stdout);
    }
    if (std::fflush(stdout) != 0 || last || !wait_for_more(reader)) return {};
  }
}

}  // namespace layerboot::launcher
