#include <sys/resource.h>

#include <cstdio>

#include "oci-mount/base/inherited_descriptors.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/standard_streams.h"
#include "oci-mount/layer/index_child.h"
#include "oci-mount/mount/commands.h"
#include "oci-mount/mount/disk_reader.h"
#include "oci-mount/mount/options.h"
#include "oci-mount/store/unpack_child.h"

namespace layerboot::mount {
namespace {

/// A directory that is walked costs one for each level (upper_walk.h), of which there may be more than the
/// 1024 that many hosts have a program begin with.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);  // else it is an error that names the path
}

int run(int argc, const char* const* argv) {
  const ParsedOptions parsed = parse_options(argc, argv);
  if (parsed.leave) {
    std::fputs(parsed.text.c_str(), parsed.exit_code == 0 ? stdout : stderr);
    return parsed.exit_code;
  }
  log_setup("oci-mount", parsed.options.log_level);
  raise_descriptor_limit();
  const auto exit_code = run_command(parsed.options);
  if (exit_code) return *exit_code;
  log_error(exit_code.error().describe());
  return 1;
}

}  // namespace
}  // namespace layerboot::mount

int main(int argc, char** argv) {
  using namespace layerboot;
  open_closed_streams();
  if (const auto exit_code = layer::run_as_index_child(argc, argv)) return *exit_code;
  if (const auto exit_code = mount::run_as_disk_child(argc, argv)) return *exit_code;
  if (const auto exit_code = store::run_as_unpack_child(argc, argv)) return *exit_code;
  note_inherited_descriptors();
  return run_to_end("oci-mount", [argc, argv] { return mount::run(argc, argv); });
}
