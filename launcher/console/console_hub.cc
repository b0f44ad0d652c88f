#include "launcher/console/console_hub.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>

#include "launcher/host/time_text.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

namespace {

using boost::system::error_code;

void give(boost::asio::posix::stream_descriptor& stream, UniqueFd fd) {
  error_code error;
  stream.assign(fd.get(), error);
  if (!error) [[maybe_unused]]
    const int given = fd.release();
}

}  // namespace

/// One who sees, and may type. Lives in the hub's list; its handlers hold it weakly.
class ConsoleHub::Client : public std::enable_shared_from_this<Client> {
 public:
  Client(ConsoleHub& hub, UniqueFd socket, Role role) : hub_(hub), stream_(hub.io_), role_(role) {
    give(stream_, std::move(socket));
  }

  [[nodiscard]] bool usable() const { return stream_.is_open(); }
  [[nodiscard]] Role role() const { return role_; }
  [[nodiscard]] bool behind() const { return !pending_.empty(); }
  [[nodiscard]] bool writing() const { return writing_; }
  [[nodiscard]] bool too_far_behind() const {
    return role_ != Role::kPrimary && pending_.size() > kMaxBehindBytes;
  }

  void read() {
    stream_.async_read_some(boost::asio::buffer(typed_),
                            [weak = weak_from_this()](error_code error, std::size_t size_bytes) {
                              const auto self = weak.lock();
                              if (!self) return;
                              if (error) return self->left();
                              std::string text(self->typed_.data(), size_bytes);
                              // Also of one who only reads: its end is seen by reading.
                              if (self->role_ == Role::kReading) return self->read();
                              self->hub_.typed(self, std::move(text));
                            });
  }
  void send(std::string_view text) {
    pending_ += text;
    if (!writing_) write();
  }

 private:
  void write() {
    writing_ = true;
    out_ = std::exchange(pending_, {});
    boost::asio::async_write(stream_, boost::asio::buffer(out_),
                             [weak = weak_from_this()](error_code error, std::size_t) {
                               const auto self = weak.lock();
                               if (!self) return;
                               self->writing_ = false;
                               if (error) return self->hub_.forget(self.get());
                               if (self->behind()) return self->write();
                               self->hub_.go_on();
                             });
  }
  void left() {
    // It may have closed its end for typing alone; what it still wants to see goes on failing or not.
    if (!writing_) hub_.forget(this);
  }

  ConsoleHub& hub_;
  boost::asio::posix::stream_descriptor stream_;
  Role role_;
  std::array<char, kChunkBytes> typed_{};
  std::string pending_;
  std::string out_;
  bool writing_ = false;
};

ConsoleHub::ConsoleHub(boost::asio::io_context& io, UniqueFd guest, ConsoleLog* log)
    : io_(io), guest_(io), log_(log), self_(std::make_shared<ConsoleHub*>(this)) {
  give(guest_, std::move(guest));
}

ConsoleHub::~ConsoleHub() = default;

void ConsoleHub::start() { go_on(); }

Result<void> ConsoleHub::attach(UniqueFd socket, Role role) {
  if (clients_.size() >= kMaxClients) return fail(EBUSY, "too many are at the console already");
  auto client = std::make_shared<Client>(*this, std::move(socket), role);
  if (!client->usable()) return fail(EBADF, "cannot watch a console's socket");
  clients_.push_back(client);
  client->read();
  return {};
}

bool ConsoleHub::must_wait() const {
  return std::ranges::any_of(
      clients_, [](const auto& client) { return client->role() == Role::kPrimary && client->writing(); });
}

void ConsoleHub::go_on() {
  if (ended_) {
    if (std::ranges::any_of(clients_, [](const auto& client) { return client->writing(); })) return;
    clients_.clear();  // closes their sockets
    if (const auto closed = std::exchange(on_closed_, {})) closed();
    return;
  }
  if (!reading_ && !must_wait()) read_guest();
}

void ConsoleHub::read_guest() {
  reading_ = true;
  guest_.async_read_some(boost::asio::buffer(from_guest_),
                         [weak = std::weak_ptr(self_)](error_code error, std::size_t size_bytes) {
                           const auto self = weak.lock();
                           if (!self || error == boost::asio::error::operation_aborted) return;
                           ConsoleHub& hub = **self;
                           hub.reading_ = false;
                           hub.ended_ = static_cast<bool>(error);
                           if (!error) hub.heard({hub.from_guest_.data(), size_bytes});
                           hub.go_on();
                         });
}

void ConsoleHub::heard(std::string_view text) {
  if (log_ != nullptr) log_->append(text, seconds_now());
  if (on_text_) on_text_(text);
  for (const auto& client : clients_) client->send(text);
  std::erase_if(clients_, [](const auto& client) {
    if (client->too_far_behind()) log_debug("a console that does not keep up was let go");
    return client->too_far_behind();
  });
}

void ConsoleHub::typed(const std::shared_ptr<Client>& client, std::string text) {
  // Of those who left while the guest does not listen.
  if (to_guest_.size() >= 2 * kMaxClients) return;
  to_guest_.emplace_back(client, std::move(text));
  if (to_guest_.size() == 1) write_guest();
}

void ConsoleHub::write_guest() {
  boost::asio::async_write(guest_, boost::asio::buffer(to_guest_.front().second),
                           [weak = std::weak_ptr(self_)](error_code error, std::size_t) {
                             const auto self = weak.lock();
                             if (!self || error) return;
                             ConsoleHub& hub = **self;
                             const auto client = hub.to_guest_.front().first.lock();
                             hub.to_guest_.pop_front();
                             if (!hub.to_guest_.empty()) hub.write_guest();
                             if (client) client->read();
                           });
}

void ConsoleHub::forget(const Client* client) {
  std::erase_if(clients_, [client](const auto& one) { return one.get() == client; });
  go_on();
}

}  // namespace layerboot::launcher
