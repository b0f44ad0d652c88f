// guest_caches DIRECTORY ORACLE SEED: the checks, in a guest. Ends with 0 where nothing is wrong.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/support/direct_writes.h"
#include "tests/vm/caches/checks.h"

namespace layerboot::caches {

unsigned check_pages(const std::string& directory, unsigned rounds) {
  const auto seen = test::write_directly_beside_reads(directory + "/direct", rounds);
  std::printf("pages: %u of %u rounds stale, and in the end %u pages %s\n", seen.stale_rounds, rounds,
              seen.stale_pages, seen.error.c_str());
  return seen.stale_rounds + seen.stale_pages + (seen.error.empty() ? 0U : 1U);
}

}  // namespace layerboot::caches

int main(int count, char** words) {
  if (count == 2 && std::strcmp(words[1], "--has-no-rights") == 0) {
    return ::geteuid() == ::getuid() && ::getegid() == ::getgid() ? 0 : 1;
  }
  if (count != 4) {
    std::fprintf(stderr, "usage: guest_caches DIRECTORY ORACLE SEED\n");
    return 2;
  }
  using namespace layerboot::caches;
  ::umask(0);
  ::setvbuf(stdout, nullptr, _IOLBF, 0);
  constexpr unsigned kOperations = 4000;
  constexpr unsigned kRounds = 40;
  unsigned wrong = check_privileges(words[1], words[2]);
  wrong += check_programs(words[1]);
  wrong += check_names(words[1], words[2], static_cast<unsigned>(std::strtoul(words[3], nullptr, 10)),
                       kOperations);
  wrong += check_pages(words[1], kRounds);
  std::printf("%s\n", wrong == 0 ? "CACHES ARE RIGHT" : "CACHES ARE WRONG");
  return wrong == 0 ? 0 : 1;
}
