#include "bench/growth_image.h"

#include <algorithm>

#include "oci-mount/base/str_cat.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"

namespace layerboot::bench {

void make_growth_image(const std::filesystem::path& layout, GrowthShape shape) {
  test::ImageBuilder image(layout);
  const unsigned directories = std::max(1U, shape.files / kGrowthFilesPerDirectory / shape.layers);
  for (unsigned layer = 0; layer < shape.layers; ++layer) {
    test::TarBuilder tar;
    for (unsigned i = 0; i < directories; ++i) {
      const std::string directory = str_cat("layer-", layer, "-directory-", i, "/");
      tar.directory(directory);
      for (unsigned file = 0; file < kGrowthFilesPerDirectory; ++file)
        tar.file(str_cat(directory, "an-ordinary-name-", file, ".conf"), "");
    }
    image.add_gzip_layer(tar.finish());
  }
  image.write();
}

}  // namespace layerboot::bench
