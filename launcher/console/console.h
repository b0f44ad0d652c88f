// Console: joins the guest's serial line to this process's standard input and output.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "launcher/host/lent_descriptor.h"
#include "launcher/host/raw_terminal.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// What a person asks of the launcher in the middle of what is typed.
enum class Escape {
  kNone,
  kLeave,  // Ctrl-] three times within a second
  kShell,  // Ctrl-] twice and then kShellKey, within a second
};

/// Finds them. Pure.
class EscapeDetector {
 public:
  static constexpr char kKey = 0x1d;
  static constexpr char kInterruptKey = 0x03;
  static constexpr char kShellKey = 's';
  static constexpr std::size_t kPresses = 3;
  static constexpr std::chrono::milliseconds kWithin{1000};

  /// Of what `typed`, at `now`, completes, the last.
  Escape feed(std::string_view typed, std::chrono::steady_clock::time_point now);

 private:
  std::array<std::chrono::steady_clock::time_point, kPresses> presses_{};  // the oldest first
  std::size_t count_ = 0;
};

/// Copies both ways on one io_context's thread. A terminal on standard input is raw meanwhile; other input is
/// passed through, and its end leaves the guest running. When standard output breaks, the guest's output is
/// still read (QEMU keeps it in its log). No callback runs after destruction.
class Console {
 public:
  static constexpr std::size_t kChunkBytes = 4096;

  struct Handlers {
    std::function<void()> escape;  // the person wants out; may come again
    std::function<void()> shell;   // the person wants a shell; may be empty, and then the key is the guest's
    /// Ctrl-C was typed at the terminal. True: that, and all that is typed after it, is kept from the guest
    /// until release_typed(). May be empty.
    std::function<bool()> interrupt = {};
    /// The guest's end is closed and all it said is written; may destroy the console.
    std::function<void()> closed;
    /// Input that is no terminal has ended, or there is none.
    std::function<void()> input_ended = {};
  };

  /// `guest` is our end of the serial line's socket; `input` and `output` are lent. Descriptors are reopened
  /// where they can be, so that no other process sees them turn non-blocking; otherwise their flags are put
  /// back.
  Console(boost::asio::io_context& io, UniqueFd guest, int input, int output, Handlers handlers);
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  Result<void> start();
  /// start(), but input that is no terminal is left alone until read_given_input(): it may be somebody
  /// else's.
  Result<void> start_without_given_input();
  void read_given_input();
  /// To the guest, behind what has come from the input. REQUIRES: that has ended.
  void type(std::string_view text);
  /// What interrupt() has kept goes to the guest.
  void release_typed();
  /// True when a terminal is raw: the person has to know the way out.
  [[nodiscard]] bool on_terminal() const { return terminal_.has_value(); }

  /// Somebody else has the terminal for a while: nothing is read from it nor written to it, and it is as it
  /// was before start(). The guest is not kept waiting: the last kMaxMissedBytes that it says are shown
  /// afterwards.
  void lend_terminal();
  void take_terminal_back();
  static constexpr std::size_t kMaxMissedBytes = std::size_t{64} << 10;

 private:
  Result<void> begin(bool take_given_input);
  void read_input();
  void take_typed(std::size_t size_bytes);
  void write_guest(std::string_view typed);
  void read_guest();
  void write_output(std::size_t size_bytes);
  void write_missed();
  void guest_closed();

  Handlers handlers_;
  int input_fd_;
  std::unique_ptr<LentDescriptor> input_;
  std::unique_ptr<LentDescriptor> output_;
  boost::asio::posix::stream_descriptor guest_;
  std::array<char, kChunkBytes> from_input_{};
  std::array<char, kChunkBytes> from_guest_{};
  EscapeDetector escape_;
  std::optional<RawTerminal> terminal_;
  bool input_busy_ = false;  // from_input_ is being filled, or on its way to the guest
  bool lent_ = false;
  std::optional<std::string> kept_;  // by interrupt()
  std::string typed_;                // by type(), on its way
  std::string missed_;
  std::shared_ptr<Console*> self_;
};

}  // namespace layerboot::launcher
