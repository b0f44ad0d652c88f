#include "launcher/cli/run_events.h"

#include <utility>

#include "launcher/vm/vm_config.h"

namespace layerboot::launcher {

VmEvent event_of(std::string_view action, const std::string& name, const VmPaths& paths) {
  VmEvent event;
  event.action = action;
  event.vm = name;
  if (const auto record = load_vm_record(paths)) {
    event.image = record->image;
    event.labels = record->run.labels;
  }
  return event;
}

std::string end_text(const Error& error) {
  return error.text.empty() ? "a program of the VM failed" : error.text;
}

RunEvents::RunEvents(const Options& options, const VmDirectory& directory) : directory_(directory) {
  vm_.vm = options.name;
  if (!options.image.empty()) vm_.image = absolute_reference(options.image);
  vm_.labels = options.labels;
}

VmEvent RunEvents::event(std::string_view action) const {
  VmEvent event = vm_;
  event.action = action;
  return event;
}

void RunEvents::started(bool is_new) {
  is_up_ = true;
  if (is_new) note("create");
  note("start");
}

void RunEvents::ended(const Result<int>& outcome) {
  if (!std::exchange(is_up_, false)) return;
  VmEvent end = event("stop");
  end.exit_status = outcome ? *outcome : 1;
  if (!outcome) end.error = end_text(outcome.error());
  note_event(directory_.paths().event_log, end);
}

VmEvent RunEvents::killed() const {
  VmEvent end = event("stop");
  end.exit_status = 1;
  end.error = "its launcher was killed";
  return end;
}

}  // namespace layerboot::launcher
