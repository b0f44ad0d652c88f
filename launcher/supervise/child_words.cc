#include "launcher/supervise/child_words.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "oci-mount/base/log.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {

using boost::system::error_code;

namespace {

constexpr std::size_t kPieceBytes = 4096;
/// Of what is left in the pipe at the end: a child of the child's may go on writing.
constexpr std::size_t kMaxLeftBytes = std::size_t{256} << 10;

/// With one write(2), as log_line() has it.
void write_line(std::string_view text) {
  const bool terminal = ::isatty(STDERR_FILENO) != 0;
  const std::string line = str_cat(terminal ? "\r" : "", text, terminal ? "\r\n" : "\n");
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace

ChildWords::ChildWords(boost::asio::io_context& io, const ChildSpec& spec)
    : read_end_(io),
      label_(spec.label),
      program_(spec.argv.front().substr(spec.argv.front().rfind('/') + 1)),
      self_(std::make_shared<ChildWords*>(this)) {}

ChildWords::~ChildWords() { finish(); }

Result<std::unique_ptr<ChildWords>> ChildWords::open(boost::asio::io_context& io, const ChildSpec& spec) {
  std::unique_ptr<ChildWords> words(new ChildWords(io, spec));
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error("pipe");
  UniqueFd read_end(ends[0]);
  words->write_end_ = UniqueFd(ends[1]);
  if (::fcntl(read_end.get(), F_SETFL, O_NONBLOCK) != 0) return errno_error("pipe");
  error_code error;
  words->read_end_.assign(read_end.get(), error);
  if (error) return fail(EIO, "cannot watch ", spec.label, ": ", error.message());
  [[maybe_unused]] const int given = read_end.release();
  words->wait_for_more();
  return words;
}

ChildSpec ChildWords::with_output(ChildSpec spec) const {
  spec.output = write_end_.get();
  return spec;
}

void ChildWords::started() { write_end_.reset(); }

// It waits alone: what a read had taken would be nobody's when finish() comes before its handler.
void ChildWords::wait_for_more() {
  read_end_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                       [weak = std::weak_ptr(self_)](error_code error) {
                         const auto alive = weak.lock();
                         if (!alive || error) return;
                         if ((*alive)->hear_pending(kPieceBytes)) (*alive)->wait_for_more();
                       });
}

bool ChildWords::hear_pending(std::size_t max_bytes) {
  std::array<char, kPieceBytes> piece;
  while (max_bytes > 0) {
    const ssize_t got = ::read(read_end_.native_handle(), piece.data(), std::min(piece.size(), max_bytes));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno == EAGAIN;
    if (got == 0) return false;
    hear(std::string_view(piece.data(), static_cast<std::size_t>(got)));
    max_bytes -= static_cast<std::size_t>(got);
  }
  return true;
}

void ChildWords::finish() {
  hear_pending(kMaxLeftBytes);
  if (!line_.empty()) end_line();
  tell_last();
}

void ChildWords::tell_last() {
  left_out_ -= last_.size();
  for (const std::string& line : std::exchange(last_, {}))
    write_line(str_cat(line, LogLimit::words(std::exchange(left_out_, 0))));
}

void ChildWords::hear(std::string_view bytes) {
  while (!bytes.empty()) {
    const std::size_t end = std::min(bytes.find('\n'), bytes.size());
    const std::size_t room = kMaxLineBytes - line_.size();
    line_ += bytes.substr(0, std::min(end, room));
    is_cut_ = is_cut_ || end > room;
    if (end < bytes.size()) end_line();
    bytes.remove_prefix(std::min(end + 1, bytes.size()));
  }
}

void ChildWords::end_line() {
  std::string line = std::exchange(line_, {});
  const bool is_cut = std::exchange(is_cut_, false);
  if (line.ends_with('\r')) line.pop_back();
  const bool is_named = line.starts_with(str_cat(program_, ": "));
  if (!is_named) line.insert(0, label_ + ": ");
  line = str_cat(printable_lines(line), is_cut ? "…" : "");
  if (log_enabled(LogLevel::kDebug) || limit_.take(std::chrono::steady_clock::now())) {
    last_.clear();
    return write_line(str_cat(line, LogLimit::words(std::exchange(left_out_, 0))));
  }
  ++left_out_;
  last_.push_back(std::move(line));
  if (last_.size() > kLastLines) last_.pop_front();
}

}  // namespace layerboot::launcher
