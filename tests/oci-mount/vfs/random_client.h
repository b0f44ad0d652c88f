// RandomClient: one client's random requests, of every kind, to a file system that others use as well.
#pragma once

#include <fcntl.h>
#include <linux/falloc.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "oci-mount/base/reactor.h"
#include "oci-mount/vfs/types.h"

namespace layerboot::test {

/// It keeps some nodes, and now and then forgets more than it should.
class RandomClient {
 public:
  RandomClient(vfs::FileSystem& file_system, std::uint64_t seed) : fs_(file_system), random_(seed) {}

  void run(int steps) {
    for (int i = 0; i < steps; ++i) step();
    for (const auto node : held_) fs_.forget(node, 1);
  }

 private:
  std::uint64_t pick(std::uint64_t below) { return random_() % below; }
  std::string name() {
    static const char* const kNames[] = {"etc",  "small", "big", "a",  "b",  "c",
                                         "deep", "er",    "n1",  "n2", "n3", "links"};
    return kNames[pick(std::size(kNames))];
  }
  vfs::NodeId node() { return held_.empty() || pick(8) == 0 ? vfs::kRootId : held_[pick(held_.size())]; }
  void keep(const Result<vfs::Entry>& entry) {
    if (!entry || entry->id == 0) return;
    held_.push_back(entry->id);
    if (held_.size() > 40) {
      fs_.forget(held_.front(), 1);
      held_.erase(held_.begin());
    }
  }
  template <typename T>
  T wait(Task<T> task) {
    return ring_->block_on(std::move(task));
  }

  void step() {
    const auto at = node();
    const auto to = node();
    std::string bytes(pick(20'000) + 1, 'x');
    const iovec piece{bytes.data(), bytes.size()};
    switch (pick(18)) {
      case 0:
        return keep(fs_.create(at, name(), 0644, pick(2) == 0, {}));
      case 1:
        return keep(fs_.mkdir(at, name(), 0755, {}));
      case 2:
        return keep(fs_.symlink(at, name(), "target", {}));
      case 3:
        return keep(fs_.tmpfile(at, 0600, {}));
      case 4:
        return keep(wait(fs_.link(*ring_, at, to, name())));
      case 5:
        return ignore(fs_.unlink(at, name()));
      case 6:
        return ignore(fs_.rmdir(at, name()));
      case 7:
        return ignore(wait(fs_.rename(*ring_, at, name(), to, name(), static_cast<std::uint32_t>(pick(3)))));
      case 8:
        return ignore(wait(fs_.write(*ring_, at, pick(100'000), {&piece, 1},
                                     pick(2) == 0 ? vfs::Writer::kUnprivileged : vfs::Writer::kPageCache)));
      case 9:
        return ignore(wait(fs_.read(*ring_, at, pick(100'000), {&piece, 1})));
      case 10: {
        vfs::AttrChange change;
        if (pick(2) == 0) change.size_bytes = pick(50'000);
        if (pick(2) == 0) change.mode = 0600;
        return ignore(wait(fs_.setattr(*ring_, at, change)));
      }
      case 11:
        return ignore(
            wait(fs_.setxattr(*ring_, at, "user.x", bytes.substr(0, pick(3000) % bytes.size()), 0)));
      case 12:
        return ignore(wait(fs_.fsync(*ring_, at, true)));
      case 13:
        return ignore(
            wait(fs_.fallocate(*ring_, at, pick(2) == 0 ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : 0,
                               pick(50'000), 10'000)));
      case 14:
        return fs_.forget(at, pick(3));
      case 15:
        return ignore(fs_.try_read(at, pick(100'000), {&piece, 1}));
      case 16: {
        std::vector<vfs::NodeId> given;
        ignore(fs_.readdir(at, 0, true, [&](const vfs::Dirent&, const vfs::Entry& entry) {
          if (entry.id != 0) given.push_back(entry.id);
          return given.size() < 5;
        }));
        for (const auto id : given) fs_.forget(id, 1);
        return;
      }
      default:
        return keep(fs_.lookup(at, name()));
    }
  }
  template <typename T>
  static void ignore(const Result<T>&) {}

  vfs::FileSystem& fs_;
  std::mt19937_64 random_;
  std::unique_ptr<Reactor> ring_ = *Reactor::create();
  std::vector<vfs::NodeId> held_;
};

/// Several of them at once, each on a thread of its own. Prints the seed.
inline void run_random_clients(vfs::FileSystem& file_system) {
  constexpr std::uint64_t kClients = 3;
  constexpr int kStepsEach = 1500;
  const char* const given = std::getenv("LAYERBOOT_TEST_SEED");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  std::cout << "seed " << seed << " (LAYERBOOT_TEST_SEED)\n";
  std::vector<std::jthread> threads;
  for (std::uint64_t i = 0; i < kClients; ++i) {
    threads.emplace_back([&, i] { RandomClient(file_system, seed + i).run(kStepsEach); });
  }
}

}  // namespace layerboot::test
