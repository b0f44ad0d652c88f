#include "launcher/console.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <utility>

#include "oci-mount/base/log.h"

namespace layerboot::launcher {

namespace {

using boost::system::error_code;

/// A descriptor of the same file with status flags of its own, where there is a way to get one.
UniqueFd reopen(int fd, int access) {
  struct stat st{};
  // Not a regular file: reopened, it would be written from its start again.
  if (::fstat(fd, &st) != 0 || !(S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode))) return {};
  const std::string path = str_cat("/proc/self/fd/", fd);
  return UniqueFd(::open(path.c_str(), access | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
}

}  // namespace

bool EscapeDetector::feed(std::string_view typed, std::chrono::steady_clock::time_point now) {
  bool complete = false;
  for (const char c : typed) {
    if (c != kKey) {
      count_ = 0;
      continue;
    }
    if (count_ == kPresses) count_ = 0;
    if (count_ > 0 && now - presses_.front() > kWithin) {
      std::move(presses_.begin() + 1, presses_.begin() + static_cast<std::ptrdiff_t>(count_),
                presses_.begin());
      --count_;
    }
    presses_.at(count_++) = now;
    complete = complete || (count_ == kPresses && now - presses_.front() <= kWithin);
  }
  return complete;
}

/// Standard input or output as Asio wants it, without changing what others see of it for longer than we live.
class Console::Descriptor {
 public:
  Descriptor(boost::asio::io_context& io, int fd, int access) : stream_(io), lent_fd_(fd) {
    UniqueFd own = reopen(fd, access);
    if (!own) {
      saved_flags_ = ::fcntl(fd, F_GETFL);
      own = UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, kFirstFree));
    }
    const int raw = own.get();
    stream_.assign(raw, error_);
    if (!error_) [[maybe_unused]]
      const int given = own.release();
  }
  ~Descriptor() {
    error_code ignored;
    stream_.close(ignored);
    if (saved_flags_ >= 0) ::fcntl(lent_fd_, F_SETFL, saved_flags_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  [[nodiscard]] bool usable() const { return !error_; }
  boost::asio::posix::stream_descriptor& stream() { return stream_; }

 private:
  static constexpr int kFirstFree = 3;

  boost::asio::posix::stream_descriptor stream_;
  int lent_fd_;
  int saved_flags_ = -1;
  error_code error_;
};

Console::Console(boost::asio::io_context& io, UniqueFd guest, int input, int output, Handlers handlers)
    : handlers_(std::move(handlers)),
      input_fd_(input),
      input_(std::make_unique<Descriptor>(io, input, O_RDONLY)),
      output_(std::make_unique<Descriptor>(io, output, O_WRONLY)),
      guest_(io),
      self_(std::make_shared<Console*>(this)) {
  error_code error;
  guest_.assign(guest.get(), error);
  if (!error) [[maybe_unused]]
    const int given = guest.release();
}

Console::~Console() = default;

Result<void> Console::start() {
  if (!guest_.is_open()) return fail(EBADF, "cannot watch the console's socket");
  LB_ASSIGN(auto terminal, RawTerminal::enter(input_fd_));
  if (terminal) terminal_.emplace(*std::move(terminal));
  if (!output_->usable()) output_.reset();
  // A terminal that is another job's is left alone: reading it would stop us.
  if (input_->usable() && (terminal_ || ::isatty(input_fd_) == 0)) read_input();
  read_guest();
  return {};
}

void Console::read_input() {
  input_->stream().async_read_some(boost::asio::buffer(from_input_),
                                   [weak = std::weak_ptr(self_)](error_code error, std::size_t size_bytes) {
                                     const auto self = weak.lock();
                                     if (!self) return;
                                     if (error) return;  // its end: the guest goes on
                                     (*self)->write_guest(size_bytes);
                                   });
}

void Console::write_guest(std::size_t size_bytes) {
  const std::string_view typed(from_input_.data(), size_bytes);
  if (terminal_ && escape_.feed(typed, std::chrono::steady_clock::now())) handlers_.escape();
  boost::asio::async_write(guest_, boost::asio::buffer(typed.data(), typed.size()),
                           [weak = std::weak_ptr(self_)](error_code error, std::size_t) {
                             const auto self = weak.lock();
                             if (self && !error) (*self)->read_input();
                           });
}

void Console::read_guest() {
  guest_.async_read_some(boost::asio::buffer(from_guest_),
                         [weak = std::weak_ptr(self_)](error_code error, std::size_t size_bytes) {
                           const auto self = weak.lock();
                           if (!self || error == boost::asio::error::operation_aborted) return;
                           if (error) return (*self)->guest_closed();
                           (*self)->write_output(size_bytes);
                         });
}

void Console::write_output(std::size_t size_bytes) {
  if (!output_) return read_guest();
  boost::asio::async_write(output_->stream(), boost::asio::buffer(from_guest_.data(), size_bytes),
                           [weak = std::weak_ptr(self_)](error_code error, std::size_t) {
                             const auto self = weak.lock();
                             if (!self) return;
                             if (error) {
                               log_debug("standard output: ", error.message());
                               (*self)->output_.reset();
                             }
                             (*self)->read_guest();
                           });
}

void Console::guest_closed() {
  error_code ignored;
  guest_.close(ignored);
  terminal_.reset();
  const auto closed = handlers_.closed;
  closed();  // may destroy this object
}

}  // namespace layerboot::launcher
