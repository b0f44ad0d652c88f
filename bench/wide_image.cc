#include "bench/wide_image.h"

#include "oci-mount/base/str_cat.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"

namespace layerboot::bench {

namespace {

constexpr unsigned kFilesPerLayer = kWideFiles / kWideLayers + 1;
constexpr unsigned kFilesPerDirectory = 50;
constexpr unsigned kReplacedPerLayer = 100;
constexpr unsigned kHiddenPerLayer = 10;
constexpr std::size_t kMaxFileBytes = 4000;

std::string directory_of(unsigned layer, unsigned file) {
  return str_cat("usr/share/package-", layer, "/part-", file / kFilesPerDirectory);
}
std::string file_name(unsigned layer, unsigned file) {
  return str_cat(directory_of(layer, file), "/file-", file, ".txt");
}

std::string layer_tar(unsigned layer, const std::string& text) {
  test::TarBuilder tar;
  tar.directory("usr/").directory("usr/share/").directory(str_cat("usr/share/package-", layer, "/"));
  for (unsigned file = 0; file < kFilesPerLayer; ++file) {
    if (file % kFilesPerDirectory == 0) tar.directory(directory_of(layer, file) + "/");
    const std::size_t size = (layer * 7919U + file * 104729U) % kMaxFileBytes;
    tar.file(file_name(layer, file), text.substr((file * 31U) % (text.size() - kMaxFileBytes), size));
  }
  for (unsigned file = 0; layer > 0 && file < kReplacedPerLayer; ++file)
    tar.file(file_name(layer - 1, file), str_cat("replaced by layer ", layer));
  for (unsigned file = 0; layer > 0 && file < kHiddenPerLayer; ++file)
    tar.whiteout(file_name(layer - 1, kReplacedPerLayer + file));
  return tar.finish();
}

}  // namespace

void make_wide_image(const std::filesystem::path& layout) {
  const std::string text = test::sample_bytes(1'000'000, 1);
  test::ImageBuilder image(layout);
  for (unsigned layer = 0; layer < kWideLayers; ++layer) image.add_gzip_layer(layer_tar(layer, text));
  image.write("wide");
}

}  // namespace layerboot::bench
