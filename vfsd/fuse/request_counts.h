// RequestCounts: how many requests of each opcode a queue has taken.
//
// What a boot costs over virtiofs is, in the first place, how many requests the guest's caches could not
// spare.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

namespace layerboot::vfsd::fuse {

/// One thread adds, any may read. Counts survive the client.
class RequestCounts {
 public:
  void add(std::uint32_t opcode) {
    // No read-modify-write: there is one writer, and this is on the way of every request.
    auto& count = counts_[opcode < kOther ? opcode : kOther];
    count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }

  /// Adds what `other` has counted so far. Only by the thread that adds to this one.
  void add_all(const RequestCounts& other);

  [[nodiscard]] std::uint64_t of(std::uint32_t opcode) const {
    return counts_[opcode < kOther ? opcode : kOther].load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t total() const;

  /// The opcodes that came, the most frequent first: "LOOKUP 3120, READ 211". Empty when none came.
  [[nodiscard]] std::string describe() const;

 private:
  /// Opcodes from here on are counted together.
  static constexpr std::uint32_t kOther = 63;

  std::array<std::atomic<std::uint64_t>, kOther + 1> counts_{};
};

/// The name of <linux/fuse.h> without its FUSE_; "opcode N" for one that it does not have.
[[nodiscard]] std::string opcode_name(std::uint32_t opcode);

}  // namespace layerboot::vfsd::fuse
