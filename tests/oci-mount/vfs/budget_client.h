// BudgetClient: one client's random requests of every kind that may take space or give it back, to a file
// system that others use as well.
#pragma once

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "oci-mount/base/reactor.h"
#include "oci-mount/vfs/types.h"

namespace layerboot::test {

/// It keeps some nodes, and now and then uses numbers that it never looked up, or lets the client start
/// afresh.
class BudgetClient {
 public:
  /// The image has directories 0 to `directories`-1, each with a file "f".
  BudgetClient(vfs::FileSystem& file_system, std::uint64_t seed, int directories)
      : fs_(file_system), random_(seed), directories_(directories) {}

  /// On any thread, but for the whole run on one.
  void run(int steps) {
    ring_ = *Reactor::create();
    for (int i = 0; i < steps; ++i) step();
    ring_.reset();
  }
  void forget_all() {
    for (const auto node : held_) fs_.forget(node, 1);
    held_.clear();
  }
  /// How often each answer came: an errno, or 0.
  std::map<int, int> answers;

 private:
  static constexpr std::size_t kMostHeld = 60;
  /// Beyond the rows of any image of a test.
  static constexpr std::uint64_t kGuessedIds = 6000;

  std::uint64_t pick(std::uint64_t below) { return random_() % below; }
  std::string name() {
    switch (pick(8)) {
      case 0:
        return std::to_string(pick(static_cast<std::uint64_t>(directories_)));
      case 1:
        return "f";
      case 2:
      case 3: {
        const auto number = std::to_string(pick(300));
        return std::string(255 - number.size(), 'n') + number;
      }
      default:
        return "a" + std::to_string(pick(200));
    }
  }
  vfs::NodeId node() {
    if (pick(40) == 0) return pick(kGuessedIds) + 1;
    return held_.empty() || pick(6) == 0 ? vfs::kRootId : held_[pick(held_.size())];
  }
  void keep(const Result<vfs::Entry>& entry) {
    told(entry);
    if (!entry || entry->id == 0) return;
    held_.push_back(entry->id);
    if (held_.size() <= kMostHeld) return;
    const auto which = static_cast<std::ptrdiff_t>(pick(held_.size()));
    fs_.forget(held_[static_cast<std::size_t>(which)], 1);
    held_.erase(held_.begin() + which);
  }
  template <typename T>
  void told(const Result<T>& result) {
    ++answers[result ? 0 : result.error().code];
  }
  template <typename T>
  T wait(Task<T> task) {
    return ring_->block_on(std::move(task));
  }

