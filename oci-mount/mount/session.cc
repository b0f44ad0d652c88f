#include "oci-mount/mount/session.h"

#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "oci-mount/base/log.h"

namespace layerboot::mount {

namespace {

// libfuse prints why it failed; it is kept here to become part of an Error. Mounting happens on one thread.
std::string last_message;

void keep_message(fuse_log_level level, const char* format, va_list arguments) {
  std::array<char, 512> text{};
  std::vsnprintf(text.data(), text.size(), format, arguments);
  std::string message = text.data();
  while (message.ends_with('\n')) message.pop_back();
  if (level <= FUSE_LOG_WARNING) {
    last_message = message;
  } else {
    log_debug(message);
  }
}

// Its absolute path: unmounting happens from another working directory.
Result<std::string> check_mountpoint(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> absolute(::realpath(path.c_str(), nullptr), &std::free);
  if (!absolute && errno == ENOTCONN) {
    return fail(ENOTCONN, "cannot mount on ", path,
                ": a mount whose server is gone is still there; remove it with fusermount3 -u");
  }
  if (!absolute) return errno_error("cannot mount on ", path);
  struct stat st{};
  if (::stat(absolute.get(), &st) != 0) return errno_error("cannot mount on ", path);
  if (!S_ISDIR(st.st_mode)) return fail(ENOTDIR, "cannot mount on ", path, ": it is no directory");
  return std::string(absolute.get());
}

// Commas part mount options, and a backslash escapes; df shows neither the worse for an underscore.
std::string option_text(std::string text) {
  std::replace_if(text.begin(), text.end(), [](char c) { return c == ',' || c == '\\'; }, '_');
  return text;
}

std::string mount_options(const SessionOptions& options) {
  std::string text = str_cat("subtype=oci-mount,fsname=", option_text(options.source_name));
  if (!options.read_all) text += ",default_permissions";
  if (options.read_only) text += ",ro";
  if (options.allow_other) text += ",allow_other";
  return text;
}

}  // namespace

struct Session::Buffer {
  fuse_buf buf{};
  ~Buffer() { std::free(buf.mem); }  // libfuse's, by malloc
};

void Session::SessionDeleter::operator()(fuse_session* session) const { ::fuse_session_destroy(session); }

Session::Session(vfs::FileSystem& fs)
    : door_{.fs = fs, .reactor = nullptr, .on_idle = {}, .scratch = {}},
      buffer_(std::make_unique<Buffer>()) {}

Result<std::unique_ptr<Session>> Session::mount(vfs::FileSystem& fs, const SessionOptions& options) {
  LB_ASSIGN(std::string mountpoint, check_mountpoint(options.mountpoint));
  ::fuse_set_log_func(keep_message);
  std::unique_ptr<Session> session(new Session(fs));
  session->mountpoint_ = std::move(mountpoint);
  session->door_.read_only = options.read_only;
  session->door_.reads_all = options.read_all;

  std::string program = "oci-mount";
  std::string dash_o = "-o";
  std::string mount_opts = mount_options(options);
  std::array<char*, 3> words = {program.data(), dash_o.data(), mount_opts.data()};
  fuse_args args = FUSE_ARGS_INIT(static_cast<int>(words.size()), words.data());
  const fuse_lowlevel_ops operations = fuse_operations();
  session->session_.reset(::fuse_session_new(&args, &operations, sizeof operations, &session->door_));
  ::fuse_opt_free_args(&args);
  if (!session->session_) return fail(EINVAL, "cannot set up FUSE: ", last_message);

  sigset_t ending;
  sigemptyset(&ending);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&ending, number);
  session->signals_ = UniqueFd(::signalfd(-1, &ending, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!session->signals_) return errno_error("signalfd");

  if (::fuse_session_mount(session->session_.get(), session->mountpoint_.c_str()) != 0) {
    return fail(EIO, "cannot mount on ", options.mountpoint, ": ", last_message,
                " (FUSE needs /dev/fuse, and root or the program fusermount3)");
  }
  session->mounted_ = true;
  const int fd = ::fuse_session_fd(session->session_.get());
  if (::fcntl(fd, F_SETFL, O_NONBLOCK) != 0 || ::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
    return errno_error("fcntl");
  return session;
}

Session::~Session() {
  if (!mounted_) return;
  if (!keeper_) {
    ::fuse_session_unmount(session_.get());
    return;
  }
  // It may have been taken away, and another be in its place.
  pollfd connection{::fuse_session_fd(session_.get()), 0, 0};
  const bool gone = ::poll(&connection, 1, 0) == 1 && (connection.revents & POLLERR) != 0;
  if (!gone) keeper_->unmount();
}

Result<void> Session::hand_over_unmounting() {
  LB_ASSIGN(auto keeper, MountKeeper::start(mountpoint_));
  keeper_.emplace(std::move(keeper));
  return {};
}

Result<void> Session::serve(Reactor& reactor, std::function<void()> on_ready) {
  reactor_ = &reactor;
  door_.reactor = &reactor;
  on_ready_ = std::move(on_ready);
  const int fd = ::fuse_session_fd(session_.get());
  reactor_->watch(fd, [this] { take_requests(); });
  reactor_->watch(signals_.get(), [this] {
    signalfd_siginfo info{};
    while (::read(signals_.get(), &info, sizeof info) > 0) end();
  });
  reactor_->run();
  reactor_->unwatch(fd);
  reactor_->unwatch(signals_.get());
  if (failure_ != 0)
    return fail(failure_, mountpoint_,
                ": lost the connection to the kernel: ", Error{failure_, {}}.describe());
  return {};
}

void Session::take_requests() {
  for (int i = 0; i < kMaxBurst && !ending_; ++i) {
    const int got = ::fuse_session_receive_buf(session_.get(), &buffer_->buf);
    if (got == -EAGAIN) return;
    if (got == -EINTR) continue;
    if (got <= 0) {  // 0: unmounted
      failure_ = -got;
      return end();
    }
    ::fuse_session_process_buf(session_.get(), &buffer_->buf);
    if (::fuse_session_exited(session_.get()) != 0) return end();
    if (door_.initialised && on_ready_) std::exchange(on_ready_, {})();
  }
  if (ending_) return;
  // There may be more, which the edge-triggered watch would not tell of.
  if (std::exchange(burst_posted_, true)) return;
  reactor_->post([this] {
    burst_posted_ = false;
    take_requests();
  });
}

// Stops once every task has replied: none may outlive the session.
void Session::end() {
  if (std::exchange(ending_, true)) return;
  if (door_.in_flight == 0) return reactor_->stop();
  door_.on_idle = [this] { reactor_->stop(); };
}

}  // namespace layerboot::mount
