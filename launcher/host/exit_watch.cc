#include "launcher/host/exit_watch.h"

#include <fcntl.h>

#include <utility>

#include "launcher/host/child.h"

namespace layerboot::launcher {

ExitWatch::ExitWatch(boost::asio::io_context& io, int pidfd, std::function<void()> ended) : stream_(io) {
  UniqueFd own(::fcntl(pidfd, F_DUPFD_CLOEXEC, kFirstInheritedFd));
  boost::system::error_code error;
  stream_.assign(own.get(), error);
  if (!error) [[maybe_unused]]
    const int given = own.release();
  stream_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                     [ended = std::move(ended)](boost::system::error_code failed) {
                       if (failed != boost::asio::error::operation_aborted) ended();
                     });
}

}  // namespace layerboot::launcher
