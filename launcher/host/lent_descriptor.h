// LentDescriptor: standard input or output as Asio wants it, without changing what others see of it for
// longer than we live.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

namespace layerboot::launcher {

/// Reopens the file where it can be, so that no other process sees it turn non-blocking; otherwise its flags
/// are put back at the end.
class LentDescriptor {
 public:
  /// `fd` is lent; `access` is O_RDONLY or O_WRONLY.
  LentDescriptor(boost::asio::io_context& io, int fd, int access);
  ~LentDescriptor();
  LentDescriptor(const LentDescriptor&) = delete;
  LentDescriptor& operator=(const LentDescriptor&) = delete;

  [[nodiscard]] bool usable() const { return !error_; }
  boost::asio::posix::stream_descriptor& stream() { return stream_; }

 private:
  boost::asio::posix::stream_descriptor stream_;
  int lent_fd_;
  int saved_flags_ = -1;
  boost::system::error_code error_;
};

}  // namespace layerboot::launcher
