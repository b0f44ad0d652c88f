#include "launcher/host/image_mount.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <string_view>

#include "launcher/host/run_tool.h"
#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {

namespace {

// How often Ctrl-C is looked for while layers are being indexed.
constexpr int kInterruptPollMs = 200;

std::vector<std::string> mount_args(const ImageMountPlan& plan) {
  std::vector<std::string> args = {plan.oci_mount.string()};
  if (!plan.show_progress) args.emplace_back("--quiet");
  if (!plan.platform.empty()) args.insert(args.end(), {"--platform", plan.platform});
  for (const auto& layer : plan.added_layers) {
    args.insert(args.end(), {"--add-layer", layer.string()});
  }
  args.insert(args.end(), {"mount", "--foreground", "--read-all", "--ready-fd", str_cat(kFirstInheritedFd),
                           plan.image, plan.mountpoint.string()});
  return args;
}

/// Waits until the child has written its line. EPIPE without a text when it ended instead.
Result<void> wait_until_ready(int ready) {
  for (;;) {
    LB_TRY(InterruptScope::check());
    pollfd wanted{.fd = ready, .events = POLLIN, .revents = 0};
    const int events = ::poll(&wanted, 1, kInterruptPollMs);
    if (events < 0 && errno != EINTR) return errno_error("poll");
    if (events <= 0) continue;
    std::array<char, 16> line{};
    const ssize_t got = ::read(ready, line.data(), line.size());
    if (got > 0) return {};
    return std::unexpected(Error{EPIPE, {}});
  }
}

}  // namespace

Result<ImageMount> ImageMount::mount(const ImageMountPlan& plan) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error("pipe");
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  LB_ASSIGN(Child child, Child::spawn({.label = "oci-mount", .argv = mount_args(plan)}, {write_end.get()}));
  write_end = UniqueFd();
  ImageMount mount(std::move(child));
  LB_TRY(wait_until_ready(read_end.get()));
  return mount;
}

ImageMount::~ImageMount() {
  if (child_.pid() < 0) return;  // moved from
  child_.send(SIGTERM);
  child_.wait();
}

}  // namespace layerboot::launcher
