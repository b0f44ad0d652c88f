// Standard input, output and error: that they are there, and that what was written has arrived.
#pragma once

namespace layerboot {

/// What main() begins with: /dev/null for each of the three that whoever started us has closed. Else the next
/// file that is opened, a lock maybe, takes the number and goes with the stream. Where there is no /dev/null
/// the process ends with status 1.
void open_closed_streams();

/// What main() ends with: `status`, or 1 for 0 where standard output did not take all that was written to it
/// by stdio, which is said. Of a reader that went away, as head(1) does, no word is lost.
[[nodiscard]] int status_with_output(int status);

}  // namespace layerboot
