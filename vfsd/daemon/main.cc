// vfsd: the daemon. Wiring only.
#include <malloc.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <string_view>

#include "oci-mount/base/log.h"
#include "oci-mount/base/standard_streams.h"
#include "oci-mount/layer/index_child.h"
#include "oci-mount/overlay/upper.h"
#include "oci-mount/store/unpack_child.h"
#include "vfsd/daemon/options.h"
#include "vfsd/daemon/serve.h"

namespace layerboot::vfsd {
namespace {

/// What libvirt asks of a vhost-user back end (docs/interop/vhost-user.json of QEMU).
constexpr std::string_view kCapabilities = "{\n  \"type\": \"fs\"\n}\n";

LogLevel log_level(const Options& options) {
  if (options.debug) return LogLevel::kDebug;
  return options.quiet ? LogLevel::kWarn : LogLevel::kInfo;
}

/// So that who starts us can say what is to be done about it.
constexpr int kOtherImageExitCode = 3;

}  // namespace
}  // namespace layerboot::vfsd

int main(int argc, char** argv) {
  const auto began = std::chrono::steady_clock::now();
  using namespace layerboot;
  open_closed_streams();
  if (const auto exit_code = layer::run_as_index_child(argc, argv)) return *exit_code;
  if (const auto exit_code = store::run_as_unpack_child(argc, argv)) return *exit_code;
  const auto parsed = vfsd::parse_options(argc, argv);
  if (parsed.exit_code) return *parsed.exit_code;
  if (parsed.options.print_capabilities) {
    std::fwrite(vfsd::kCapabilities.data(), 1, vfsd::kCapabilities.size(), stdout);
    return status_with_output(0);
  }
  log_setup("vfsd", vfsd::log_level(parsed.options));
  std::signal(SIGPIPE, SIG_IGN);
  // Beyond RLIMIT_FSIZE: EFBIG for the guest, not the daemon's end, which is the VM's.
  std::signal(SIGXFSZ, SIG_IGN);
  // Of several arenas each could keep what a guest has made on another queue and let go of again: more than
  // the limit.
  ::mallopt(M_ARENA_MAX, 1);
  const auto served = vfsd::serve(parsed.options, began);
  if (served) return 0;
  log_error(served.error().describe());
  return served.error().code == overlay::kOtherImage ? vfsd::kOtherImageExitCode : 1;
}
