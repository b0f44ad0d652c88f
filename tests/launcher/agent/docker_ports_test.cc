// Ports of a guest's containers, with the guest's real agent in a network of its own and an engine that says
// what a test wants.
#include "launcher/agent/docker_ports.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <list>

#include "tests/launcher/agent/broker_fixture.h"
#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

using boost::system::error_code;
using Local = boost::asio::local::stream_protocol;

constexpr const char* kHello = "from the container";

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

/// Listens at a port of the loopback; with 0 at one that is free, which it gives.
UniqueFd listen_at_loopback(std::uint16_t& port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = loopback(port);
  socklen_t size = sizeof(address);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::listen(fd.get(), 8), 0);
  EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  port = ntohs(address.sin_port);
  return fd;
}

std::uint16_t free_port() {
  std::uint16_t port = 0;
  listen_at_loopback(port);
  return port;
}

/// In the agent's process: a network with a loopback alone, and a container's server in it.
void enter_own_network(std::uint16_t port) {
  if (::unshare(CLONE_NEWNET) != 0) ::_exit(1);
  ifreq request{};
  request.ifr_name[0] = 'l';
  request.ifr_name[1] = 'o';
  request.ifr_flags = IFF_UP;
  const UniqueFd fd(::socket(AF_INET, SOCK_DGRAM, 0));
  if (::ioctl(fd.get(), SIOCSIFFLAGS, &request) != 0) ::_exit(1);
  const UniqueFd listener = listen_at_loopback(port);
  const pid_t parent = ::getpid();
  if (::fork() != 0) return;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(0);
  for (;;) {
    const UniqueFd client(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (client) [[maybe_unused]]
      const auto sent = ::send(client.get(), kHello, std::strlen(kHello), 0);
  }
}

/// A Docker engine of the guest's, as far as ports go.
class FakeEngine {
 public:
  FakeEngine(boost::asio::io_context& io, const std::filesystem::path& socket)
      : acceptor_(io, Local::endpoint(socket.string())) {
    accept();
  }

  void publish(const std::set<std::uint16_t>& ports) {
    list(ports);
    tell();
  }
  void tell() {
    for (const auto& listener : listeners_) say(listener, "{\"status\":\"start\"}\n");
  }
  void list(const std::set<std::uint16_t>& ports) {
    list_ = "[";
    for (const std::uint16_t port : ports) {
      list_ +=
          str_cat(list_.size() > 1 ? "," : "", R"({"Ports":[{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":)",
                  port, R"(,"Type":"tcp"}]})");
    }
    list_ += "]";
  }
  [[nodiscard]] std::size_t asked() const { return asked_; }
  void drop_listeners() { listeners_.clear(); }
  [[nodiscard]] std::size_t listeners() const { return listeners_.size(); }

 private:
  using Stream = std::shared_ptr<Local::socket>;

  void accept() {
    acceptor_.async_accept([this](error_code error, Local::socket socket) {
      if (error) return;
      serve(std::make_shared<Local::socket>(std::move(socket)));
      accept();
    });
  }
  void serve(const Stream& stream) {
    const auto buffer = std::make_shared<boost::asio::streambuf>();
    boost::asio::async_read_until(
        *stream, *buffer, "\r\n\r\n", [this, stream, buffer](error_code error, std::size_t) {
          if (error) return;
          const std::string question(boost::asio::buffers_begin(buffer->data()),
                                     boost::asio::buffers_end(buffer->data()));
          const std::string header = "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n";
          if (question.starts_with("GET /events?")) {
            listeners_.push_back(stream);
            return say(stream, header);
          }
          EXPECT_TRUE(question.starts_with("GET /containers/json ")) << question;
          ++asked_;
          say(stream, header + list_);
        });
  }
  static void say(const Stream& stream, const std::string& text) {
    const auto kept = std::make_shared<std::string>(text);
    boost::asio::async_write(*stream, boost::asio::buffer(*kept), [stream, kept](error_code, std::size_t) {});
  }

  Local::acceptor acceptor_;
  std::list<Stream> listeners_;
  std::string list_ = "[]";
  std::size_t asked_ = 0;
};

