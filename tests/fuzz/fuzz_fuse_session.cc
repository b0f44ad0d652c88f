// Any bytes as FUSE requests, in sequence, to one session on the file system in memory.
//
// Input: for each request one byte of slice size, two bytes of reply room, two bytes of length, and the
// request.
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "oci-mount/base/log.h"
#include "tests/fuzz/fuse_exchange.h"
#include "tests/support/fake_file_system.h"

namespace layerboot::vfsd::fuse {
namespace {

constexpr std::size_t kMaxRequests = 64;

}  // namespace
}  // namespace layerboot::vfsd::fuse

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace layerboot;
  static const std::unique_ptr<Reactor> reactor = *Reactor::create();
  log_setup("fuzz", LogLevel::kError);
  test::FakeFileSystem fs;
  fs.add_file(1, "file", "content");
  fs.add_directory(1, "dir");
  vfsd::fuse::Session session(fs, {});
  vfsd::fuse::introduce(session, *reactor);
  ByteReader input({reinterpret_cast<const std::byte*>(data), size});
  for (std::size_t i = 0; i < vfsd::fuse::kMaxRequests && !input.rest().empty(); ++i) {
    const std::size_t slice_bytes = input.read<std::uint8_t>() + 1U;
    const std::size_t room = input.read<std::uint16_t>();
    const std::size_t length = input.read<std::uint16_t>();
    vfsd::fuse::FuzzExchange exchange(input.take(std::min(length, input.rest().size())), room, slice_bytes);
    session.handle(*reactor, exchange);
    if (!exchange.completed) std::abort();
  }
  return 0;
}
