// layerboot events.
#pragma once

#include <string>
#include <vector>

#include "launcher/cli/list_filter.h"
#include "launcher/cli/options.h"
#include "launcher/vm/event_log.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// "create, start, …", and the fields of --format, for the help.
std::string event_names();
std::string event_field_names();
/// --filter and --format, after parsing.
Result<void> check_events(Options& options);

/// "TIME EVENT VM (image=…, …)", for people.
std::string event_text(const VmEvent& event);
/// EINVAL for what is no filter. Docker's words are taken, too.
Result<std::vector<ListFilter>> parse_event_filters(const std::vector<std::string>& texts);
/// As pass_together().
bool passes_event_filters(const VmEvent& event, const std::vector<ListFilter>& filters);

/// Prints events until --until, or until nobody reads them any more.
Result<void> show_events(const StateDirs& dirs, const Options& options);

}  // namespace layerboot::launcher
