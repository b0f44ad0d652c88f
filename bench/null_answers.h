// NullAnswers: what a server answers that has nothing to look up: the same bytes to every request of a kind.
#pragma once

#include <linux/fuse.h>
#include <sys/uio.h>

#include <cstddef>
#include <span>
#include <vector>

namespace layerboot::bench {

/// Knows no tree: every name is there, every file holds the same, every directory lists as many pages as the
/// sample tree's. The client must waive OPEN and OPENDIR, and take any content. Belongs to one thread.
class NullAnswers {
 public:
  NullAnswers();

  /// Answers the request in `readable` into `writable`: the length of the reply, 0 for one that gets none.
  std::size_t answer(std::span<const iovec> readable, std::span<const iovec> writable) const;

 private:
  struct Answer {
    int error = 0;
    std::span<const std::byte> payload;
  };
  [[nodiscard]] Answer find(const fuse_in_header& header, std::span<const iovec> readable) const;
  [[nodiscard]] std::span<const std::byte> zeros(std::size_t size_bytes) const;

  std::vector<std::byte> zeros_;  // attributes, and what every READ is made of
  std::vector<std::byte> init_;
  std::vector<std::byte> created_;                    // an entry, and an open file behind it
  std::vector<std::vector<std::byte>> listed_pages_;  // of READDIRPLUS, by cookie
};

}  // namespace layerboot::bench
