#include "launcher/qemu/qmp.h"

#include <unistd.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

namespace layerboot::launcher {

namespace {

using boost::system::error_code;
using nlohmann::json;

constexpr std::size_t kReadBytes = 4096;

bool is_end_of_stream(const error_code& error) {
  return error == boost::asio::error::eof || error == boost::asio::error::connection_reset ||
         error == boost::asio::error::broken_pipe;
}

Result<void> outcome_of(const json& reply) {
  const auto error = reply.find("error");
  if (error == reply.end()) return {};
  const auto text = error->is_object() ? error->find("desc") : error->end();
  if (!error->is_object() || text == error->end() || !text->is_string()) return fail(EPROTO, "QEMU refused");
  return fail(EPROTO, "QEMU: ", text->get<std::string>());
}

/// The inside of a command's object, but for its number.
std::string order_text(std::string_view command, std::string_view arguments) {
  return str_cat(R"("execute":")", command, '"', arguments.empty() ? "" : R"(,"arguments":)", arguments);
}

}  // namespace

Result<QmpMessage> parse_qmp_line(std::string_view line) {
  const json message = json::parse(line, nullptr, false);
  if (!message.is_object()) return fail(EPROTO, "QMP: not a JSON object");
  if (message.contains("QMP")) return QmpMessage(QmpGreeting{});
  if (const auto event = message.find("event"); event != message.end()) {
    if (!event->is_string()) return fail(EPROTO, "QMP: an event without a name");
    QmpEvent parsed{.name = event->get<std::string>()};
    if (const auto data = message.find("data"); data != message.end() && data->is_object()) {
      const auto guest = data->find("guest");
      parsed.guest = guest != data->end() && guest->is_boolean() && guest->get<bool>();
    }
    return QmpMessage(std::move(parsed));
  }
  if (!message.contains("return") && !message.contains("error")) return fail(EPROTO, "QMP: unknown message");
  QmpReply reply{.id = 0, .outcome = outcome_of(message)};
  if (const auto id = message.find("id"); id != message.end() && id->is_number_unsigned()) {
    reply.id = id->get<std::uint64_t>();
  }
  return QmpMessage(std::move(reply));
}

QmpClient::QmpClient(boost::asio::io_context& io, UniqueFd socket)
    : socket_(io), self_(std::make_shared<QmpClient*>(this)) {
  error_code error;
  const int fd = socket.release();
  socket_.assign(fd, error);
  if (error) {
    ::close(fd);
    closed_ = true;
  }
}

QmpClient::~QmpClient() = default;

void QmpClient::start() {
  if (!closed_) return read_more();
  boost::asio::post(socket_.get_executor(), [weak = std::weak_ptr(self_)] {
    if (const auto self = weak.lock(); self && (*self)->on_closed_) {
      (*self)->on_closed_(Error{EBADF, "QMP: cannot watch the socket"});
    }
  });
}

void QmpClient::read_more() {
  const auto chunk = std::make_shared<std::array<char, kReadBytes>>();
  socket_.async_read_some(boost::asio::buffer(*chunk),
                          [weak = std::weak_ptr(self_), chunk](error_code error, std::size_t size_bytes) {
                            const auto self = weak.lock();
                            if (!self || (*self)->closed_) return;
                            if (is_end_of_stream(error)) return (*self)->close(Error{EPIPE, {}});
                            if (error) return (*self)->close(Error{EIO, str_cat("QMP: ", error.message())});
                            (*self)->input_.append(chunk->data(), size_bytes);
                            (*self)->handle_lines();
                          });
}

void QmpClient::handle_lines() {
  for (auto end = input_.find('\n'); end != std::string::npos; end = input_.find('\n')) {
    const std::string line = input_.substr(0, end);
    input_.erase(0, end + 1);
    if (line.find_first_not_of(" \r\t") == std::string::npos) continue;
    auto message = parse_qmp_line(line);
    if (!message) return close(message.error());
    handle(*std::move(message));
    if (closed_) return;
  }
  if (input_.size() > kMaxLineBytes) return close(Error{EPROTO, "QMP: a line without end"});
  read_more();
}

void QmpClient::handle(QmpMessage message) {
  if (const auto* event = std::get_if<QmpEvent>(&message)) {
    if (on_event_) on_event_(*event);
    return;
  }
  if (auto* reply = std::get_if<QmpReply>(&message)) {
    auto waiting = pending_.extract(reply->id);
    if (!waiting.empty() && waiting.mapped()) waiting.mapped()(std::move(reply->outcome));
    return;
  }
  if (std::exchange(greeted_, true)) return close(Error{EPROTO, "QMP: greeted twice"});
  send(order_text("qmp_capabilities", {}), [this](Result<void> outcome) {
    if (!outcome) return close(outcome.error());
    negotiated_ = true;
    if (on_greeted_) on_greeted_();
    for (auto& [command, done] : std::exchange(before_greeting_, {})) send(command, std::move(done));
  });
}

void QmpClient::execute(std::string_view command, std::string_view arguments, Done done) {
  const bool full = pending_.size() + before_greeting_.size() >= kMaxPending;
  if (closed_ || full) {
    Error why{closed_ ? EPIPE : EBUSY,
              str_cat("QMP: ", closed_ ? "the connection is closed" : "too many commands")};
    boost::asio::post(socket_.get_executor(), [done = std::move(done), why = std::move(why)] {
      if (done) done(std::unexpected(why));
    });
    return;
  }
  std::string order = order_text(command, arguments);
  if (negotiated_) return send(order, std::move(done));
  before_greeting_.emplace_back(std::move(order), std::move(done));
}

void QmpClient::send(std::string_view order, Done done) {
  const std::uint64_t id = next_id_++;
  pending_.emplace(id, std::move(done));
  output_.push_back(str_cat("{", order, R"(,"id":)", id, "}\n"));
  if (output_.size() == 1) write_next();
}

void QmpClient::write_next() {
  boost::asio::async_write(socket_, boost::asio::buffer(output_.front()),
                           [weak = std::weak_ptr(self_)](error_code error, std::size_t) {
                             const auto self = weak.lock();
                             if (!self || (*self)->closed_) return;
                             if (error) return;  // the reader sees the same end and closes
                             (*self)->output_.pop_front();
                             if (!(*self)->output_.empty()) (*self)->write_next();
                           });
}

void QmpClient::close(const Error& reason) {
  if (std::exchange(closed_, true)) return;
  error_code ignored;
  socket_.close(ignored);
  const auto pending = std::exchange(pending_, {});
  const auto unsent = std::exchange(before_greeting_, {});
  const auto closed = on_closed_;
  const Error gone{EPIPE, "QMP: the connection ended before the answer"};
  for (const auto& [id, done] : pending) {
    if (done) done(std::unexpected(gone));
  }
  for (const auto& [command, done] : unsent) {
    if (done) done(std::unexpected(gone));
  }
  if (closed) closed(reason);
}

}  // namespace layerboot::launcher
