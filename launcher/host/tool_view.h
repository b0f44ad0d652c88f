// What a tool that parses a stranger's file sees of the host.
#pragma once

namespace layerboot::launcher {

/// For a child between fork(2) and exec(2): from here on it sees programs and their libraries, which it can't
/// write, and at /proc/self/fd/0, which can be opened as often as it likes, the file that is its standard
/// input; nothing else. Where the host lets us make no namespace it sees what its user does. False with errno
/// where something fails half-way. Makes system calls only. REQUIRES: root.
bool see_programs_and_input_only();

}  // namespace layerboot::launcher
