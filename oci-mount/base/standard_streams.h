// Standard input, output and error: that they are there, and that what was written has arrived.
#pragma once

namespace layerboot {

/// What main() begins with: /dev/null for each of the three that whoever started us has closed. Else the next
/// file that is opened, a lock maybe, takes the number and goes with the stream. Where there is no /dev/null
/// the process ends with status 1.
void open_closed_streams();

}  // namespace layerboot
