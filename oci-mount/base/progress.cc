#include "oci-mount/base/progress.h"

#include <unistd.h>

#include <array>
#include <cstdio>

#include "oci-mount/base/log.h"
#include "oci-mount/base/printable.h"

namespace layerboot {

namespace {

using std::chrono::steady_clock;

constexpr auto kQuietFor = std::chrono::seconds(1);
constexpr auto kTerminalInterval = std::chrono::milliseconds(100);
constexpr auto kPlainInterval = std::chrono::seconds(5);

}  // namespace

std::string human_size(std::uint64_t size_bytes) {
  static constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(size_bytes);
  std::size_t unit = 0;
  while (value >= 1024.0 && unit + 1 < kUnits.size()) {
    value /= 1024.0;
    ++unit;
  }
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits.at(unit));
  return text.data();
}

Progress::Progress(std::string label, std::uint64_t total_bytes)
    : label_(printable_lines(label)),
      total_bytes_(total_bytes),
      started_(steady_clock::now()),
      next_draw_(started_ + kQuietFor),
      terminal_(::isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() {
  if (!drawn_) return;
  draw(done_bytes_, steady_clock::now() - started_);
  if (terminal_) std::fputc('\n', stderr);
}

void Progress::update(std::uint64_t done_bytes) {
  done_bytes_ = done_bytes;
  const auto now = steady_clock::now();
  if (now < next_draw_ || !log_enabled(LogLevel::kInfo)) return;
  draw(done_bytes, now - started_);
  drawn_ = true;
  next_draw_ = now + (terminal_ ? steady_clock::duration(kTerminalInterval) : kPlainInterval);
}

void Progress::draw(std::uint64_t done_bytes, steady_clock::duration elapsed) {
  const double seconds = std::chrono::duration<double>(elapsed).count();
  const double rate = seconds > 0 ? static_cast<double>(done_bytes) / seconds : 0;
  std::string line = str_cat(label_, ": ", human_size(done_bytes));
  if (total_bytes_ > 0) line += str_cat(" of ", human_size(total_bytes_));
  line += str_cat(", ", human_size(static_cast<std::uint64_t>(rate)), "/s");
  if (total_bytes_ > done_bytes && rate > 0) {
    const double left = static_cast<double>(total_bytes_ - done_bytes) / rate;
    line += str_cat(", ", static_cast<std::uint64_t>(left) + 1, " s left");
  }
  if (terminal_) {
    std::fprintf(stderr, "\r\033[K%s", line.c_str());
    std::fflush(stderr);
  } else {
    log_line(LogLevel::kInfo, line);
  }
}

}  // namespace layerboot
