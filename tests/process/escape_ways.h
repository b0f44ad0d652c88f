// Ways out of vfsd's sandbox, for code of the guest's choice that runs in the daemon.
#pragma once

#include <array>
#include <span>
#include <string>

namespace layerboot::test {

/// A system call that serving does not take. The arguments do no harm where it is let through.
struct ForbiddenCall {
  const char* name;
  long number;
  std::array<long, 6> arguments;
};

/// Something that might be reached by calls that serving takes. `reach` says what it got at; "" for nothing.
struct Way {
  const char* name;
  std::string (*reach)();
};

/// The program's exit code when it has got at something.
inline constexpr int kGotOut = 42;

/// `victim`: a process of somebody else.
std::span<const ForbiddenCall> forbidden_calls(long victim);
std::span<const Way> ways_out();
/// For the way by rings: call where rings can still be made. `entries`: what the daemon's have.
void learn_ring_layout(unsigned entries);

}  // namespace layerboot::test
