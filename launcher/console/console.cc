#include "launcher/console/console.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <utility>

#include "oci-mount/base/log.h"

namespace layerboot::launcher {

namespace {

using boost::system::error_code;

}  // namespace

Escape EscapeDetector::feed(std::string_view typed, std::chrono::steady_clock::time_point now) {
  Escape found = Escape::kNone;
  for (const char c : typed) {
    if (c != kKey) {
      if (c == kShellKey && count_ == 2 && now - presses_.front() <= kWithin) found = Escape::kShell;
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
    if (count_ == kPresses && now - presses_.front() <= kWithin) found = Escape::kLeave;
  }
  return found;
}

Console::Console(boost::asio::io_context& io, UniqueFd guest, int input, int output, Handlers handlers)
    : handlers_(std::move(handlers)),
      input_fd_(input),
      input_(std::make_unique<LentDescriptor>(io, input, O_RDONLY)),
      output_(std::make_unique<LentDescriptor>(io, output, O_WRONLY)),
      guest_(io),
      self_(std::make_shared<Console*>(this)) {
  error_code error;
  guest_.assign(guest.get(), error);
  if (!error) [[maybe_unused]]
    const int given = guest.release();
}

Console::~Console() = default;

Result<void> Console::start() { return begin(true); }
Result<void> Console::start_without_given_input() { return begin(false); }

void Console::read_given_input() {
  if (terminal_ || ::isatty(input_fd_) != 0) return;
  if (input_->usable()) return read_input();
  if (handlers_.input_ended) handlers_.input_ended();
}

void Console::type(std::string_view text) {
  if (!typed_.empty() || input_busy_) return;
  typed_ = text;
  boost::asio::async_write(guest_, boost::asio::buffer(typed_),
                           [weak = std::weak_ptr(self_)](error_code, std::size_t) {
                             if (const auto self = weak.lock()) (*self)->typed_.clear();
                           });
}

Result<void> Console::begin(bool take_given_input) {
  if (!guest_.is_open()) return fail(EBADF, "cannot watch the console's socket");
  LB_ASSIGN(auto terminal, RawTerminal::enter(input_fd_));
  if (terminal) terminal_.emplace(*std::move(terminal));
  if (!output_->usable()) output_.reset();
  // A terminal that is another job's is left alone: reading it would stop us.
  if (input_->usable() && terminal_) read_input();
  if (take_given_input) read_given_input();
  read_guest();
  return {};
}

void Console::read_input() {
  if (lent_ || std::exchange(input_busy_, true)) return;
  input_->stream().async_read_some(boost::asio::buffer(from_input_),
                                   [weak = std::weak_ptr(self_)](error_code error, std::size_t size_bytes) {
                                     const auto self = weak.lock();
                                     if (!self) return;
                                     Console& console = **self;
                                     if (!error) return console.take_typed(size_bytes);
                                     // At its end the guest goes on.
                                     console.input_busy_ = false;
                                     if (error == boost::asio::error::operation_aborted)
                                       return console.read_input();
                                     if (console.handlers_.input_ended) console.handlers_.input_ended();
                                   });
}

void Console::take_typed(std::size_t size_bytes) {
  std::string_view typed(from_input_.data(), size_bytes);
  const Escape asked = terminal_ ? escape_.feed(typed, std::chrono::steady_clock::now()) : Escape::kNone;
  if (asked == Escape::kLeave) handlers_.escape();
  if (asked == Escape::kShell && handlers_.shell) {
    // The key itself is not the guest's.
    typed = typed.substr(0, typed.rfind(EscapeDetector::kShellKey));
    handlers_.shell();
  }
  const bool interrupts = terminal_ && typed.find(EscapeDetector::kInterruptKey) != std::string_view::npos;
  if (interrupts && handlers_.interrupt && handlers_.interrupt()) {
    kept_ = typed;
    return;
  }
  write_guest(typed);
}

void Console::release_typed() {
  if (!kept_) return;
  const std::string kept = *std::exchange(kept_, std::nullopt);
  std::ranges::copy(kept, from_input_.begin());
  write_guest({from_input_.data(), kept.size()});
}

/// `typed` lies in from_input_.
void Console::write_guest(std::string_view typed) {
  boost::asio::async_write(guest_, boost::asio::buffer(typed.data(), typed.size()),
                           [weak = std::weak_ptr(self_)](error_code error, std::size_t) {
                             const auto self = weak.lock();
                             if (!self || error) return;
                             (*self)->input_busy_ = false;
                             (*self)->read_input();
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
  if (lent_) {
    missed_.append(from_guest_.data(), size_bytes);
    if (missed_.size() > kMaxMissedBytes) missed_.erase(0, missed_.size() - kMaxMissedBytes);
    return read_guest();
  }
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

void Console::lend_terminal() {
  lent_ = true;
  error_code ignored;
  input_->stream().cancel(ignored);
  terminal_.reset();
}

void Console::take_terminal_back() {
  if (!std::exchange(lent_, false)) return;
  if (auto terminal = RawTerminal::enter(input_fd_); terminal && *terminal)
    terminal_.emplace(**std::move(terminal));
  if (terminal_) read_input();
  write_missed();
}

/// Beside what the guest is saying now, which is on its way as well; a terminal takes both.
void Console::write_missed() {
  if (!output_ || missed_.empty()) return;
  auto missed = std::make_shared<const std::string>(std::exchange(missed_, {}));
  boost::asio::async_write(output_->stream(), boost::asio::buffer(*missed),
                           [missed](error_code, std::size_t) {});
}

void Console::guest_closed() {
  error_code ignored;
  guest_.close(ignored);
  terminal_.reset();
  const auto closed = handlers_.closed;
  closed();  // may destroy this object
}

}  // namespace layerboot::launcher
