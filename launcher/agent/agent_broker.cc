#include "launcher/agent/agent_broker.h"

#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <vector>

#include "launcher/agent/agent_client.h"
#include "launcher/host/unix_socket.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

using boost::system::error_code;
using guest_init::Frame;
using guest_init::FrameType;

AgentBroker::AgentBroker(boost::asio::io_context& io, UniqueFd port, Handlers handlers)
    : io_(io),
      port_(io),
      listener_(io),
      handlers_(std::move(handlers)),
      self_(std::make_shared<AgentBroker*>(this)) {
  error_code error;
  port_.assign(port.get(), error);
  if (!error) [[maybe_unused]]
    const int given = port.release();
}

AgentBroker::~AgentBroker() {
  for (const auto& [id, client] : clients_) client->disown();
  if (!path_.empty()) ::unlink(path_.c_str());
}

Result<void> AgentBroker::listen(const std::filesystem::path& path) {
  LB_ASSIGN(UniqueFd listener, listen_at(path));
  path_ = path;
  error_code error;
  listener_.assign(listener.get(), error);
  if (error) return fail(error.value(), path.string(), ": ", error.message());
  [[maybe_unused]] const int given = listener.release();
  accept();
  return {};
}

Result<void> AgentBroker::start() {
  if (!port_.is_open()) return fail(EBADF, "cannot watch the agent's socket");
  greet();
  read_port();
  return {};
}

Result<void> AgentBroker::adopt(UniqueFd client) {
  if (clients_.size() >= kMaxClients) return fail(EBUSY, "too many sessions in this VM");
  add(std::move(client), std::nullopt);
  return {};
}

Result<void> AgentBroker::adopt_forwarded(UniqueFd client, SessionShares::Id share) {
  if (!has_room(share)) return fail(EBUSY, "too many connections into this VM");
  shares_->take(share);
  add(std::move(client), share);
  return {};
}

void AgentBroker::add(UniqueFd client, std::optional<SessionShares::Id> share) {
  do ++last_id_;
  while (last_id_ == 0 || clients_.contains(last_id_));
  const auto added = std::make_shared<Client>(*this, last_id_, std::move(client), share);
  clients_.emplace(last_id_, added);
  // A guest can call forth sessions, by what it says in one that it never read of.
  if (decoder_.in_step() && !guest_is_behind()) added->read();
}

void AgentBroker::guest_reset() {
  end_all("the VM has restarted");
  decoder_.resync();
  to_guest_.clear();
  greet();
}

bool AgentBroker::power_off() {
  if (!decoder_.in_step()) return false;
  to_guest(0, FrameType::kPowerOff, {});
  return true;
}

void AgentBroker::set_console_window(WindowSize size) {
  if (!decoder_.in_step()) return;
  const std::uint32_t number = std::uint32_t{size.rows} | std::uint32_t{size.columns} << 16U;
  to_guest(0, FrameType::kWindow, {reinterpret_cast<const char*>(&number), sizeof(number)});
}

bool AgentBroker::ask_who_hears() {
  if (!decoder_.in_step()) return false;
  asks_who_hears_ = true;
  const std::uint32_t number = SIGINT;
  to_guest(0, FrameType::kSignal, {reinterpret_cast<const char*>(&number), sizeof(number)});
  return true;
}

void AgentBroker::handle_hearing(const Frame& frame) {
  const auto number = guest_init::decode_number(frame.payload);
  // What nobody has asked is not heard: it would end the VM in the person's name.
  if (!number || !std::exchange(asks_who_hears_, false) || !handlers_.hearing) return;
  handlers_.hearing(*number == 0);
}

void AgentBroker::greet() {
  asks_who_hears_ = false;
  // Fresh each time: an answer to an earlier hello, or a look-alike in what a program says, is not the
  // answer.
  if (::getrandom(nonce_.data(), nonce_.size(), 0) != static_cast<ssize_t>(nonce_.size())) return;
  guest_init::append_hello(
      to_guest_,
      {.version = guest_init::kProtocolVersion, .kind = guest_init::GuestKind::kInit, .nonce = nonce_});
  write_port();
}

