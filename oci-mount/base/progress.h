// Progress of something that takes over a second: bytes, rate and time left.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace layerboot {

/// Draws one line that redraws itself on a terminal; elsewhere prints a plain line at the start, then every
/// few seconds, then at the end. Shows nothing for what ends within a second. One thread at a time.
class Progress {
 public:
  /// `total_bytes` 0 means unknown. `label` says what is being done, to what.
  Progress(std::string label, std::uint64_t total_bytes);
  /// Ends the line, so that a message after it starts on its own.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(std::uint64_t done_bytes);

 private:
  void draw(std::uint64_t done_bytes, std::chrono::steady_clock::duration elapsed);

  std::string label_;
  std::uint64_t total_bytes_;
  std::chrono::steady_clock::time_point started_;
  std::chrono::steady_clock::time_point next_draw_;
  bool terminal_;
  bool drawn_ = false;
  std::uint64_t done_bytes_ = 0;
};

/// "12.3 MiB": a size for people.
std::string human_size(std::uint64_t size_bytes);

}  // namespace layerboot
