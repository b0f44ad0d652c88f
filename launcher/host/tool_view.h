// What a tool that parses a stranger's file sees of the host.
#pragma once

namespace layerboot::launcher {

/// For a child between fork(2) and exec(2): from here on it sees programs and their libraries, which it can't
/// write, and at /proc/self/fd/0, which can be opened as often as it likes, the file that is its standard
/// input; nothing else. Where the host lets us make no such view (no namespace, no mount, a root that is no
/// mount of its own) it sees what its user does. False with errno where that can't be had back either, or
/// something fails in the new view. Makes system calls only. REQUIRES: root.
bool see_programs_and_input_only();

}  // namespace layerboot::launcher