void AgentBroker::read_port() {
  port_.async_read_some(boost::asio::buffer(from_port_), [weak = std::weak_ptr(self_)](
                                                             error_code error, std::size_t size_bytes) {
    const auto alive = weak.lock();
    if (!alive || error == boost::asio::error::operation_aborted) return;
    AgentBroker& self = **alive;
    if (error) {
      self.end_all("the VM has ended");
      self.handlers_.closed();  // may destroy this object
      return;
    }
    self.decoder_.feed({self.from_port_.data(), size_bytes});
    while (const auto frame = self.decoder_.next()) self.handle(*frame);
    if (self.decoder_.take_broken()) {
      self.broken_.warn("the VM's agent does not keep to its protocol: starting over with it");
      self.guest_reset();
    }
    self.read_port();
  });
}

void AgentBroker::handle(const Frame& frame) {
  if (frame.type == FrameType::kHello) return handle_hello(frame);
  if (frame.type == FrameType::kSignal && frame.session == 0) return handle_hearing(frame);
  switch (frame.type) {
    case FrameType::kOutput:
    case FrameType::kError:
    case FrameType::kCredit:
    case FrameType::kExit:
    case FrameType::kFailed:
      break;
    default:
      return;
  }
  const auto at = clients_.find(frame.session);
  if (at == clients_.end()) return;
  const auto client = at->second;
  if (client->deliver(frame)) return;
  to_guest(frame.session, FrameType::kHangUp, {});
  client->fail("the VM sends more than it was granted");
}

void AgentBroker::handle_hello(const Frame& frame) {
  const auto hello = guest_init::decode_hello(frame.payload);
  if (decoder_.in_step() || !hello || hello->nonce != nonce_) return;
  if (hello->version != guest_init::kProtocolVersion) {
    other_version_.warn("the VM's agent speaks version ", hello->version, " of its protocol, not ",
                        guest_init::kProtocolVersion, ": exec does not work in this VM");
    return;
  }
  decoder_.accept();
  log_debug("the guest's agent is up");
  for (const auto& [id, client] : clients_) client->read();
  if (handlers_.greeted) handlers_.greeted(hello->kind);
}

void AgentBroker::to_guest(std::uint32_t session, FrameType type, std::string_view payload) {
  guest_init::append_frame(to_guest_, session, type, payload);
  write_port();
}

void AgentBroker::write_port() {
  if (!writing_.empty() || to_guest_.empty()) return;
  writing_.swap(to_guest_);
  boost::asio::async_write(port_, boost::asio::buffer(writing_),
                           [weak = std::weak_ptr(self_)](error_code error, std::size_t) {
                             const auto alive = weak.lock();
                             if (!alive) return;
                             AgentBroker& self = **alive;
                             self.writing_.clear();
                             if (error) return;  // the reader sees the end too
                             self.write_port();
                             if (self.guest_is_behind() || !self.decoder_.in_step()) return;
                             for (const auto& [id, client] : self.clients_) client->read();
                           });
}

void AgentBroker::accept() {
  listener_.async_wait(
      boost::asio::posix::stream_descriptor::wait_read, [weak = std::weak_ptr(self_)](error_code error) {
        const auto alive = weak.lock();
        if (!alive || error) return;
        AgentBroker& self = **alive;
        UniqueFd client(
            ::accept4(self.listener_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        // A client too many sees its connection closed.
        if (client) [[maybe_unused]]
          const auto adopted = self.adopt(std::move(client));
        self.accept();
      });
}

void AgentBroker::end_all(std::string_view why) {
  std::vector<std::shared_ptr<Client>> known;
  for (const auto& [id, client] : clients_) {
    // Who has not asked for anything yet may do so of the next boot.
    if (client->in_guest()) known.push_back(client);
  }
  for (const auto& client : known) client->fail(why);
}

void AgentBroker::forget(std::uint32_t id) {
  const auto at = clients_.find(id);
  if (at == clients_.end()) return;
  const auto client = at->second;
  if (client->in_guest()) to_guest(id, FrameType::kHangUp, {});
  client->disown();
  clients_.erase(at);
  if (client->share()) shares_->give_back(*client->share());
  shares_->call_waiting();
}

}  // namespace layerboot::launcher
