// ImageFixture: a small image of two layers and file systems over it.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "oci-mount/vfs/image_fs.h"
#include "tests/oci-mount/vfs/fs_driver.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {

class ImageFixture {
 public:
  explicit ImageFixture(const std::vector<std::string>& tars) {
    ImageBuilder builder(directory / "image");
    for (const auto& tar : tars) builder.add_gzip_layer(tar);
    builder.write();
    open_source();
  }

  void open_source() {
    fs.reset();
    source.reset();
    vfs::ImageSourceOptions options;
    options.index_dir = directory / "index";
    options.show_progress = false;
    auto opened = vfs::open_image_source("oci:" + (directory / "image").string(), options);
    ASSERT_TRUE(opened) << opened.error().describe();
    source = std::move(*opened);
  }

  /// Opens, or opens anew as after a restart, the file system with the upper directory.
  void open_writable(std::uint64_t quota_bytes = 1 << 30, std::uint64_t quota_inodes = 0) {
    driver.reset();
    fs.reset();
    vfs::UpperOptions options;
    options.directory = upper;
    options.quota_bytes = quota_bytes;
    options.quota_inodes = quota_inodes;
    options.record_owners = record_owners;
    auto opened = vfs::make_writable_fs(*source, options);
    ASSERT_TRUE(opened) << opened.error().describe();
    fs = std::move(*opened);
    driver = std::make_unique<FsDriver>(*fs);
  }

  TempDir directory;
  std::filesystem::path upper = directory / "vm";
  bool record_owners = false;
  std::unique_ptr<vfs::ImageSource> source;
  std::unique_ptr<vfs::FileSystem> fs;
  std::unique_ptr<FsDriver> driver;
};

#define SKIP_UNLESS_ROOT() \
  if (::geteuid() != 0) GTEST_SKIP() << "looks at what only root's upper has on the host"

}  // namespace layerboot::test
