// ExitWatch: calls back when a process has ended.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <functional>

namespace layerboot::launcher {

/// On one io_context's thread; at most one call, none after destruction. `pidfd` is lent, for the constructor
/// alone.
class ExitWatch {
 public:
  ExitWatch(boost::asio::io_context& io, int pidfd, std::function<void()> ended);

 private:
  boost::asio::posix::stream_descriptor stream_;
};

}  // namespace layerboot::launcher