class DockerPortsTest : public Broker {
 protected:
  void SetUp() override {
    need_root();
    port_ = free_port();
    start_agent(guest_init::GuestKind::kInit, {}, [this] { enter_own_network(port_); });
    ports_ = std::make_unique<DockerPorts>(io_, *broker_, socket_.string());
  }
  void TearDown() override {
    ports_.reset();
    engine_.reset();
    Broker::TearDown();
  }
  void start_engine() { engine_ = std::make_unique<FakeEngine>(io_, socket_); }
  /// Whether somebody listens at the port. Asked without a connection: this thread is the one that has to
  /// take connections, and where it makes more than a listener's queue holds it waits for itself.
  static bool is_listened_at(std::uint16_t port) {
    const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int reuse = 1;  // connections that are over do not count
    EXPECT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse)), 0);
    const sockaddr_in address = loopback(port);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) return false;
    EXPECT_EQ(errno, EADDRINUSE);
    return true;
  }
  std::string said_at(std::uint16_t port) {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_in address = loopback(port);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    boost::asio::posix::stream_descriptor stream(io_, fd.release());
    std::string said;
    bool over = false;
    boost::asio::async_read(stream, boost::asio::dynamic_buffer(said),
                            [&](error_code, std::size_t) { over = true; });
    run_until([&] { return over; });
    return said;
  }

  ScratchDir scratch_;
  std::filesystem::path socket_ = scratch_.path() / "docker.sock";
  std::uint16_t port_ = 0;
  std::unique_ptr<FakeEngine> engine_;
  std::unique_ptr<DockerPorts> ports_;
};

TEST_F(DockerPortsTest, APublishedPortIsHereForAsLongAsItIsPublished) {
  start_engine();
  engine_->publish({port_});
  ports_->guest_answered();
  run_until([&] { return is_listened_at(port_); });
  EXPECT_EQ(said_at(port_), kHello);
  engine_->publish({});
  run_until([&] { return !is_listened_at(port_); });
  engine_->publish({port_});
  run_until([&] { return is_listened_at(port_); });
  ports_->guest_reset();
  EXPECT_FALSE(is_listened_at(port_));
}

// As Docker 20.10 does: a container's end is told before the list is without it.
TEST_F(DockerPortsTest, AListThatIsBehindItsEventsIsAskedForAgain) {
  start_engine();
  engine_->publish({port_});
  ports_->guest_answered();
  run_until([&] { return is_listened_at(port_); });
  run_until([&] { return engine_->listeners() == 1; });
  const std::size_t asked = engine_->asked();
  engine_->tell();
  run_until([&] { return engine_->asked() > asked; });
  engine_->list({});
  run_until([&] { return !is_listened_at(port_); });
}

TEST_F(DockerPortsTest, APortIsHereOnceItsFormerOwnerIsGone) {
  std::uint16_t taken = 0;
  UniqueFd owner = listen_at_loopback(taken);
  start_engine();
  engine_->publish({taken});
  ports_->guest_answered();
  run_until([&] { return engine_->listeners() == 1 && engine_->asked() > 0; });
  owner.reset();
  engine_->tell();
  run_until([&] { return is_listened_at(taken); });
}

TEST_F(DockerPortsTest, AnEngineThatIsNotThereYetIsWaitedFor) {
  ports_->guest_answered();
  bool late = false;
  boost::asio::steady_timer later(io_, std::chrono::milliseconds(100));
  later.async_wait([&](error_code) { late = true; });
  run_until([&] { return late; });
  start_engine();
  engine_->publish({port_});
  run_until([&] { return is_listened_at(port_); });
  // And so is one that is started anew.
  engine_->publish({});
  engine_->drop_listeners();
  run_until([&] { return engine_->listeners() == 1; });
  run_until([&] { return !is_listened_at(port_); });
}

TEST_F(DockerPortsTest, AnEngineThatGoesForGoodTakesItsPortsAlong) {
  start_engine();
  engine_->publish({port_});
  ports_->guest_answered();
  run_until([&] { return is_listened_at(port_); });
  engine_.reset();
  std::filesystem::remove(socket_);
  run_until([&] { return !is_listened_at(port_); });
  start_engine();
  engine_->publish({port_});
  run_until([&] { return is_listened_at(port_); });
}

TEST_F(DockerPortsTest, APortThatSomebodyHasIsLeftToThem) {
  std::uint16_t taken = 0;
  const UniqueFd owner = listen_at_loopback(taken);
  start_engine();
  testing::internal::CaptureStderr();
  engine_->publish({taken, port_});
  ports_->guest_answered();
  run_until([&] { return is_listened_at(port_); });
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find(str_cat("cannot listen at 127.0.0.1:", taken)), std::string::npos) << said;
  EXPECT_EQ(said_at(port_), kHello);
}

TEST_F(DockerPortsTest, MorePortsThanThereMayBeAreLeftOut) {
  std::set<std::uint16_t> many;
  for (std::uint16_t port = 21'000; many.size() < 2 * DockerPorts::kMaxPorts; ++port) many.insert(port);
  start_engine();
  engine_->publish(many);
  ports_->guest_answered();
  run_until([&] { return std::ranges::any_of(many, is_listened_at); });
  EXPECT_LE(std::ranges::count_if(many, is_listened_at), static_cast<std::ptrdiff_t>(DockerPorts::kMaxPorts));
}

}  // namespace
}  // namespace layerboot::launcher
