// Inventor: random operations for a differential test.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/oci-mount/vfs/differential.h"

namespace layerboot::test {

/// Makes up operations that mean something on the tree as it is.
class Inventor {
 public:
  Inventor(HostSide& host, std::uint64_t seed, OurSide::Client client)
      : host_(host), random_(seed), client_(client) {}

  /// Nothing where the dice gave something that no client sends.
  std::optional<Operation> invent();
  /// All paths, as they are now.
  [[nodiscard]] const std::vector<std::string>& paths() {
    refresh();
    return paths_;
  }
  void lose_slots() { held_ = 0; }

 private:
  std::uint64_t pick(std::uint64_t choices) { return random_() % choices; }
  bool one_in(std::uint64_t many) { return pick(many) == 0; }
  template <std::size_t kCount, typename T>
  T any_of(const T (&choices)[kCount]) {
    return choices[pick(kCount)];
  }

  void refresh() {
    paths_.assign(1, "");
    for (std::size_t i = 0; i < paths_.size(); ++i) {
      const auto st = host_.stat_of({.path = paths_[i]});
      if (!st || !S_ISDIR(st->st_mode)) continue;
      for (const auto& name : host_.names_in(paths_[i])) paths_.push_back(paths_[i] + "/" + name);
    }
  }
  std::string existing() { return paths_[pick(paths_.size())]; }
  std::string name() {
    static const std::string kNames[] = {"a", "b", "c", "f1", "f2", "hard", "link", "n1", "n2", "n3", "suid"};
    if (one_in(60)) return std::string(255 + pick(2), 'l');
    return kNames[pick(std::size(kNames))];
  }
  /// In a directory, mostly; a name that is free or taken.
  std::string place() {
    std::string parent = existing();
    for (int tries = 0; tries < 6; ++tries) {
      const auto st = host_.stat_of({.path = parent});
      if (st && S_ISDIR(st->st_mode) && std::count(parent.begin(), parent.end(), '/') < 6) break;
      parent = existing();
    }
    return parent + "/" + name();
  }
  std::string removable() { return one_in(6) ? place() : existing(); }
  Spot object() {
    if (held_ != 0 && one_in(4)) return {.slot = static_cast<int>(pick(Side::kSlots)), .path = {}};
    return {.slot = Spot::kNone, .path = one_in(12) ? place() : existing()};
  }
  Spot object_of_type(mode_t type) {
    Spot spot = object();
    for (int tries = 0; tries < 20; ++tries, spot = object()) {
      const auto st = host_.stat_of(spot);
      if (st && (st->st_mode & S_IFMT) == type) return spot;
    }
    return spot;
  }
  [[nodiscard]] bool is_removed_directory(const Spot& spot) const {
    const auto st = host_.stat_of(spot);
    return st && S_ISDIR(st->st_mode) && st->st_nlink == 0;
  }
  [[nodiscard]] bool is_regular(const Spot& spot) const {
    const auto st = host_.stat_of(spot);
    return st && S_ISREG(st->st_mode);
  }
  Actor actor() {
    static const Actor kActors[] = {{0, 0, std::nullopt, 022},       {0, 0, std::nullopt, 0},
                                    {1000, 1000, std::nullopt, 022}, {1000, 1000, 1001, 002},
                                    {1001, 1001, std::nullopt, 077}, {1002, 1001, std::nullopt, 0}};
    return kActors[pick(std::size(kActors))];
  }
  std::uint32_t mode() {
    return any_of<8, std::uint32_t>({0644, 0755, 0600, 0777, 04755, 02755, 06777, 02644});
  }
  std::string bytes(std::uint64_t most) {
    return std::string(pick(most) + 1, static_cast<char>('a' + pick(26)));
  }
  vfs::TimeChange time() {
    if (one_in(3)) return {.now = true, .time = {}};
    return {.now = false,
            .time = {.sec = static_cast<std::int64_t>(pick(1'000'000'000)),
                     .nsec = static_cast<std::uint32_t>(pick(1'000'000'000))}};
  }

  bool fill(Operation& op);
  bool fill_name(Operation& op);
  bool fill_data(Operation& op);
  bool fill_attribute(Operation& op);
  bool fill_xattr(Operation& op);

  HostSide& host_;
  std::mt19937_64 random_;
  OurSide::Client client_;
  std::vector<std::string> paths_;
  int until_refresh_ = 0;
  int held_ = 0;
};

}  // namespace layerboot::test
