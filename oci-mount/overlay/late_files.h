// LateFiles: files in memory for which the host may still allocate more than is booked, and by how much.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>

#include "oci-mount/overlay/node.h"

namespace layerboot::overlay {

/// A file is listed when its data has changed, and counts until the host is known to have allocated all of
/// it: then it is no more than booked. Who is to see to that takes the oldest (settling.h), and lists again
/// what came to nothing. Under the Overlay's lock, but for what says that it is lock-free.
class LateFiles {
 public:
  /// Beyond most of so many, who is going to write to one more waits.
  static constexpr std::size_t kMostFiles = 2048;
  /// A listed file stays in memory while it has a name, so that it can be looked at; not beyond so many. More
  /// than the above and all requests that are let through at once before it is reached.
  static constexpr std::size_t kMostKept = 2 * kMostFiles;
  /// What may be allocated without being booked: a 32nd of the budget, and no less than this.
  static constexpr std::uint64_t kLeastBytes = 1U << 20;
  [[nodiscard]] static std::uint64_t most_bytes(std::uint64_t budget_bytes);

  LateFiles() = default;
  LateFiles(const LateFiles&) = delete;
  LateFiles& operator=(const LateFiles&) = delete;

  /// It has been written to, and may take so many bytes more.
  void add(Node& file, std::uint64_t late_bytes);
  /// It does not count any more: all is booked, or it is no more, or leaves memory.
  void drop(Node& file);
  /// Takes the oldest off the list, where it counts on; null where none is listed.
  NodePtr take_first();
  /// One that was taken, and counts still, is the last of the list.
  void list_again(Node& file);
  /// Whether so many may stay in memory.
  [[nodiscard]] bool has_room() const { return count_.load(std::memory_order_relaxed) <= kMostKept; }

  /// Lock-free. `forgotten_bytes`: what files that have left memory may take as well.
  enum class Fill { kLittle, kMuch, kTooMuch };
  [[nodiscard]] Fill fill(std::uint64_t budget_bytes, std::uint64_t forgotten_bytes) const;

 private:
  void list(Node& file);
  void unlist(Node& file);

  std::list<NodePtr> files_;
  std::atomic<std::size_t> count_ = 0;
  std::atomic<std::uint64_t> bytes_ = 0;
};

}  // namespace layerboot::overlay
