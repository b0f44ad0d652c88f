// The protocol between the launcher and the agent in the guest: many sessions over one byte stream, a
// virtio-serial port. FORMAT.md beside this file has it byte by byte. Both sides take the other for hostile:
// decoding is pure, and every size has a bound.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace guest_init {

/// The virtio-serial port's name.
inline constexpr const char* kAgentPort = "org.layerboot.agent";
inline constexpr std::uint8_t kProtocolVersion = 1;

inline constexpr std::size_t kHeaderBytes = 8;
inline constexpr std::size_t kMaxPayloadBytes = 16384;
/// What a side may send on one session's stream before it is granted more: standard input one way, standard
/// output and error together the other.
inline constexpr std::uint32_t kWindowBytes = 65536;
/// Sessions at a time; opening more fails.
inline constexpr std::size_t kMaxSessions = 64;

enum class FrameType : std::uint8_t {
  kHello = 1,    // both ways, session 0: begins a conversation; ends all sessions of an earlier one
  kRequest = 2,  // to the guest: a piece of the records that say what to run (workload.h)
  kStart = 3,    // to the guest: the request is whole, run it
  kInput = 4,    // to the guest: standard input
  kInputEnd = 5,
  kWindow = 6,  // to the guest: the terminal's rows and columns, 16 bits each; session 0: the console's
  kSignal =
      7,  // to the guest: a signal for the session's foreground process group, 32 bits; session 0: Ctrl-C
          // was typed at the console. To the host, session 0: SIGINT where nobody there hears it, else 0
  kHangUp = 8,    // to the guest: nobody listens any more
  kPowerOff = 9,  // to the guest, session 0: shut down in order
  kCredit = 10,   // both ways: so many more bytes may come, 32 bits
  kOutput = 11,   // to the host: standard output
  kError = 12,    // to the host: standard error
  kExit = 13,     // to the host: the exit code, 32 bits; the session is over
  kFailed = 14,   // to the host: the exit code, 32 bits, and why it could not run; the session is over
};

struct Frame {
  std::uint32_t session = 0;
  FrameType type = FrameType::kHello;
  std::string_view payload;
};

/// What kind of system the guest runs.
enum class GuestKind : std::uint8_t {
  kInit = 1,     // the image's own init
  kCommand = 2,  // guest-init as PID 1, which waits to be told to run the image's command
};

using Nonce = std::array<std::uint8_t, 16>;

struct Hello {
  std::uint8_t version = kProtocolVersion;
  GuestKind kind = GuestKind::kInit;  // of the guest's; the host's is not looked at
  Nonce nonce{};                      // the host's, given back by the guest
};

/// Appends one frame. A payload longer than kMaxPayloadBytes is cut into several.
void append_frame(std::string& bytes, std::uint32_t session, FrameType type, std::string_view payload);
void append_number(std::string& bytes, std::uint32_t session, FrameType type, std::uint32_t number);
void append_hello(std::string& bytes, const Hello& hello);

/// The payload of kCredit, kSignal, kExit, or the first four bytes of kFailed. Nothing when it is too short.
[[nodiscard]] std::optional<std::uint32_t> decode_number(std::string_view payload);
[[nodiscard]] std::optional<Hello> decode_hello(std::string_view payload);

/// Cuts a byte stream into frames. It begins out of step: everything up to a hello is dropped, since the
/// stream may go on in the middle of what was said before the guest's restart. Whoever takes the hello for
/// right calls accept().
class FrameDecoder {
 public:
  /// Adds what was read. Take all frames with next() before adding more: so the buffer stays below one frame
  /// and one read.
  void feed(std::string_view bytes);

  /// The next whole frame; its payload is good until the next feed(). Out of step: the next hello.
  std::optional<Frame> next();

  void accept() { in_step_ = true; }
  /// Out of step again: a new conversation is awaited.
  void resync() { in_step_ = false; }
  [[nodiscard]] bool in_step() const { return in_step_; }
  /// The peer sent what is no frame. The decoder is out of step since. Asking resets it.
  bool take_broken();
  [[nodiscard]] std::size_t buffered_bytes() const { return buffer_.size() - taken_; }

 private:
  std::optional<Frame> next_hello();

  std::string buffer_;
  std::size_t taken_ = 0;  // of buffer_, given out already
  bool in_step_ = false;
  bool broken_ = false;
};

}  // namespace guest_init
