// LogBound: keeps a log within a bound that other processes write to as well.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <filesystem>
#include <memory>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// `PATH.1`: where the older part of a bounded log is kept.
std::filesystem::path older_log(const std::filesystem::path& path);

/// Our own lines go there, what QEMU and the daemons say among them, and the janitor's by a descriptor of its
/// own that appends: the file can't be exchanged, only emptied. When it has grown past kMaxBytes, its end is
/// kept as `PATH.1`, and it begins anew; a line that is written at that very moment may be lost. On one
/// io_context's thread.
class LogBound {
 public:
  static constexpr std::uint64_t kMaxBytes = std::uint64_t{4} << 20;

  /// `path` is there already. Ends with the object.
  static Result<std::unique_ptr<LogBound>> watch(boost::asio::io_context& io,
                                                 const std::filesystem::path& path,
                                                 std::uint64_t max_bytes = kMaxBytes);
  LogBound(const LogBound&) = delete;
  LogBound& operator=(const LogBound&) = delete;
  ~LogBound();

 private:
  LogBound(boost::asio::io_context& io, std::filesystem::path path, std::uint64_t max_bytes);
  void wait();
  Result<void> shorten();

  boost::asio::posix::stream_descriptor events_;  // of inotify
  std::array<char, 4096> buffer_{};
  std::filesystem::path path_;
  UniqueFd file_;
  std::uint64_t max_bytes_;
  bool broken_ = false;
};

}  // namespace layerboot::launcher
