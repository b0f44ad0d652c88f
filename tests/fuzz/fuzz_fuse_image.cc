// FUSE requests, in sequence, to a session on a real image with an upper directory: well-formed as to their
// header, any bytes behind it, of nodes that the file system has given out or that it has not.
//
// Input: for each request one byte of opcode, one of node, two of body length, and the body. A node byte from
// kGiven on means one of those that came in replies.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>

#include "oci-mount/base/log.h"
#include "oci-mount/vfs/image_fs.h"
#include "tests/fuzz/fuse_exchange.h"
#include "tests/support/host_usage.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::vfsd::fuse {
namespace {

constexpr std::size_t kMaxRequests = 48;
constexpr std::size_t kMaxBody = 8192;
constexpr std::size_t kReplyRoom = 16384;
constexpr std::uint8_t kGiven = 64;
constexpr std::uint64_t kQuotaBytes = 1U << 20;
constexpr std::uint64_t kQuotaInodes = 64;
/// A block for each file and directory, at the most.
constexpr std::uint64_t kSlackBytes = kQuotaInodes * 2 * 4096;

class FuzzedImage {
 public:
  FuzzedImage() {
    test::ImageBuilder builder(directory_ / "image");
    test::TarBuilder tar;
    tar.directory("d").file("d/f", std::string(9000, 'f')).hard_link("d/h", "d/f").symlink("s", "d/f");
    tar.directory("d/e").file("d/e/g", "g").file("x", "x");
    builder.add_gzip_layer(tar.finish());
    builder.write();
    vfs::ImageSourceOptions options;
    options.index_dir = directory_ / "index";
    options.show_progress = false;
    auto source = vfs::open_image_source("oci:" + (directory_ / "image").string(), options);
    if (!source) std::abort();
    source_ = std::move(*source);
  }
  /// On an empty upper.
  std::unique_ptr<vfs::FileSystem> open() {
    std::filesystem::remove_all(upper());
    auto made = vfs::make_writable_fs(
        *source_, {.directory = upper(), .quota_bytes = kQuotaBytes, .quota_inodes = kQuotaInodes});
    if (!made) std::abort();
    return std::move(*made);
  }
  [[nodiscard]] std::filesystem::path upper() const { return directory_ / "upper"; }

 private:
  test::TempDir directory_;
  std::unique_ptr<vfs::ImageSource> source_;
};

bool gives_node(std::uint32_t opcode) {
  return opcode == FUSE_LOOKUP || opcode == FUSE_MKNOD || opcode == FUSE_MKDIR || opcode == FUSE_SYMLINK ||
         opcode == FUSE_LINK || opcode == FUSE_CREATE || opcode == FUSE_TMPFILE;
}

}  // namespace
}  // namespace layerboot::vfsd::fuse

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace layerboot;
  using namespace layerboot::vfsd::fuse;
  log_setup("fuzz", LogLevel::kError);
  static FuzzedImage image;
  static const std::unique_ptr<Reactor> reactor = *Reactor::create();
  auto fs = image.open();
  vfsd::fuse::Session session(*fs, {});
  introduce(session, *reactor);
  std::vector<std::uint64_t> given{FUSE_ROOT_ID};
  ByteReader input({reinterpret_cast<const std::byte*>(data), size});
  for (std::size_t i = 0; i < kMaxRequests && !input.rest().empty(); ++i) {
    fuse_in_header header{};
    header.opcode = input.read<std::uint8_t>();
    const auto node = input.read<std::uint8_t>();
    header.nodeid = node >= kGiven ? given[node % given.size()] : node;
    header.unique = i + 2;
    const std::size_t length =
        std::min<std::size_t>(input.read<std::uint16_t>() % kMaxBody, input.rest().size());
    const auto body = input.take(length);
    header.len = static_cast<std::uint32_t>(sizeof(header) + body.size());
    std::vector<std::byte> request(header.len);
    std::memcpy(request.data(), &header, sizeof(header));
    if (!body.empty()) std::memcpy(request.data() + sizeof(header), body.data(), body.size());
    FuzzExchange exchange(request, kReplyRoom, 4096);
    session.handle(*reactor, exchange);
    exchange.wait(*reactor);
    ByteReader reply(exchange.reply());
    const auto out = reply.read<fuse_out_header>();
    if (out.error == 0 && out.len > sizeof(out) && gives_node(header.opcode)) {
      if (const auto id = reply.read<std::uint64_t>(); id != 0) given.push_back(id);
    }
  }
  const auto usage = test::host_usage(image.upper());
  if (usage.bytes > kQuotaBytes + kSlackBytes || usage.inodes > kQuotaInodes + 1) std::abort();
  return 0;
}
