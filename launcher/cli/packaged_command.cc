#include "launcher/cli/packaged_command.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "launcher/cli/packaged_start.h"
#include "launcher/cli/run_command.h"
#include "launcher/cli/run_ways.h"
#include "launcher/host/first_process.h"
#include "launcher/host/memory_limit.h"
#include "launcher/host/network_check.h"
#include "launcher/images/package_layout.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/store/image.h"

namespace layerboot::launcher {

namespace {

constexpr std::size_t kMaxOptionsBytes = std::size_t{64} << 10;

/// What depends on more than the option's name; the others' are in a table.
Result<void> check_fits_container(const Options& run, const std::string& image) {
  LB_TRY(check_fits(RunWay::kContainer, run.given));
  const std::array<std::pair<bool, const char*>, 3> without_meaning = {{
      {run.image != image, "another image"},
      {run.net != Net::kUser && run.net != Net::kNone, "--net other than user or none"},
      {!run.more_nets.empty(), "a second --net"},
  }};
  for (const auto& [is_given, what] : without_meaning) {
    if (is_given) return fail(EINVAL, what, " has no meaning for a VM in a container");
  }
  return {};
}

std::vector<std::string> own_environment() {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) variables.emplace_back(*variable);
  return variables;
}

Result<std::vector<std::string>> packaged_words() {
  auto packaged = read_file(kPackagedOptions, kMaxOptionsBytes);
  if (!packaged)
    return while_doing(packaged.error(), "packaged is for containers of images made by 'layerboot package'");
  std::vector<std::string> words;
  for (std::string_view rest = *packaged; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    words.emplace_back(line);
  }
  return words;
}

/// What was packaged with the image, and then what this container was given.
Result<std::vector<std::string>> option_words() {
  LB_ASSIGN(const auto packaged, packaged_words());
  const char* const given = std::getenv(std::string(kOptionsVariable).c_str());
  return joined_options(packaged, words_of(given == nullptr ? "" : given));
}

/// The container's, which its engine has made known to others.
std::string host_name() {
  char name[HOST_NAME_MAX + 1] = {};
  if (::gethostname(name, sizeof(name) - 1) != 0) return {};
  return check_hostname(name) ? std::string(name) : hostname_for(name);
}

Result<void> take_container(const StateDirs& dirs, Options& run) {
  LB_ASSIGN(const store::Image image, store::open_image(run.image, dirs));
  take_ports(run.net == Net::kNone ? std::vector<std::string>() : image.config.exposed_ports, run,
             [](const PublishedPort& port) { return check_port_free(port.address, port.host, port.udp); });
  LB_ASSIGN(const auto mounts, own_mounts());
  LB_TRY(take_mounts(mounts, run));
  auto environment = guest_environment(own_environment());
  // The guest's is not where this container's programs are.
  ::setenv("PATH", std::string(kPackagedPath).c_str(), 1);
  // What --env says comes last, and so counts.
  environment.insert(environment.end(), run.environment.begin(), run.environment.end());
  run.environment = std::move(environment);
  if (run.hostname.empty()) run.hostname = host_name();
  return {};
}

}  // namespace

Result<Options> packaged_run(const std::vector<std::string>& words, const std::string& image,
                             const std::vector<std::string>& command) {
  ParsedCommandLine parsed = parse_run_words(words, image, command);
  if (!parsed.options) {
    parsed.text.erase(parsed.text.find_last_not_of('\n') + 1);
    return fail(EINVAL, "the options of run: ", parsed.text);
  }
  LB_TRY(check_fits_container(*parsed.options, image));
  if (parsed.options->guest_command != command)
    return fail(EINVAL, "the options of run: '", parsed.options->guest_command.front(), "' is none");
  return *std::move(parsed.options);
}

Result<int> packaged_command(const StateDirs& dirs, const Options& options) {
  LB_TRY(leave_first_process());
  LB_ASSIGN(const auto words, option_words());
  const std::string image = str_cat("oci:", kPackagedImage, ":", kPackagedTag);
  LB_ASSIGN(Options run, packaged_run(words, image, options.guest_command));
  run.name = kPackagedName;
  run.kernel = kPackagedKernel;
  run.pull_policy = PullPolicy::kNever;
  log_setup("layerboot", run.log_level);
  if (!was_given(run, "--memory")) run.container_memory_bytes = memory_limit_bytes();
  LB_TRY(take_container(dirs, run));
  return run_vm(dirs, run);
}

}  // namespace layerboot::launcher
