// FUSE requests, in sequence (ask_all()), to a session on a real image with an upper directory.
#include <cstdint>
#include <cstdlib>
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
  ask_all(session, *reactor, {reinterpret_cast<const std::byte*>(data), size});
  const auto usage = test::host_usage(image.upper());
  if (usage.bytes > kQuotaBytes + kSlackBytes || usage.inodes > kQuotaInodes + 1) std::abort();
  return 0;
}
