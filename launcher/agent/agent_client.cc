#include "launcher/agent/agent_client.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>

#include "guest-init/exit_codes.h"
#include "launcher/agent/guest_words.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

using boost::system::error_code;
using guest_init::FrameType;

namespace {

/// A reason, behind the exit code, as clients may show it.
std::string marked_reason(std::string_view payload) {
  const std::size_t number_bytes = std::min(sizeof(std::uint32_t), payload.size());
  std::string marked(payload.substr(0, number_bytes));
  if (payload.size() > number_bytes) marked += guest_words(payload.substr(number_bytes));
  return marked;
}

bool may_come_from_client(FrameType type) {
  switch (type) {
    case FrameType::kRequest:
    case FrameType::kStart:
    case FrameType::kInput:
    case FrameType::kInputEnd:
    case FrameType::kWindow:
    case FrameType::kSignal:
    case FrameType::kCredit:
      return true;
    default:
      return false;
  }
}

}  // namespace

AgentBroker::Client::Client(AgentBroker& broker, std::uint32_t id, UniqueFd socket,
                            std::optional<SessionShares::Id> share)
    : broker_(&broker), id_(id), share_(share), socket_(broker.io_) {
  error_code error;
  socket_.assign(socket.get(), error);
  if (!error) [[maybe_unused]]
    const int given = socket.release();
  decoder_.accept();
}

void AgentBroker::Client::read() {
  if (reading_ || over_ || broker_ == nullptr) return;
  reading_ = true;
  socket_.async_read_some(boost::asio::buffer(buffer_),
                          [self = shared_from_this()](error_code error, std::size_t size_bytes) {
                            self->reading_ = false;
                            if (self->broker_ == nullptr || self->over_) return;
                            if (error) return self->leave();
                            self->decoder_.feed({self->buffer_.data(), size_bytes});
                            while (const auto frame = self->decoder_.next()) self->handle(*frame);
                            if (self->decoder_.take_broken()) return self->leave();
                            if (!self->broker_->guest_is_behind()) self->read();
                          });
}

void AgentBroker::Client::handle(const guest_init::Frame& frame) {
  if (!may_come_from_client(frame.type)) return;
  in_guest_ = true;
  broker_->to_guest(id_, frame.type, frame.payload);
}

bool AgentBroker::Client::deliver(const guest_init::Frame& frame) {
  if (over_) return true;
  if (out_.size() + writing_.size() + frame.payload.size() > kMaxToClientBytes) return false;
  guest_init::append_frame(out_, 0, frame.type,
                           frame.type == FrameType::kFailed ? marked_reason(frame.payload) : frame.payload);
  if (frame.type == FrameType::kExit || frame.type == FrameType::kFailed) {
    over_ = true;
    in_guest_ = false;
  }
  write();
  return true;
}

void AgentBroker::Client::fail(std::string_view why) {
  if (over_) return;
  constexpr std::uint32_t kCode = guest_init::kNotStarted;
  std::string payload(reinterpret_cast<const char*>(&kCode), sizeof(kCode));
  payload += why;
  guest_init::append_frame(out_, 0, FrameType::kFailed, payload);
  over_ = true;
  in_guest_ = false;
  write();
}

void AgentBroker::Client::write() {
  if (!writing_.empty()) return;
  if (out_.empty()) {
    if (over_) leave();
    return;
  }
  writing_.swap(out_);
  boost::asio::async_write(socket_, boost::asio::buffer(writing_),
                           [self = shared_from_this()](error_code error, std::size_t) {
                             self->writing_.clear();
                             if (error) return self->leave();
                             self->write();
                           });
}

void AgentBroker::Client::leave() {
  over_ = true;
  error_code ignored;
  socket_.close(ignored);
  if (broker_ != nullptr) broker_->forget(id_);
}

}  // namespace layerboot::launcher
