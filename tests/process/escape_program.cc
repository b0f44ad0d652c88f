// vfsd up to the moment when it would serve, by the same function and with all walls; then one way out.
//
// LAYERBOOT_ESCAPE: its name. LAYERBOOT_VICTIM: the number of a process of somebody else's. The options are
// vfsd's. Exit code 0: it led nowhere; kGotOut: it did, and a line says where; else serve()'s error.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "oci-mount/base/io_ring.h"
#include "oci-mount/base/log.h"
#include "tests/process/escape_ways.h"
#include "vfsd/daemon/options.h"
#include "vfsd/daemon/serve.h"

namespace layerboot::test {
namespace {

void say(const std::string& text) {
  const std::string line = text + "\n";
  static_cast<void>(::write(STDERR_FILENO, line.data(), line.size()));
}

/// Before the sandbox there is nothing to look names up in afterwards.
struct Attempt {
  const ForbiddenCall* call = nullptr;
  const Way* way = nullptr;
};

Attempt find_attempt() {
  const char* const name = std::getenv("LAYERBOOT_ESCAPE");
  const char* const victim = std::getenv("LAYERBOOT_VICTIM");
  if (name == nullptr || victim == nullptr) return {};
  for (const ForbiddenCall& call : forbidden_calls(std::atol(victim))) {
    if (std::string_view(call.name) == name) return {.call = &call};
  }
  for (const Way& way : ways_out()) {
    if (std::string_view(way.name) == name) return {.way = &way};
  }
  return {};
}

int try_to_get_out(const Attempt& attempt) {
  if (attempt.call != nullptr) {
    const auto& [name, number, a] = *attempt.call;
    ::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    say(str_cat("got out: ", name, " is let through"));
    return kGotOut;
  }
  const std::string got = attempt.way->reach();
  say(got.empty() ? "led nowhere" : str_cat("got out: ", attempt.way->name, ": ", got));
  return got.empty() ? 0 : kGotOut;
}

}  // namespace
}  // namespace layerboot::test

int main(int argc, char** argv) {
  using namespace layerboot;
  const auto parsed = vfsd::parse_options(argc, argv);
  const auto attempt = test::find_attempt();
  if (parsed.exit_code || (attempt.call == nullptr && attempt.way == nullptr)) return 2;
  test::learn_ring_layout(IoRing::kQueueEntries);
  log_setup("vfsd", LogLevel::kWarn);
  int exit_code = 1;
  const auto served = vfsd::serve(parsed.options, std::chrono::steady_clock::now(),
                                  [&](vfsd::Server&) { exit_code = test::try_to_get_out(attempt); });
  if (!served) test::say(served.error().describe());
  return served ? exit_code : 1;
}
