#include "launcher/agent/docker_ports.h"

#include <sys/socket.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <functional>
#include <utility>

#include "launcher/agent/docker_answer.h"
#include "launcher/agent/session_client.h"
#include "launcher/host/unix_socket.h"

namespace layerboot::launcher {

using boost::system::error_code;

namespace {

constexpr std::chrono::seconds kAskAgain{2};
/// Docker 20.10 tells of a container's end before its list is without it.
constexpr std::chrono::seconds kSettled{2};
constexpr std::size_t kPieceBytes = 16384;

constexpr const char* kList = "/containers/json";
// {"type":["container"],"event":["start","die","destroy"]}
constexpr const char* kEvents =
    "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%2C%22event%22%3A%5B%22start%22%2C%22die%22%2C"
    "%22destroy%22%5D%7D";

}  // namespace

/// One connection to the engine: a question, and what is said to it.
class DockerPorts::Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  struct Handlers {
    std::function<void(std::string_view)> said;
    std::function<void()> ended;  // may let go of the exchange
  };

  static Result<std::shared_ptr<Exchange>> begin(boost::asio::io_context& io, AgentBroker& broker,
                                                 const std::string& socket, std::string_view path,
                                                 Handlers handlers) {
    LB_ASSIGN(auto streams, socket_pair());
    LB_ASSIGN(auto ends, socket_pair());
    LB_TRY(broker.adopt(std::move(ends.first)));
    std::shared_ptr<Exchange> exchange(new Exchange(io, std::move(streams.second), std::move(handlers)));
    error_code error;
    exchange->ours_.assign(streams.first.get(), error);
    if (error) return fail(error.value(), "cannot ask the VM's Docker engine: ", error.message());
    [[maybe_unused]] const int given = streams.first.release();
    const int theirs = exchange->theirs_.get();
    exchange->session_ = std::make_unique<SessionClient>(
        io, std::move(ends.second), SessionStdio{.input = theirs, .output = theirs, .error = -1},
        // No engine yet is no fault: our end sees that there is nothing more to come.
        [theirs](const SessionEnd&) { ::shutdown(theirs, SHUT_RDWR); });
    guest_init::SessionRequest request;
    request.connect = socket;
    request.user = "0";
    LB_TRY(exchange->session_->start(request));
    exchange->ask(docker_request(path));
    exchange->read();
    return exchange;
  }

 private:
  Exchange(boost::asio::io_context& io, UniqueFd theirs, Handlers handlers)
      : handlers_(std::move(handlers)), theirs_(std::move(theirs)), ours_(io) {}

  void ask(std::string question) {
    const auto kept = std::make_shared<const std::string>(std::move(question));
    boost::asio::async_write(ours_, boost::asio::buffer(*kept), [kept](error_code, std::size_t) {});
  }

  void read() {
    ours_.async_read_some(boost::asio::buffer(piece_),
                          [weak = weak_from_this()](error_code error, std::size_t size_bytes) {
                            const auto self = weak.lock();
                            if (!self || error == boost::asio::error::operation_aborted) return;
                            if (error) return self->handlers_.ended();
                            self->handlers_.said({self->piece_.data(), size_bytes});
                            self->read();
                          });
  }

  Handlers handlers_;
  UniqueFd theirs_;  // the session's standard input and output
  boost::asio::posix::stream_descriptor ours_;
  std::unique_ptr<SessionClient> session_;
  std::array<char, kPieceBytes> piece_{};
};

DockerPorts::DockerPorts(boost::asio::io_context& io, AgentBroker& broker, std::string socket)
    : io_(io),
      broker_(broker),
      socket_(std::move(socket)),
      pause_(io),
      settling_(io),
      self_(std::make_shared<DockerPorts*>(this)) {}

DockerPorts::~DockerPorts() = default;

void DockerPorts::guest_reset() {
  pause_.cancel();
  settling_.cancel();
  events_.reset();
  list_.reset();
  forwards_.clear();
}

void DockerPorts::watch() {
  auto begun = Exchange::begin(io_, broker_, socket_, kEvents,
                               {.said =
                                    [this](std::string_view) {
                                      ask();
                                      ask_when_settled();
                                    },
                                .ended =
                                    [this] {
                                      events_.reset();
                                      // Has it published anything, and is there nobody any more?
                                      if (!forwards_.empty()) ask();
                                      watch_later();
                                    }});
  if (!begun) return watch_later();
  events_ = std::move(*begun);
}

void DockerPorts::watch_later() {
  pause_.expires_after(kAskAgain);
  pause_.async_wait([this, weak = std::weak_ptr(self_)](error_code error) {
    if (!error && !weak.expired()) watch();
  });
}

void DockerPorts::ask_when_settled() {
  settling_.expires_after(kSettled);
  settling_.async_wait([this, weak = std::weak_ptr(self_)](error_code error) {
    if (!error && !weak.expired()) ask();
  });
}

void DockerPorts::ask() {
  if (list_) {
    ask_again_ = true;
    return;
  }
  answer_.clear();
  auto begun = Exchange::begin(io_, broker_, socket_, kList,
                               {.said =
                                    [this](std::string_view piece) {
                                      const std::size_t room = kMaxDockerAnswerBytes - answer_.size();
                                      answer_ += piece.substr(0, room);
                                    },
                                .ended = [this] { asked(); }});
  if (!begun) return complaints_.warn("the VM's containers can't be listed: ", begun.error().describe());
  list_ = std::move(*begun);
}

void DockerPorts::asked() {
  list_.reset();
  const auto ports = published_ports(answer_);
  const bool is_gone = answer_.empty();
  answer_ = {};
  if (is_gone) {
    if (!forwards_.empty())
      gone_.line(LogLevel::kInfo, "the VM's Docker engine is gone, and with it its containers' ports here");
    forwards_.clear();
  } else if (ports) {
    if (serve(*ports)) ask_when_settled();
  } else {
    complaints_.warn(ports.error().describe());
  }
  if (std::exchange(ask_again_, false)) ask();
}

bool DockerPorts::serve(const std::set<std::uint16_t>& ports) {
  bool has_changed =
      std::erase_if(forwards_, [&](const auto& forward) { return !ports.contains(forward.first); }) > 0;
  for (const std::uint16_t port : ports) {
    const auto known = forwards_.find(port);
    const bool is_new = known == forwards_.end();
    if (!is_new && known->second) continue;
    if (is_new && forwards_.size() >= kMaxPorts) {
      complaints_.warn("the VM's containers publish more than ", kMaxPorts,
                       " ports: the others are left out");
      break;
    }
    has_changed = has_changed || is_new;
    auto forward = SocketForward::listen_at_port(io_, broker_, port, std::to_string(port));
    if (forward) {
      here_.line(LogLevel::kInfo, "a container's port is at 127.0.0.1:", port);
    } else if (is_new) {
      not_here_.warn("a container's port is not published here: ", forward.error().describe());
    }
    forwards_.insert_or_assign(port, forward ? std::move(*forward) : nullptr);
  }
  return has_changed;
}

}  // namespace layerboot::launcher
