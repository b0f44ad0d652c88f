// events.

#include "launcher/cli/events_command.h"
#include "launcher/cli/options_parts.h"

namespace layerboot::launcher {

void add_events_command(CommandSet& commands) {
  Options& options = commands.options();
  auto* events =
      commands.add("events", Command::kEvents, "show what happens to the VMs, as it happens", check_events);
  add_time(events, "--since", options.since,
           "also what has happened from then on: 10m or 1h30m ago, or 2026-11-29T10:00:00Z");
  add_time(events, "--until", options.until,
           "end there: 0s shows what there is; without --since from the oldest that is known on");
  events
      ->add_option("-f,--filter", options.filters,
                   "KEY=VALUE: vm, image, label or event; of one key any, of several all (may be repeated)")
      ->allow_extra_args(false)
      ->type_name("FILTER");
  auto* format = events
                     ->add_option("--format", options.format,
                                  "a line of your own, such as '{{.Time}} {{.Event}} {{.Name}}'; or json")
                     ->type_name("TEMPLATE");
  events->add_flag("--json", options.json, "one JSON document a line")->excludes(format);
  events->footer(str_cat("Events: ", event_names(), ".\nThe fields of a TEMPLATE: ", event_field_names(),
                         "\nThe latest 1 to 2 MiB of events are kept, some 5,000."));
}

}  // namespace layerboot::launcher
