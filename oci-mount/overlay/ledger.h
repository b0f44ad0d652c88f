// Ledger: what each object of an upper is charged, and what growth is reserved before it happens.
//
// The budget itself is Quota's; how an object's charge follows what the host says of it is here, and nowhere
// else. Under the Overlay's lock, but for reserve(), quota() and late_fill(), which any thread may call.
//
// What a file may still grow by: a host allocates at write-back, so that a file whose data has changed may
// take more than is booked until the host has written it out. Each change of data begins that, also one that
// took no block (data_changed), and it ends with what the file takes then being booked (settled), with the
// file, or with a count of what is on the disk (recount); with nothing else. Meanwhile one of two has it, and
// all that both have counts in late_fill():
//
//   LateFiles   while the file is in memory: on its list, or taken off it by who has the host write it out
//   LateGrowth  when it has left memory, by its inode (part), until it is met again (meet)
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <optional>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "oci-mount/overlay/burials.h"
#include "oci-mount/overlay/clean_stop.h"
#include "oci-mount/overlay/late_files.h"
#include "oci-mount/overlay/late_growth.h"
#include "oci-mount/overlay/node.h"
#include "oci-mount/overlay/quota.h"
#include "oci-mount/overlay/tariff.h"
#include "oci-mount/overlay/upper_calls.h"

namespace layerboot::overlay {

/// What the host had of the upper when it was counted: all, or what it had allocated so far.
enum class Counted { kOnDisk, kAsShown };

/// How a file's data has changed: within blocks that it had, and as large as before; or in any way.
enum class DataChange { kInPlace, kAny };

class Ledger {
 public:
  /// `host_fd`: any descriptor on the upper's file system; outlives the Ledger.
  Ledger(Tariff tariff, Quota::Limits limits, Quota::Usage used, int host_fd)
      : tariff_(tariff), quota_(limits, used, host_fd) {}

  [[nodiscard]] const Tariff& tariff() const { return tariff_; }

  [[nodiscard]] Quota& quota() { return quota_; }

  /// Growth that is to come; given back when the reservation goes. ENOSPC over the budget, though all is free
  /// that was removed before.
  Result<Quota::Reservation> reserve(std::uint64_t bytes, std::uint64_t inodes,
                                     Budget budget = Budget::kKeep);
  /// What is removed may wait there to be freed. `burials` is there as long as somebody reserves.
  void wait_for(Burials& burials) { burials_ = &burials; }

  /// An object has come into being; charge() follows.
  void add_object() { quota_.add_inode(); }
  /// It is no more: what it held is free.
  void remove_object(Node& node);
  /// The same, but what it held is free when the host is done with it: then the reservation is to go.
  Quota::Reservation remove_object_later(Node& node);

  /// The attributes of the object at `place` have changed, or are met for the first time: asks the host where
  /// the tariff counts them. charge() or meet() follows.
  Result<void> count_attributes(Node& node, Place place);
  /// Books what the host says that the object takes now; of a file that a request is alone with, not where
  /// its blocks have changed. `ahead_bytes`: what of that is beyond the file's end, where the host was asked
  /// for that as well (Charge::seen_ahead_bytes).
  void charge(Node& node, const struct stat& st, std::optional<std::uint64_t> ahead_bytes = std::nullopt);
  /// Where the host keeps what is cut (Tariff::keeps_what_is_cut), before charge(), with the same `st`: the
  /// file was just cut by who is alone with it (FileTurns). `is_on_disk`: all that is left of it has its
  /// blocks on the host's disk.
  static void note_cut(Node& node, const struct stat& st, bool is_on_disk);
  /// The same of a file of which `replaced_bytes` were given other blocks where they were allocated before.
  static void note_replaced(Node& node, const struct stat& st, std::uint64_t replaced_bytes);
  /// Of a request that is going to be alone with the file: what the host may come to keep by it.
  void expect_kept(Node& node, std::uint64_t bytes);
  /// That one has done it, before its turn ends: where a request of a former session may have written beside
  /// it, the file's blocks do not tell what is kept, and all that may be is charged.
  static void charge_kept_whole(Node& node);
  /// Requests of a former session on so many files more, or less, are at work.
  void change_outliving(int files) { outliving_ += files; }
  /// An object comes into memory that the budget knows already, from the last count or from when it was last
  /// in memory. What it has grown by since is booked.
  void meet(Node& node, const struct stat& st);
  /// It leaves memory: what it was charged is remembered where the host may still allocate for it, or shows
  /// less than it keeps of it.
  void part(Node& node);

