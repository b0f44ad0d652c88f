// Settling: has the host allocate what it has put off, before that is more than may go unbooked.
//
// A host allocates blocks at write-back, and those for a scattered file's tree of extents are in no stat(2)
// before. Files that were written to are listed (late_files.h). When they may take half of what is allowed,
// a worker has the host write the oldest of them out and books what they take by then; when they may take
// most of it, who is going to write waits for that.
#pragma once

#include <condition_variable>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "oci-mount/base/reactor.h"
#include "oci-mount/base/worker_pool.h"
#include "oci-mount/overlay/ledger.h"
#include "oci-mount/overlay/objects.h"
#include "oci-mount/overlay/overlay_lock.h"
#include "oci-mount/overlay/places.h"

namespace layerboot::overlay {

/// Thread-safe; called without the Overlay's lock, which it takes by itself.
class Settling {
 public:
  /// Files that are written out, or looked at under the lock, in one go; and how much they may have, unless
  /// it is one. There is one such go at a time: it has a descriptor of each.
  static constexpr std::size_t kFilesAtOnce = 32;
  static constexpr std::uint64_t kBytesAtOnce = 64U << 20;

  /// All outlive it. `mutex` is the Overlay's lock.
  Settling(Places& places, Ledger& ledger, Objects& objects, OverlayLock& mutex, WorkerPool& workers)
      : places_(places), ledger_(ledger), objects_(objects), mutex_(mutex), workers_(workers) {
    if (auto own = open_directory_at({places.upper().root_fd(), "."}); own) own_root_ = *std::move(own);
  }
  Settling(const Settling&) = delete;
  Settling& operator=(const Settling&) = delete;
  ~Settling() { finish(); }

  /// After each change of a file's data, and where a file stays in memory for being listed. Waits for
  /// nothing.
  void keep_up();

  /// co_await room(reactor), before a change of a file's data: waits while too much may be allocated late and
  /// somebody is at work on it.
  class Room;
  [[nodiscard]] Room room(Reactor& reactor);
  /// Whether nobody would wait.
  [[nodiscard]] bool has_room() const { return ledger_.late_fill() != LateFiles::Fill::kTooMuch; }

  /// co_await end_of_writing(reactor, file), after the client's fsync(2) of a file: what a worker was told of
  /// its write-back meanwhile is in FileState::write_error then. REQUIRES: `file` stays.
  class EndOfWriting;
  [[nodiscard]] EndOfWriting end_of_writing(Reactor& reactor, const Node& file);

  /// Files that were taken off the list. Those of them that are not settled are listed again in the end.
  class Files {
   public:
    Files(Files&& other) noexcept = default;
    Files& operator=(Files&&) = delete;
    ~Files();
    [[nodiscard]] const std::vector<Pin>& pins() const { return pins_; }

   private:
    friend class Settling;
    explicit Files(Settling& settling) : settling_(settling) {}
    Settling& settling_;
    std::vector<Pin> pins_;
  };
  /// All that are listed.
  [[nodiscard]] Files take_all();
  /// The host has allocated all of these since they were taken: what they take is booked. Those that were
  /// written to meanwhile stay listed.
  void settle(Files files);

  /// Waits for what is under way on workers. REQUIRES: no keep_up() comes any more.
  void finish();

 private:
  /// A file that is written out, and what the host says of it then.
  struct WrittenOut {
    SharedFd fd;
    std::uint32_t holes_made = 0;                // FileState::holes_made before
    std::optional<std::uint64_t> written_until;  // first_unwritten()
    int error = 0;                               // an errno: it could not be written
  };
  struct Waiter {
    Reactor& reactor;
    std::coroutine_handle<> handle;
  };

  [[nodiscard]] Files take(std::size_t most_files, std::uint64_t most_bytes);
  /// False where none is listed, or none could be settled.
  bool write_some_out();
  [[nodiscard]] std::vector<WrittenOut> open_all(const Files& files);
  [[nodiscard]] bool bring_to_disk(const Files& files, std::vector<WrittenOut>& opened);
  void end_writing(Node& file, int error);
  std::size_t settle(const Files& files, const std::vector<WrittenOut>& written_out);
  [[nodiscard]] bool settle_one(Node& file, const WrittenOut* written_out);
  void submit_work();
  void work();
  void end_work();
  static void wake(const std::vector<Waiter>& waiters);
  bool wait(Waiter waiter);
  bool wait_for_writing(Waiter waiter, const Node& file);

  Places& places_;
  Ledger& ledger_;
  Objects& objects_;
  OverlayLock& mutex_;
  WorkerPool& workers_;
  /// An error of write-back is told once by each descriptor (errseq_t): the client's SYNCFS, which has the
  /// upper's own, is to hear of it as well.
  UniqueFd own_root_;

  std::mutex state_mutex_;
  std::condition_variable ended_;
  bool is_at_work_ = false;  // a worker is
  std::vector<Waiter> waiters_;
  std::vector<Waiter> writing_waiters_;
};

class Settling::Room {
 public:
  Room(Settling& settling, Reactor& reactor) : settling_(settling), reactor_(reactor) {}
  [[nodiscard]] bool await_ready() const { return settling_.has_room(); }
  bool await_suspend(std::coroutine_handle<> handle) { return settling_.wait({reactor_, handle}); }
  void await_resume() const noexcept {}

 private:
  Settling& settling_;
  Reactor& reactor_;
};

class Settling::EndOfWriting {
 public:
  EndOfWriting(Settling& settling, Reactor& reactor, const Node& file)
      : settling_(settling), reactor_(reactor), file_(file) {}
  [[nodiscard]] bool await_ready() const { return false; }
  bool await_suspend(std::coroutine_handle<> handle) {
    return settling_.wait_for_writing({reactor_, handle}, file_);
  }
  void await_resume() const noexcept {}

 private:
  Settling& settling_;
  Reactor& reactor_;
  const Node& file_;
};

inline Settling::EndOfWriting Settling::end_of_writing(Reactor& reactor, const Node& file) {
  return {*this, reactor, file};
}

inline Settling::Room Settling::room(Reactor& reactor) { return {*this, reactor}; }

}  // namespace layerboot::overlay