  void step() {
    switch (pick(12)) {
      case 0:
      case 1:
        return make();
      case 2:
      case 3:
        return take_away();
      case 4:
      case 5:
      case 6:
        return write();
      case 7:
        return allocate();
      case 8:
        return attributes();
      case 9:
        return names();
      case 10:
        return look();
      default:
        return change();
    }
  }
  void make() {
    const auto at = node();
    switch (pick(6)) {
      case 0:
        return keep(fs_.mkdir(at, name(), 0755, {}));
      case 1:
        return keep(fs_.symlink(at, name(), std::string(1 + pick(pick(2) == 0 ? 50 : 1000), 't'), {}));
      case 2:
        return keep(fs_.tmpfile(at, 0600, {}));
      case 3:
        return keep(fs_.mknod(at, name(), pick(2) == 0 ? S_IFIFO | 0600 : S_IFCHR | 0600,
                              static_cast<std::uint32_t>(pick(2)), {}));
      default:
        return keep(fs_.create(at, name(), 0644, pick(2) == 0, {}));
    }
  }
  void take_away() {
    switch (pick(3)) {
      case 0:
        return told(fs_.rmdir(node(), name()));
      case 1: {
        // Of the image: what makes room takes a directory and a whiteout.
        const auto directory =
            fs_.lookup(vfs::kRootId, std::to_string(pick(static_cast<std::uint64_t>(directories_))));
        if (directory && directory->id != 0) {
          told(fs_.unlink(directory->id, "f"));
          fs_.forget(directory->id, 1);
        }
        return;
      }
      default:
        return told(fs_.unlink(node(), name()));
    }
  }
  void write() {
    const auto at = node();
    const std::uint64_t length = pick(3) == 0 ? pick(600'000) + 1 : pick(9000) + 1;
    const std::uint64_t offset = pick(8) == 0 ? pick(1U << 30) : pick(700'000);
    std::string bytes(length, static_cast<char>('a' + pick(26)));
    const iovec piece{bytes.data(), bytes.size()};
    if (pick(2) == 0) {
      const auto put = fs_.try_write(at, offset, {&piece, 1}, vfs::Writer::kPrivileged);
      if (!put || *put != vfs::FileSystem::kWouldWait) return told(put);
    }
    told(wait(fs_.write(*ring_, at, offset, {&piece, 1},
                        pick(2) == 0 ? vfs::Writer::kUnprivileged : vfs::Writer::kPageCache)));
    if (pick(3) == 0) told(wait(fs_.fsync(*ring_, at, pick(2) == 0)));
  }
  void allocate() {
    const auto at = node();
    static constexpr std::uint32_t kModes[] = {0,
                                               FALLOC_FL_KEEP_SIZE,
                                               FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                               FALLOC_FL_ZERO_RANGE,
                                               FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                                               FALLOC_FL_COLLAPSE_RANGE,
                                               FALLOC_FL_INSERT_RANGE};
    const auto mode = kModes[pick(std::size(kModes))];
    told(wait(fs_.fallocate(*ring_, at, mode, pick(300) * 4096, (1 + pick(100)) * 4096)));
  }
  void attributes() {
    const auto at = node();
    static const char* const kNames[] = {"user.x", "trusted.y", "user.a-longer-name-of-an-attribute",
                                         "trusted.overlay.opaque"};
    const std::string attribute =
        pick(3) == 0 ? "trusted.n" + std::to_string(pick(50)) : kNames[pick(std::size(kNames))];
    if (pick(4) == 0) return told(wait(fs_.removexattr(*ring_, at, attribute)));
    const std::uint64_t size = pick(10) == 0 ? pick(65'537) : pick(3) == 0 ? pick(4000) : pick(200);
    told(wait(fs_.setxattr(*ring_, at, attribute, std::string(size, static_cast<char>('a' + pick(26))), 0)));
  }
  void names() {
    const auto at = node();
    const auto to = node();
    if (pick(2) == 0) return keep(wait(fs_.link(*ring_, at, to, name())));
    static constexpr std::uint32_t kFlags[] = {0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT};
    told(wait(fs_.rename(*ring_, at, name(), to, name(), kFlags[pick(std::size(kFlags))])));
  }
  void look() {
    const auto at = node();
    switch (pick(300)) {
      case 0:
        fs_.reset();
        held_.clear();
        return;
      case 1:
        return told(wait(fs_.syncfs(*ring_)));
      default:
        break;
    }
    if (pick(4) != 0) return keep(fs_.lookup(at, name()));
    std::vector<vfs::NodeId> given;
    told(fs_.readdir(at, 0, true, [&](const vfs::Dirent&, const vfs::Entry& entry) {
      if (entry.id != 0) given.push_back(entry.id);
      return given.size() < 5;
    }));
    for (const auto id : given) fs_.forget(id, 1);
  }
  void change() {
    const auto at = node();
    if (pick(4) == 0) {
      const auto from = node();
      return told(wait(fs_.copy_file_range(*ring_, from, pick(50'000), at, pick(100'000), pick(100'000))));
    }
    vfs::AttrChange change;
    if (pick(2) == 0) change.size_bytes = pick(4) == 0 ? 0 : pick(500'000);
    if (pick(2) == 0) change.mode = 0600;
    if (pick(4) == 0) change.uid = 1000;
    told(wait(fs_.setattr(*ring_, at, change)));
  }

  vfs::FileSystem& fs_;
  std::mt19937_64 random_;
  int directories_;
  std::unique_ptr<Reactor> ring_;  // of the thread that runs
  std::vector<vfs::NodeId> held_;
};

}  // namespace layerboot::test