  /// After each change of a file's data, when charge() has booked what the host shows of it: it may allocate
  /// more. Not by what is written in place where nothing is unwritten (FileState::is_written).
  void data_changed(Node& file, DataChange change);
  /// The host has allocated all of it, and that is booked.
  void settled(Node& file);
  /// Of files that the host may still allocate for, the one that was written to first, no longer listed; null
  /// where there is none. settled() follows, or list_again() where it is not listed by then.
  NodePtr take_late() { return late_files_.take_first(); }
  void list_again(Node& file) { late_files_.list_again(file); }
  /// Files in memory for which the host may give back what is beyond their end (gives_back_bytes): off the
  /// list. Each is on it again when charge() finds it so; others are to be put back.
  using Ahead = std::unordered_set<NodeId>;
  [[nodiscard]] Ahead take_ahead() { return std::exchange(ahead_, {}); }
  void list_ahead(Ahead files) { ahead_.merge(files); }
  /// The host was asked for what the file would give back: what is still there it keeps.
  void keep_ahead(Node& node);
  /// What all these may give back, or more. Lock-free.
  [[nodiscard]] std::uint64_t ahead_bytes() const { return ahead_bytes_.load(std::memory_order_relaxed); }
  /// It is listed, and so is to stay in memory until it is settled; false where too many would.
  [[nodiscard]] bool keeps(const Node& file) const { return file.charge.is_listed && late_files_.has_room(); }
  [[nodiscard]] LateFiles::Fill late_fill() const;

  /// A name more in a directory. True when so many have come that it is to be looked at and charged: it grows
  /// by a block for many names.
  [[nodiscard]] bool add_name(Node& directory, std::string_view name);

  /// `made` whiteouts more than `gone` ones.
  void change_whiteouts(std::size_t gone, std::size_t made);

  /// Files that part() remembers, for a session to come; and those of a former one.
  [[nodiscard]] const LateFilesByInode& late_files() const { return late_growth_.all(); }
  /// Of these, those of which no look at the host tells what they are charged.
  [[nodiscard]] LateFilesByInode kept_files() const;
  [[nodiscard]] const LateGrowth& late_growth() const { return late_growth_; }
  void recall(const LateFilesByInode& late_files);
  /// What a former session has left; of one that has not counted, before recount().
  void recall(const CleanStop& stop);

  /// A file that nobody knows any more has grown by `bytes`: the session ended under the request. Booked
  /// unless `fd` is all that it has, and counted by the stop or reset of this session.
  void miss(int fd, std::uint64_t bytes);
  /// Something is not known as it should be: the stop or reset of this session counts.
  void doubt() { in_doubt_ = true; }
  /// False where only a count tells what the upper takes: by what was said above, or there were too many late
  /// files.
  [[nodiscard]] bool is_exact() const {
    return !in_doubt_ && !late_is_missed_ && !late_growth_.has_forgotten();
  }
  /// When all have left memory: whether a count is to be of what is on the disk. Else, files that nobody
  /// remembers would grow late, or those that are remembered by more than may add up from count to count.
  [[nodiscard]] bool is_to_count_on_disk() const;

  /// All is counted anew: nothing that was booked before counts. Files for which the host may still allocate
  /// are remembered as the count has met them; those that nobody remembers stay in doubt, unless all was on
  /// the disk.
  void recount(const Survey& survey, Counted counted);

 private:
  [[nodiscard]] std::uint64_t charge_of(const Node& node, const struct stat& st) const;
  void note_ahead(Node& node, const struct stat& st);
  void set_gives_back(Node& node, std::uint64_t bytes);
  void remember(std::uint64_t host_ino, LateFile file);

  Tariff tariff_;
  Quota quota_;
  LateFiles late_files_;
  LateGrowth late_growth_;
  Ahead ahead_;  // Charge::gives_back_bytes, of Nodes that have a number
  std::atomic<std::uint64_t> ahead_bytes_ = 0;
  int outliving_ = 0;  // files
  bool in_doubt_ = false;
  bool late_is_missed_ = false;  // files that nobody knows may grow late
  Burials* burials_ = nullptr;
};

}  // namespace layerboot::overlay
