// ChildWords: what a child says on its standard output and error, passed on as lines by us.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>

#include "launcher/host/child.h"
#include "oci-mount/base/log_limit.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// The end of a pipe for a child instead of our standard error, which may be the terminal that somebody types
/// into, or a log: whoever has taken the child over has nothing to read there or to cut off. Each line goes
/// to our standard error with its control characters escaped, cut at kMaxLineBytes, and begins with the
/// program's name or else with the child's label, so that none looks like ours. More than kLinesAtOnce are
/// told a few at a time, unless we log for debugging; of those that were left out until finish(), the last
/// kLastLines are told then, as they say why the child has ended. On one io_context's thread.
class ChildWords {
 public:
  static constexpr std::size_t kMaxLineBytes = 8192;
  static constexpr std::int64_t kLinesAtOnce = 200;
  static constexpr std::size_t kLastLines = 3;

  static Result<std::unique_ptr<ChildWords>> open(boost::asio::io_context& io, const ChildSpec& spec);
  ChildWords(const ChildWords&) = delete;
  ChildWords& operator=(const ChildWords&) = delete;
  ~ChildWords();

  /// `spec` as it is to be spawned.
  [[nodiscard]] ChildSpec with_output(ChildSpec spec) const;
  /// Once it is: the child alone has the other end.
  void started();
  /// What has been said and not been read yet, without waiting for more: before anybody tells of the child's
  /// end.
  void finish();

 private:
  ChildWords(boost::asio::io_context& io, const ChildSpec& spec);
  void wait_for_more();
  /// At most so much, without waiting. False at its end.
  bool hear_pending(std::size_t max_bytes);
  void hear(std::string_view bytes);
  void end_line();
  void tell_last();

  boost::asio::posix::stream_descriptor read_end_;
  UniqueFd write_end_;
  std::string label_;
  std::string program_;
  std::string line_;  // begun
  bool is_cut_ = false;
  LogLimit limit_{kLinesAtOnce};
  std::uint64_t left_out_ = 0;         // since the last that was told
  std::deque<std::string> last_;       // of those
  std::shared_ptr<ChildWords*> self_;  // gone with us: a wait that is over may not have been told so yet
};

}  // namespace layerboot::launcher
