// Any bytes as FUSE requests, in sequence, to one session on the file system in memory.
//
// Input: for each request one byte of slice size, two bytes of reply room, two bytes of length, and the
// request.
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/io_slices.h"
#include "oci-mount/base/log.h"
#include "tests/support/fake_file_system.h"
#include "vfsd/fuse/session.h"
#include "vfsd/fuse/wire.h"

namespace layerboot::vfsd::fuse {
namespace {

constexpr std::size_t kMaxRequests = 64;

class FuzzExchange final : public Exchange {
 public:
  FuzzExchange(std::span<const std::byte> request, std::size_t room, std::size_t slice_bytes)
      : request_(request.begin(), request.end()), reply_(room) {
    cut(request_, slice_bytes, readable_);
    cut(reply_, slice_bytes, writable_);
  }
  [[nodiscard]] std::span<const iovec> readable() const override { return readable_; }
  [[nodiscard]] std::span<const iovec> writable() const override { return writable_; }
  void complete(std::size_t reply_bytes) override {
    if (completed || reply_bytes > reply_.size()) std::abort();
    completed = true;
    if (reply_bytes == 0) return;
    const auto out = ByteReader(reply_).read<fuse_out_header>();
    if (out.len != reply_bytes || out.unique != header.unique) std::abort();
    if (out.error > 0 || out.error <= -1000 || (out.error != 0 && reply_bytes != sizeof(out))) std::abort();
  }
  bool completed = false;

 private:
  static void cut(std::vector<std::byte>& bytes, std::size_t slice_bytes, std::vector<iovec>& slices) {
    for (std::size_t done = 0; done < bytes.size(); done += slice_bytes) {
      slices.push_back({bytes.data() + done, std::min(slice_bytes, bytes.size() - done)});
    }
  }
  std::vector<std::byte> request_;
  std::vector<std::byte> reply_;
  std::vector<iovec> readable_;
  std::vector<iovec> writable_;
};

void introduce(Session& session, Reactor& reactor) {
  struct {
    fuse_in_header header{};
    fuse_init_in in{};
  } request;
  request.header.len = sizeof(request);
  request.header.opcode = FUSE_INIT;
  request.in.major = 7;
  request.in.minor = 38;
  FuzzExchange exchange(object_bytes(request), 200, 64);
  session.handle(reactor, exchange);
}

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
