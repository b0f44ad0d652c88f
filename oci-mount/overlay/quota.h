// Quota: what one VM may take of the host's disk.
#pragma once

#include <cstdint>
#include <mutex>

#include "oci-mount/base/result.h"

namespace layerboot::overlay {

/// Whether the budget must hold, or may be passed by room_in(): only by what makes room, so that rm works
/// when the disk is full.
enum class Budget { kKeep, kMakesRoom };

/// A budget of bytes (as charged, tariff.h) and of inodes, and a floor of free space on the host's file
/// system. Growth is reserved before it happens and settled to what the host allocated. What the host
/// allocates by itself later, at write-back (blocks for a scattered file's tree of extents), is booked then,
/// or is no more than LateFiles::most_bytes(). Thread-safe.
class Quota {
 public:
  struct Limits {
    std::uint64_t bytes = 0;
    std::uint64_t inodes = 0;
    std::uint64_t host_floor_bytes = 0;  // growth is refused while the host has less free
  };
  struct Usage {
    std::uint64_t bytes = 0;
    std::uint64_t inodes = 0;
  };

  /// How much may be reserved between two looks at the host's free space.
  static constexpr std::uint64_t kHostCheckIntervalBytes = 4 << 20;

  /// `host_fd`: any descriptor on the upper's file system; borrowed for the Quota's life.
  Quota(Limits limits, Usage used, int host_fd) : limits_(limits), used_(used), host_fd_(host_fd) {}

  /// Budget set aside; given back when destroyed. Movable.
  class Reservation {
   public:
    Reservation() = default;
    Reservation(Reservation&& other) noexcept;
    Reservation& operator=(Reservation&& other) noexcept;
    ~Reservation();

   private:
    friend class Quota;
    Reservation(Quota* quota, Usage held) : quota_(quota), held_(held) {}
    Quota* quota_ = nullptr;
    Usage held_;
  };

  /// By how much what makes room may pass a budget: names of the image that are removed take whiteouts, and
  /// directories to hold them.
  [[nodiscard]] static Usage room_in(const Limits& limits);

  /// ENOSPC when the budget or the host's floor does not allow it, and whenever more is used than the budget.
  Result<Reservation> reserve(std::uint64_t bytes, std::uint64_t inodes, Budget budget = Budget::kKeep);
  /// What an object that is no more holds until the host has freed it: neither used nor to be had.
  Reservation hold(std::uint64_t bytes);
  /// Whether more is used than the budget has.
  [[nodiscard]] bool is_over() const;

  /// Books a change that has happened: an object that took `before` bytes now takes `after`.
  void settle_bytes(std::uint64_t before, std::uint64_t after);
  /// What a fresh count has found. Nothing that was booked before may be booked off afterwards.
  void set_usage(Usage used);
  void add_inode();
  void remove_inode();

  /// From now on; what is used already may be more than that, and is only kept from growing.
  void set_limits(Limits limits);
  [[nodiscard]] Limits limits() const;
  [[nodiscard]] Usage usage() const;
  /// What is left to use: of the budget and, for bytes, of the host above its floor.
  [[nodiscard]] Usage available() const;

 private:
  [[nodiscard]] std::uint64_t host_headroom() const;

  mutable std::mutex mutex_;
  Limits limits_;
  Usage used_;
  Usage reserved_;
  int host_fd_;
  std::uint64_t until_host_check_bytes_ = 0;
};

}  // namespace layerboot::overlay
