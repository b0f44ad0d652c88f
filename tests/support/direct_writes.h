// Asynchronous direct writes (io_submit(2), O_DIRECT) beside buffered reads of the same file.
#pragma once

#include <string>

namespace layerboot::test {

struct DirectWrites {
  std::string error;          // why there was no test, or nothing
  unsigned stale_rounds = 0;  // in which a read that began after the writes' end saw what was there before
  unsigned stale_pages = 0;   // that are stale after all is over, by a new descriptor
};

/// Writes the file `path`, new, `rounds` times as a whole, while two threads read it without end. For a
/// host's test and in a guest.
DirectWrites write_directly_beside_reads(const std::string& path, unsigned rounds);

}  // namespace layerboot::test
