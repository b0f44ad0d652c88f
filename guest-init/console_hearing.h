// Whether anybody hears what is typed at the console.
#pragma once

namespace guest_init {

/// That a process has `terminal`, an open terminal of any kind, as its own, or reads it: its standard input
/// is that, or /dev/console. This process does not count. proc(5) is to be at `proc`; where it is not,
/// somebody is said to hear, as nothing is known.
bool is_heard(int terminal, int proc);

}  // namespace guest_init
