#include "launcher/qemu/accel_probe.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "launcher/host/child.h"
#include "launcher/host/unix_socket.h"
#include "launcher/qemu/qemu_args.h"
#include "launcher/qemu/qemu_version.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::size_t kMaxConsoleBytes = std::size_t{1} << 20;  // a guest that says more is no probe guest
constexpr std::size_t kMaxCacheBytes = std::size_t{64} << 10;

enum class Heard { kAlive, kEnd, kTimeout };

/// Reads the guest's console until it says the line, closes, or `bound` is over.
Heard listen_for_life(int console, milliseconds bound) {
  const auto deadline = steady_clock::now() + bound;
  std::string heard;
  while (heard.size() < kMaxConsoleBytes) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now());
    if (left.count() <= 0) return Heard::kTimeout;
    pollfd waiting{.fd = console, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>(left.count()));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return Heard::kTimeout;
    std::array<char, 4096> chunk{};
    const ssize_t got = ::read(console, chunk.data(), chunk.size());
    if (got <= 0) return Heard::kEnd;
    heard.append(chunk.data(), static_cast<std::size_t>(got));
    if (heard.find(kProbeAlive) != std::string::npos) return Heard::kAlive;
  }
  return Heard::kTimeout;
}

std::string seconds_text(milliseconds duration) {
  return str_cat(duration.count() / 1000, '.', duration.count() % 1000 / 100, " s");
}

/// What the probe rests on; another value asks for a new one.
Result<std::string> cache_key(const ProbeInput& input) {
  LB_ASSIGN(std::string boot_id, read_file("/proc/sys/kernel/random/boot_id", kMaxCacheBytes));
  while (boot_id.ends_with('\n')) boot_id.pop_back();
  LB_ASSIGN(const std::string version, qemu_version(input.qemu));
  return str_cat(boot_id, '|', version, '|', input.kernel_release);
}

Result<AccelVerdict> read_cached(const std::filesystem::path& file, const std::string& key) {
  LB_ASSIGN(const std::string text, read_file(file, kMaxCacheBytes));
  const json document = json::parse(text, nullptr, false);
  if (!document.is_object() || document.value("key", json()) != key) return fail(ENOENT);
  const auto works = document.find("kvm_works");
  const auto reason = document.find("reason");
  if (works == document.end() || !works->is_boolean() || reason == document.end() || !reason->is_string()) {
    return fail(EINVAL);
  }
  return AccelVerdict{.kvm_works = works->get<bool>(), .reason = reason->get<std::string>(), .cached = true};
}

Result<void> write_cached(const std::filesystem::path& file, const std::string& key,
                          const AccelVerdict& verdict) {
  LB_TRY(make_directories(file.parent_path(), 0700));
  const json document = {{"key", key}, {"kvm_works", verdict.kvm_works}, {"reason", verdict.reason}};
  return write_whole_file(file, document.dump(2, ' ', false, json::error_handler_t::replace) + "\n", 0600);
}

/// Why there is no use in starting a probe; a device that opens proves nothing.
std::string why_not_even_try() {
  const UniqueFd device(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (device) return {};
  if (errno == ENOENT) return "there is no /dev/kvm";
  if (errno == EACCES) return "/dev/kvm may not be opened (is this user in the group kvm?)";
  return str_cat("/dev/kvm can't be opened: ", Error{errno, {}}.describe());
}

}  // namespace

AccelVerdict probe_kvm(const ProbeInput& input, milliseconds bound) {
  const auto refuse = [](const Error& error) {
    return AccelVerdict{.kvm_works = false, .reason = error.describe()};
  };
  auto ends = socket_pair();
  if (!ends) return refuse(ends.error());
  const auto started = steady_clock::now();
  // Killed, not asked: a guest that hangs in KVM may not let QEMU answer.
  auto child = Child::spawn({.label = "QEMU",
                             .argv = probe_args(input.qemu, input.vmlinuz, input.initrd),
                             .death_signal = SIGKILL,
                             .quiet = !log_enabled(LogLevel::kDebug)},
                            {ends->second.get()});
  if (!child) return refuse(child.error());
  ends->second.reset();
  const Heard heard = listen_for_life(ends->first.get(), bound);
  const auto took = std::chrono::duration_cast<milliseconds>(steady_clock::now() - started);
  if (heard == Heard::kAlive) {
    return {.kvm_works = true, .reason = str_cat("a guest came up under KVM in ", seconds_text(took))};
  }
  if (heard == Heard::kTimeout) {
    return {.kvm_works = false,
            .reason = str_cat("/dev/kvm exists, but a guest started on it shows no sign of life within ",
                              seconds_text(bound))};
  }
  return {.kvm_works = false,
          .reason = str_cat("/dev/kvm exists, but QEMU on it ended with ", child->wait().describe())};
}

AccelVerdict kvm_verdict(const StateDirs& dirs, const ProbeInput& input, bool fresh) {
  if (std::string why = why_not_even_try(); !why.empty())
    return {.kvm_works = false, .reason = std::move(why)};
  const auto file = dirs.cache / "kvm-probe.json";
  const auto key = cache_key(input);
  if (key && !fresh) {
    if (auto cached = read_cached(file, *key)) return *std::move(cached);
  }
  AccelVerdict verdict = probe_kvm(input);
  if (key) {
    if (const auto kept = write_cached(file, *key, verdict); !kept) {
      log_debug("the verdict on KVM is not kept: ", kept.error().describe());
    }
  }
  return verdict;
}

}  // namespace layerboot::launcher
