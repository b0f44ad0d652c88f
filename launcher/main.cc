// layerboot: boots virtual machines straight from stock container images.

#include <unistd.h>

#include <cstdio>

#include "launcher/cli/commands.h"
#include "launcher/cli/options.h"
#include "launcher/host/signals.h"
#include "oci-mount/base/inherited_descriptors.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/standard_streams.h"
#include "oci-mount/store/unpack_child.h"

namespace layerboot::launcher {
namespace {

int run(int argc, const char* const* argv) {
  const auto config = read_config_file();
  if (!config) {
    log_error(config.error().describe());
    return kExitUsage;
  }
  const ParsedCommandLine parsed = parse_command_line(argc, argv, *config);
  if (!parsed.options) {
    std::fputs(parsed.text.c_str(), parsed.exit_code == 0 ? stdout : stderr);
    return parsed.exit_code;
  }
  log_setup("layerboot", parsed.options->log_level);
  const auto done = carry_out(*parsed.options);
  if (done) return *done;
  if (!done.error().text.empty()) log_error(done.error().text);
  return 1;
}

}  // namespace
}  // namespace layerboot::launcher

int main(int argc, char** argv) {
  using namespace layerboot;
  open_closed_streams();
  if (const auto exit_code = store::run_as_unpack_child(argc, argv)) return *exit_code;
  note_inherited_descriptors();
  // Before all else: reading the command line may wait for an image's name.
  launcher::ignore_idle_signals();
  return run_to_end("layerboot", [argc, argv] { return launcher::run(argc, argv); });
}
