#include "launcher/cli/written_content.h"

#include <gtest/gtest.h>

#include "launcher/disk/disk_build.h"
#include "launcher/images/store_gc.h"
#include "launcher/images/store_index.h"
#include "oci-mount/base/str_cat.h"
#include "oci-mount/store/image.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::launcher {
namespace {

namespace fs = std::filesystem;

class WrittenContentTest : public testing::Test {
 protected:
  /// Gives the name app:1 to an image of its own; gives its digest.
  std::string give_name(const std::string& content, const std::string& architecture) {
    test::ImageBuilder image(dir_ / ("layout-" + content));
    image.architecture = architecture;
    image.add_gzip_layer(test::TarBuilder().file("f", content).finish()).write("image");
    const auto lock = StoreLock::acquire(dirs_.store());
    EXPECT_TRUE(lock) << lock.error().text;
    fs::create_directories(dirs_.store() / "blobs/sha256");
    for (const auto& blob : fs::directory_iterator(image.layout() / "blobs/sha256"))
      fs::copy(blob.path(), dirs_.store() / "blobs/sha256", fs::copy_options::skip_existing);
    const auto descriptor =
        find_descriptor(image.layout(), [](const IndexEntry& entry) { return entry.name == "image"; });
    IndexEntry entry;
    entry.name = "docker.io/library/app:1";
    const auto put = put_entry(dirs_.store(), *descriptor, entry);
    EXPECT_TRUE(put) << put.error().text;
    return store::text_member(*descriptor, "digest");
  }
  VmRecord made_vm(const std::string& digest) {
    const VmPaths paths(dirs_, "web");
    const auto image = store::open_image("image@" + digest, dirs_);
    fs::create_directories(paths.upper());
    test::write_text(paths.upper() / kUpperIdentityName, image->chain_id.text() + "\n");
    VmRecord record;
    record.name = "web";
    record.image = "app:1";
    record.machine_id = "0123456789abcdef0123456789abcdef";
    test::write_text(paths.config(), record_to_json(record));
    return record;
  }

  test::TempDir dir_;
  StateDirs dirs_{dir_ / "data", dir_ / "cache", dir_ / "run"};
};

TEST_F(WrittenContentTest, AVmGoesOnFromItsImageWhateverTheNameMeansNow) {
  const std::string host(store::host_architecture());
  const std::string first = give_name("first", host);
  VmRecord record = made_vm(first);
  EXPECT_EQ(image_to_go_on_from(dirs_, record), "app:1");
  for (const std::string& architecture : {std::string("s390x"), host}) {
    give_name("later-" + architecture, architecture);
    EXPECT_EQ(image_to_go_on_from(dirs_, record), "image@" + first) << architecture;
  }
  // So it stays when that has become its record.
  record.image = "image@" + first;
  test::write_text(VmPaths(dirs_, "web").config(), record_to_json(record));
  ASSERT_TRUE(collect_garbage(dirs_));
  EXPECT_EQ(image_to_go_on_from(dirs_, record), "image@" + first);
  EXPECT_TRUE(store::open_image("image@" + first, dirs_));
}

TEST_F(WrittenContentTest, SoDoesOneWithItsRootOnADisk) {
  const std::string first = give_name("first", "");
  VmRecord record = made_vm(first);
  record.run.disk_root = true;
  const VmPaths paths(dirs_, "web");
  fs::remove_all(paths.upper());
  EXPECT_EQ(image_to_go_on_from(dirs_, record), "app:1") << "it has no disk yet";
  const auto base = base_disk_path(
      dirs_,
      {.oci_mount = {}, .image = "image@" + first, .added_layers = {}, .size_bytes = 1U << 30U, .what = {}});
  ASSERT_TRUE(base) << base.error().text;
  test::write_text(paths.root_disk_base(), base->string());
  EXPECT_EQ(image_to_go_on_from(dirs_, record), "app:1");
  give_name("later", "");
  EXPECT_EQ(image_to_go_on_from(dirs_, record), "image@" + first);
}

TEST_F(WrittenContentTest, WhereItsImageIsGoneItsRecordCounts) {
  VmRecord record = made_vm(give_name("first", ""));
  test::write_text(VmPaths(dirs_, "web").upper() / kUpperIdentityName, "sha256:none\n");
  EXPECT_EQ(image_to_go_on_from(dirs_, record), "app:1");
  record.image = "oci:/somewhere";
  EXPECT_EQ(image_to_go_on_from(dirs_, record), "oci:/somewhere");
}

}  // namespace
}  // namespace layerboot::launcher
