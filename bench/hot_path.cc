// hot_path: asks one thing of the FUSE session again and again, for guard.sh to count the instructions of it.
//
//   hot_path OPERATION COUNT      getattr, lookup, lookup-miss or read
//
// All of a request but the virtqueue: decoding, the file system, the span cache, the reply. The difference
// between two counts has nothing of the start in it, and is the same in every run.
#include <array>
#include <charconv>
#include <cstdio>
#include <string_view>

#include "oci-mount/base/bytes.h"
#include "oci-mount/layer/layer.h"
#include "oci-mount/vfs/image_fs.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"
#include "vfsd/fuse/session.h"
#include "vfsd/fuse/wire.h"

namespace layerboot::bench {
namespace {

constexpr std::size_t kPageBytes = 4096;

/// A guest's request in descriptors as Linux makes them.
class Request final : public vfsd::fuse::Exchange {
 public:
  template <typename Args>
  void set(std::uint32_t opcode, std::uint64_t node, const Args& args, std::size_t reply_bytes) {
    set_bytes(opcode, node, object_bytes(args), reply_bytes);
  }
  void set_bytes(std::uint32_t opcode, std::uint64_t node, std::span<const std::byte> args,
                 std::size_t reply_bytes) {
    in_ = {};
    in_.len = static_cast<std::uint32_t>(sizeof(in_) + args.size());
    in_.opcode = opcode;
    in_.unique = 2;
    in_.nodeid = node;
    std::memcpy(args_.data(), args.data(), args.size());
    readable_ = {iovec{&in_, sizeof(in_)}, iovec{args_.data(), args.size()}};
    writable_ = {iovec{&out_, sizeof(out_)}, iovec{reply_.data(), reply_bytes}};
  }
  [[nodiscard]] std::span<const iovec> readable() const override { return readable_; }
  [[nodiscard]] std::span<const iovec> writable() const override { return writable_; }
  void complete(std::size_t) override { done_ = true; }

  /// Handles it; false where the answer is an error, or is not there at once.
  bool ask(vfsd::fuse::Session& session, Reactor& reactor) {
    done_ = false;
    session.handle(reactor, *this);
    return done_ && out_.error == 0;
  }
  template <typename T>
  [[nodiscard]] T reply() const {
    T value;
    std::memcpy(&value, reply_.data(), sizeof(T));
    return value;
  }

 private:
  fuse_in_header in_{};
  fuse_out_header out_{};
  alignas(8) std::array<std::byte, kPageBytes> args_{};
  alignas(8) std::array<std::byte, kPageBytes> reply_{};
  std::array<iovec, 2> readable_{};
  std::array<iovec, 2> writable_{};
  bool done_ = false;
};

std::span<const std::byte> with_nul(std::string_view literal) {
  return as_bytes({literal.data(), literal.size() + 1});
}

/// Every span of the only layer, which need not be decoded: valgrind runs one thread at a time, and would
/// wait for ever in io_uring_enter(2) for what another thread has to do.
void fill_cache(vfs::ImageSource& source, std::string_view stream) {
  const auto& layer = *source.layers.front();
  const auto& checkpoints = layer.index().checkpoints();
  for (std::uint32_t i = 0; i < checkpoints.span_count(); ++i) {
    const auto info = checkpoints.span(i);
    auto span = source.cache.make(info.size_bytes, {});
    std::memcpy(span->bytes().data(), stream.data() + info.stream_offset, info.size_bytes);
    source.cache.finish({layer.number(), i}, std::move(span));
  }
}

Result<bool> run(std::string_view operation, unsigned count) {
  const test::TempDir directory;
  test::TarBuilder tar;
  tar.directory("data");
  for (unsigned i = 0; i < 100; ++i) tar.file(str_cat("data/file-", i), test::sample_bytes(8192, i));
  test::ImageBuilder builder(directory / "image");
  const std::string stream = tar.finish();
  builder.add_gzip_layer(stream);
  builder.write();
  vfs::ImageSourceOptions options;
  options.index_dir = directory / "index";
  options.show_progress = false;
  options.worker_threads = 1;
  LB_ASSIGN(const auto source, vfs::open_image_source("oci:" + (directory / "image").string(), options));
  LB_ASSIGN(const auto fs, vfs::make_read_only_fs(*source));
  LB_ASSIGN(const auto reactor, Reactor::create());
  vfsd::fuse::Session session(*fs, {});

  Request request;
  fuse_init_in init{};
  init.major = vfsd::fuse::kMajor;
  init.minor = vfsd::fuse::kMinor;
  request.set(FUSE_INIT, 0, init, sizeof(fuse_init_out));
  if (!request.ask(session, *reactor)) return false;
  request.set_bytes(FUSE_LOOKUP, FUSE_ROOT_ID, with_nul("data"), sizeof(fuse_entry_out));
  if (!request.ask(session, *reactor)) return false;
  const auto folder = request.reply<fuse_entry_out>().nodeid;
  request.set_bytes(FUSE_LOOKUP, folder, with_nul("file-42"), sizeof(fuse_entry_out));
  if (!request.ask(session, *reactor)) return false;
  const auto node = request.reply<fuse_entry_out>().nodeid;
  fill_cache(*source, stream);

  if (operation == "getattr") {
    request.set(FUSE_GETATTR, node, fuse_getattr_in{}, sizeof(fuse_attr_out));
  } else if (operation == "lookup") {
    request.set_bytes(FUSE_LOOKUP, folder, with_nul("file-42"), sizeof(fuse_entry_out));
  } else if (operation == "lookup-miss") {
    request.set_bytes(FUSE_LOOKUP, folder, with_nul("no-such-file"), sizeof(fuse_entry_out));
  } else if (operation == "read") {
    fuse_read_in in{};
    in.size = kPageBytes;
    request.set(FUSE_READ, node, in, kPageBytes);
  } else {
    return fail(EINVAL, "unknown operation ", operation);
  }
  for (unsigned i = 0; i < count; ++i) {
    if (!request.ask(session, *reactor)) return false;
  }
  return true;
}

}  // namespace
}  // namespace layerboot::bench

int main(int argc, char** argv) {
  unsigned count = 0;
  const std::string_view text = argc == 3 ? argv[2] : "";
  if (std::from_chars(text.data(), text.data() + text.size(), count).ec != std::errc()) {
    std::fputs("usage: hot_path getattr|lookup|lookup-miss|read COUNT\n", stderr);
    return 2;
  }
  const auto good = layerboot::bench::run(argv[1], count);
  if (good && *good) return 0;
  std::fprintf(stderr, "hot_path: %s\n", good ? "a request failed" : good.error().describe().c_str());
  return 1;
}
