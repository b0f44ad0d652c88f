#include "guest-init/agent_protocol.h"

#include <cstring>

namespace guest_init {

namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "headers are written as they lie in memory");

struct Header {
  std::uint32_t session;
  std::uint8_t type;
  std::uint8_t zero;
  std::uint16_t size_bytes;
};
static_assert(sizeof(Header) == kHeaderBytes);

constexpr std::string_view kMagic = "layerboot-agent\n";

struct HelloPayload {
  char magic[16];
  std::uint8_t version;
  std::uint8_t kind;
  std::uint8_t zero[2];
  Nonce nonce;
};
static_assert(sizeof(HelloPayload) == 36 && kMagic.size() == 16);

constexpr Header kHelloHeader = {.session = 0,
                                 .type = static_cast<std::uint8_t>(FrameType::kHello),
                                 .zero = 0,
                                 .size_bytes = sizeof(HelloPayload)};

/// How every hello begins.
std::string_view hello_mark() {
  static const std::string mark = [] {
    std::string bytes(reinterpret_cast<const char*>(&kHelloHeader), sizeof(kHelloHeader));
    return bytes += kMagic;
  }();
  return mark;
}

}  // namespace

void append_frame(std::string& bytes, std::uint32_t session, FrameType type, std::string_view payload) {
  do {
    const std::string_view piece = payload.substr(0, kMaxPayloadBytes);
    const Header header = {.session = session,
                           .type = static_cast<std::uint8_t>(type),
                           .zero = 0,
                           .size_bytes = static_cast<std::uint16_t>(piece.size())};
    bytes.append(reinterpret_cast<const char*>(&header), sizeof(header));
    bytes += piece;
    payload.remove_prefix(piece.size());
  } while (!payload.empty());
}

void append_number(std::string& bytes, std::uint32_t session, FrameType type, std::uint32_t number) {
  append_frame(bytes, session, type, {reinterpret_cast<const char*>(&number), sizeof(number)});
}

void append_hello(std::string& bytes, const Hello& hello) {
  HelloPayload payload{};
  std::memcpy(payload.magic, kMagic.data(), kMagic.size());
  payload.version = hello.version;
  payload.kind = static_cast<std::uint8_t>(hello.kind);
  payload.nonce = hello.nonce;
  append_frame(bytes, 0, FrameType::kHello, {reinterpret_cast<const char*>(&payload), sizeof(payload)});
}

std::optional<std::uint32_t> decode_number(std::string_view payload) {
  std::uint32_t number = 0;
  if (payload.size() < sizeof(number)) return std::nullopt;
  std::memcpy(&number, payload.data(), sizeof(number));
  return number;
}

std::optional<Hello> decode_hello(std::string_view payload) {
  HelloPayload raw;
  if (payload.size() != sizeof(raw)) return std::nullopt;
  std::memcpy(&raw, payload.data(), sizeof(raw));
  if (std::string_view(raw.magic, sizeof(raw.magic)) != kMagic) return std::nullopt;
  if (raw.kind != static_cast<std::uint8_t>(GuestKind::kInit) &&
      raw.kind != static_cast<std::uint8_t>(GuestKind::kCommand)) {
    return std::nullopt;
  }
  return Hello{.version = raw.version, .kind = static_cast<GuestKind>(raw.kind), .nonce = raw.nonce};
}

void FrameDecoder::feed(std::string_view bytes) {
  buffer_.erase(0, taken_);
  taken_ = 0;
  buffer_ += bytes;
}

bool FrameDecoder::take_broken() {
  const bool broken = broken_;
  broken_ = false;
  return broken;
}

std::optional<Frame> FrameDecoder::next() {
  if (!in_step_) return next_hello();
  const std::string_view rest = std::string_view(buffer_).substr(taken_);
  Header header;
  if (rest.size() < sizeof(header)) return std::nullopt;
  std::memcpy(&header, rest.data(), sizeof(header));
  if (header.type < static_cast<std::uint8_t>(FrameType::kHello) ||
      header.type > static_cast<std::uint8_t>(FrameType::kFailed) || header.zero != 0 ||
      header.size_bytes > kMaxPayloadBytes) {
    broken_ = true;
    in_step_ = false;
    return next_hello();
  }
  if (rest.size() - sizeof(header) < header.size_bytes) return std::nullopt;
  taken_ += sizeof(header) + header.size_bytes;
  return Frame{.session = header.session,
               .type = static_cast<FrameType>(header.type),
               .payload = rest.substr(sizeof(header), header.size_bytes)};
}

std::optional<Frame> FrameDecoder::next_hello() {
  const std::string_view rest = std::string_view(buffer_).substr(taken_);
  const std::string_view mark = hello_mark();
  const std::size_t at = rest.find(mark);
  if (at == std::string_view::npos) {
    // The mark may have begun at the end of what is here.
    if (rest.size() >= mark.size()) taken_ += rest.size() - (mark.size() - 1);
    return std::nullopt;
  }
  taken_ += at;
  const std::string_view frame = rest.substr(at);
  if (frame.size() < kHeaderBytes + sizeof(HelloPayload)) return std::nullopt;
  taken_ += kHeaderBytes + sizeof(HelloPayload);
  return Frame{
      .session = 0, .type = FrameType::kHello, .payload = frame.substr(kHeaderBytes, sizeof(HelloPayload))};
}

}  // namespace guest_init
