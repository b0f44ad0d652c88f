// Standard input, output and error: that they are there, and that what was written has arrived.
#pragma once

#include <functional>
#include <string_view>

namespace layerboot {

/// What main() begins with: /dev/null for each of the three that whoever started us has closed. Else the next
/// file that is opened, a lock maybe, takes the number and goes with the stream. Where there is no /dev/null
/// the process ends with status 1.
void open_closed_streams();

/// What main() ends with: `status`, or 1 for 0 where standard output did not take all that was written to it
/// by stdio, which is said. Of a reader that went away, as head(1) does, no word is lost.
[[nodiscard]] int status_with_output(int status);

/// The rest of main(): sets up the log for `program`, and gives the status that `run` comes to, as
/// status_with_output(); 1 with a word where it throws, which nothing of ours does on purpose.
[[nodiscard]] int run_to_end(std::string_view program, const std::function<int()>& run);

}  // namespace layerboot
