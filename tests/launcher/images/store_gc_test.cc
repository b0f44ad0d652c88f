#include "launcher/images/store_gc.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "launcher/cli/store_commands.h"
#include "launcher/images/store_index.h"
#include "oci-mount/base/str_cat.h"
#include "oci-mount/layer/layer.h"
#include "oci-mount/store/image.h"
#include "oci-mount/store/manifest_choice.h"
#include "oci-mount/tree/tree_builder.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::launcher {
namespace {

namespace fs = std::filesystem;
using test::ImageBuilder;
using test::TarBuilder;

std::vector<std::string> names_of(const std::vector<IncompleteImage>& images) {
  std::vector<std::string> names;
  for (const IncompleteImage& image : images) names.push_back(image.name);
  return names;
}

class StoreGcTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(dirs_.index());
    ImageBuilder image(dirs_.store());
    image.add_gzip_layer(TarBuilder().file("shared", "s").finish());
    image.add_gzip_layer(TarBuilder().file("own", "1").finish()).write("one:1");
    image.layers.pop_back();
    image.add_gzip_layer(TarBuilder().file("own", "2").finish()).write("two:2");
  }
  /// Indexes an image and its tree; gives it, with its lease.
  store::Image use(const std::string& reference, const std::vector<fs::path>& add_layers = {}) {
    auto image = store::open_image(reference, dirs_);
    EXPECT_TRUE(image) << image.error().text;
    const auto layers = layer::open_layers(*image, add_layers, {.index_dir = dirs_.index()});
    EXPECT_TRUE(layers) << layers.error().text;
    EXPECT_TRUE(tree::open_tree(*layers, dirs_.index()));
    return std::move(*image);
  }
  GcReport collect() {
    auto report = collect_garbage(dirs_);
    EXPECT_TRUE(report) << report.error().text;
    return report.value_or(GcReport{});
  }
  std::size_t count(const fs::path& directory, std::string_view begin = "", std::string_view end = "") const {
    std::size_t found = 0;
    for (const auto& entry : fs::directory_iterator(directory)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with(begin) && name.ends_with(end)) ++found;
    }
    return found;
  }
  /// Puts descriptors, each with a comma behind it, before those that index.json has.
  void write_index_with(std::string_view descriptors) {
    constexpr std::string_view kList = R"("manifests":[)";
    std::string text = test::read_text(dirs_.store() / "index.json");
    const auto at = text.find(kList);
    ASSERT_NE(at, std::string::npos) << text;
    test::write_text(dirs_.store() / "index.json", text.insert(at + kList.size(), descriptors));
  }
  std::size_t blob_count() const { return count(dirs_.store() / "blobs/sha256"); }

  test::TempDir dir_;
  StateDirs dirs_{dir_ / "data", dir_ / "cache", dir_ / "run"};
};

TEST_F(StoreGcTest, WhatIsReachableStays) {
  use("one:1");
  use("two:2");
  EXPECT_EQ(collect().blobs, 0U);
  EXPECT_EQ(blob_count(), 7U);
  EXPECT_EQ(count(dirs_.index()), 5U) << "three layers, two trees";
}

TEST_F(StoreGcTest, ForgottenImagesGoWithTheirIndexesAndTrees) {
  use("one:1");
  use("two:2");
  ASSERT_TRUE(forget_images(dirs_.store(), {"two:2"}));
  const GcReport report = collect();
  EXPECT_EQ(report.blobs, 3U);
  EXPECT_EQ(report.indexes, 2U);
  EXPECT_GT(report.freed_bytes, 0U);
  EXPECT_EQ(blob_count(), 4U);
  EXPECT_EQ(count(dirs_.index(), "", ".lidx"), 2U);
  EXPECT_EQ(count(dirs_.index(), "", ".tree"), 1U);
}

TEST_F(StoreGcTest, NothingGoesWhileADocumentIsDamaged) {
  ASSERT_TRUE(forget_images(dirs_.store(), {"two:2"}));
  const auto entries = read_entries(dirs_.store());
  ASSERT_TRUE(entries);
  const auto manifest = blob_path(dirs_.store(), *store::Digest::parse(entries->front().digest));
  const std::string whole = test::read_text(manifest);
  test::write_text(manifest, whole.substr(0, whole.size() / 2));
  const GcReport kept = collect();
  EXPECT_EQ(kept.blobs, 0U);
  EXPECT_EQ(names_of(kept.doubtful), std::vector<std::string>{"one:1"});
  test::write_text(manifest, whole);
  EXPECT_EQ(collect().blobs, 3U);
}

TEST_F(StoreGcTest, ManyNamesGoByOneDigest) {
  ImageBuilder image(dirs_.store());
  image.add_gzip_layer(TarBuilder().file("f", "x").finish());
  image.write("a:1");
  image.write("b:1");
  const std::string digest = read_entries(dirs_.store())->back().digest;
  const auto refused = remove_images(dirs_, {digest.substr(7, 12)}, false);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().text.find("a:1, b:1"), std::string::npos) << refused.error().text;
  EXPECT_TRUE(remove_images(dirs_, {digest}, true));
  EXPECT_TRUE(read_entries(dirs_.store())->empty());
}

TEST_F(StoreGcTest, ATagIsOneMoreName) {
  ASSERT_TRUE(tag_image(dirs_, "one:1", "mine"));
  EXPECT_TRUE(store::open_image("mine:latest", dirs_));
  EXPECT_TRUE(remove_images(dirs_, {"one:1"}, false));
  EXPECT_EQ(collect().blobs, 0U);
  const auto missing = tag_image(dirs_, "tow:2", "x");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ENOENT);
  EXPECT_FALSE(tag_image(dirs_, "two:2", "Not a name"));
}

TEST_F(StoreGcTest, UnpackedArchivesGoUnlessAVmOrAReaderNeedsThem) {
  const std::string layer = TarBuilder().file("f", "x").finish();
  const auto archive = [&](const char* name, std::string_view more) {
    const std::string config = str_cat(R"({"architecture":")", store::host_architecture(),
                                       R"(","os":"linux","rootfs":{"type":"layers","diff_ids":[")",
                                       test::sha256_text(layer), "\"]}}");
    test::write_text(dir_ / name, test::gzip(TarBuilder()
                                                 .file("c", config)
                                                 .file("l", layer)
                                                 .file("more", std::string(more))
                                                 .file("manifest.json",
                                                       R"([{"Config":"c","RepoTags":null,"Layers":["l"]}])")
                                                 .finish()));
    return str_cat("docker-archive:", (dir_ / name).string());
  };
  const std::string of_vm = archive("vm.tar.gz", "1");
  use(of_vm);
  use(archive("nobody.tar.gz", "2"));
  std::optional<store::Image> read = use(archive("read.tar.gz", "3"));
  fs::create_directories(dirs_.vms() / "one");
  test::write_text(dirs_.vms() / "one" / "config.json",
                   str_cat(R"({"version":1,"name":"one","image":")", of_vm,
                           R"(","quota_bytes":1,"machine_id":"00000000000040008000000000000000"})"));
  ASSERT_EQ(count(dirs_.unpacked()), 3U);
  EXPECT_EQ(collect().archives, 1U);
  EXPECT_EQ(count(dirs_.unpacked()), 2U);
  read.reset();
  EXPECT_EQ(collect().archives, 1U);
  EXPECT_EQ(count(dirs_.unpacked()), 1U);
  // Cleaning up unpacks nothing.
  fs::remove_all(dirs_.unpacked());
  EXPECT_EQ(collect().archives, 0U);
  EXPECT_FALSE(fs::exists(dirs_.unpacked()));
}

TEST_F(StoreGcTest, AnImageThatAProcessReadsStays) {
  std::optional<store::Image> image = use("two:2");
  const auto refused = remove_images(dirs_, {"two:2"}, false);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EBUSY);
  EXPECT_NE(refused.error().text.find("is being read by a process"), std::string::npos)
      << refused.error().text;
  // Another tool takes it out of index.json all the same.
  ASSERT_TRUE(forget_images(dirs_.store(), {"two:2"}));
  EXPECT_EQ(collect().blobs, 0U);
  EXPECT_EQ(blob_count(), 7U);
  EXPECT_EQ(count(dirs_.index(), "", ".lidx"), 2U);
  image.reset();
  EXPECT_EQ(collect().blobs, 3U);
}

TEST_F(StoreGcTest, ASecondNameOfOneImageMayGo) {
  ImageBuilder image(dirs_.store());
  image.add_gzip_layer(TarBuilder().file("f", "x").finish());
  image.write("a:1");
  image.write("b:1");
  const auto held = use("a:1");
  EXPECT_TRUE(remove_images(dirs_, {"b:1"}, false));
  EXPECT_FALSE(remove_images(dirs_, {"a:1"}, false));
}

TEST_F(StoreGcTest, IndexesOfDirectoriesAndFilesThatAreGone) {
  fs::create_directories(dir_ / "root");
  test::write_text(dir_ / "root/f", "x");
  test::write_text(dir_ / "added.tar", TarBuilder().file("a", "A").finish());
  use(str_cat("dir:", (dir_ / "root").string()), {dir_ / "added.tar"});
  EXPECT_EQ(collect().indexes, 0U);
  EXPECT_EQ(count(dirs_.index(), "dir-"), 1U);
  EXPECT_EQ(count(dirs_.index(), "file-"), 1U);
  fs::remove_all(dir_ / "root");
  EXPECT_EQ(collect().indexes, 2U) << "the directory's, and the tree";
  EXPECT_EQ(count(dirs_.index(), "dir-"), 0U);
  EXPECT_EQ(count(dirs_.index(), "file-"), 1U);
  test::write_text(dir_ / "added.tar", TarBuilder().file("other", "name").finish());
  EXPECT_EQ(collect().indexes, 1U) << "it is another file now";
}

TEST_F(StoreGcTest, WhatOnlyAgeCanTellGoesByAge) {
  fs::create_directories(dir_ / "root");
  use(str_cat("dir:", (dir_ / "root").string()));
  for (const auto& file : fs::directory_iterator(dirs_.index()))
    fs::last_write_time(file, fs::file_time_type::clock::now() - std::chrono::hours(24 * 8));
  EXPECT_EQ(collect().indexes, 2U);
}

TEST_F(StoreGcTest, WhatAKilledVerifyLeft) {
  const auto old = dirs_.index() / ".verify-aaaaaa";
  const auto young = dirs_.index() / ".verify-bbbbbb";
  for (const auto& directory : {old, young}) {
    fs::create_directory(directory);
    test::write_text(directory / "x.lidx", "index");
  }
  fs::last_write_time(old, fs::file_time_type::clock::now() - std::chrono::hours(24 * 8));
  EXPECT_EQ(collect().indexes, 1U);
  EXPECT_FALSE(fs::exists(old));
  EXPECT_TRUE(fs::exists(young / "x.lidx")) << "somebody is at it";
}

TEST_F(StoreGcTest, DamagedIndexesAndRecutFilesOfForgottenLayers) {
  use("one:1");
  test::write_text(dirs_.index() / "dir-00000000000000000000000000000000.lidx", "no index");
  test::write_text(dirs_.index() / "00000000000000000000000000000000.tree", "no tree");
  const std::string digest = std::string("sha256-") + std::string(64, 'a');
  test::write_text(dirs_.index() / (digest + ".lidx"), "");
  test::write_text(dirs_.index() / (digest + ".zst"), "");
  test::write_text(dirs_.index() / "somebody's", "");
  EXPECT_EQ(collect().indexes, 4U);
  EXPECT_EQ(count(dirs_.index()), 4U) << "two layers, a tree, and what is not ours";
}

TEST_F(StoreGcTest, TheImagesOfVmsAreReadFromTheirRecords) {
  fs::create_directories(dirs_.vms() / "web");
  fs::create_directories(dirs_.vms() / "new");  // has no record yet
  test::write_text(dirs_.vms() / "web/config.json",
                   R"({"version":1,"name":"web","image":"two:2","quota_bytes":1,)"
                   R"("machine_id":"00000000000040008000000000000000"})");
  const auto used = images_of_vms(dirs_);
  ASSERT_TRUE(used) << used.error().text;
  ASSERT_EQ(used->size(), 1U);
  EXPECT_EQ(used->at("two:2"), std::vector<std::string>{"web"});
  const auto refused = remove_images(dirs_, {"two:2"}, false);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().text.find("in use by VM web"), std::string::npos) << refused.error().text;
  test::write_text(dirs_.vms() / "web/config.json", "{");
  EXPECT_FALSE(images_of_vms(dirs_)) << "nothing may go while it can't be told what is used";
  EXPECT_FALSE(collect_garbage(dirs_));
}

TEST_F(StoreGcTest, NothingGoesWhileAVmWithFilesHasNoRecord) {
  ASSERT_TRUE(forget_images(dirs_.store(), {"two:2"}));
  for (const char* const kept : {"disk", "upper.raw", "disk.qcow2"}) {
    fs::create_directories(dirs_.vms() / "web" / kept);
    const auto refused = collect_garbage(dirs_);
    ASSERT_FALSE(refused) << kept;
    EXPECT_NE(refused.error().text.find("VM web has no config.json"), std::string::npos)
        << refused.error().text;
    EXPECT_NE(refused.error().text.find("layerboot rm web"), std::string::npos) << refused.error().text;
    EXPECT_FALSE(remove_images(dirs_, {"one:1"}, false)) << "it may be the VM's";
    fs::remove_all(dirs_.vms() / "web");
  }
  EXPECT_EQ(collect().blobs, 3U);
}

TEST_F(StoreGcTest, WhatHasNeitherNameNorDigestGoesByItsNumber) {
  write_index_with(R"({"mediaType":"x/y","size":3},{"digest":"rubbish"},)");
  const auto contents = StoreContents::read(dirs_.store());
  ASSERT_TRUE(contents);
  EXPECT_EQ(names_of(contents->incomplete()), (std::vector<std::string>{"@0", "rubbish"}));
  EXPECT_NE(contents->images().front().problem.find("layerboot rmi @0"), std::string::npos)
      << contents->images().front().problem;
  EXPECT_FALSE(remove_images(dirs_, {"@7"}, false));
  EXPECT_TRUE(remove_images(dirs_, {"@0", "rubbish"}, false));
  EXPECT_EQ(read_entries(dirs_.store())->size(), 2U);
  EXPECT_TRUE(collect().doubtful.empty());
}

TEST_F(StoreGcTest, AnImageWhoseNameIsTakenStaysForItsVms) {
  fs::create_directories(dirs_.vms() / "web");
  const auto of_image = [](const char* image) {
    return str_cat(R"({"version":1,"name":"web","image":")", image,
                   R"(","quota_bytes":1,"machine_id":"00000000000040008000000000000000"})");
  };
  ASSERT_TRUE(tag_image(dirs_, "two:2", "app:1"));
  ASSERT_TRUE(forget_images(dirs_.store(), {"two:2"}));
  test::write_text(dirs_.vms() / "web/config.json", of_image("app:1"));
  ASSERT_TRUE(tag_image(dirs_, "one:1", "app:1"));
  EXPECT_EQ(collect().blobs, 0U) << "what web has written may lie on the one or the other";
  ASSERT_TRUE(forget_images(dirs_.store(), {"docker.io/library/app:1"}));
  EXPECT_EQ(collect().blobs, 0U) << "nor does the other's going change that";
  // Under any other name it is an image as before.
  const auto entries = *read_entries(dirs_.store());
  const auto displaced = std::ranges::find_if(
      entries, [](const IndexEntry& entry) { return entry.name.empty() && !entry.former_name.empty(); });
  ASSERT_NE(displaced, entries.end());
  ASSERT_TRUE(tag_image(dirs_, displaced->digest, "back:2"));
  EXPECT_TRUE(store::open_image("back:2", dirs_));
  ASSERT_TRUE(remove_images(dirs_, {"back:2"}, false));
  test::write_text(dirs_.vms() / "web/config.json", of_image("one:1"));
  EXPECT_EQ(collect().blobs, 3U) << "nobody's any more";
}

TEST_F(StoreGcTest, BlobsThatNoIndexTellsOfStay) {
  fs::remove(dirs_.store() / "index.json");
  const auto refused = collect_garbage(dirs_);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().text.find("index.json"), std::string::npos) << refused.error().text;
  EXPECT_EQ(blob_count(), 7U);
}

/// `depth` indexes around the manifest that `image` wrote last; gives the outermost one's descriptor, named.
std::string nested_index(ImageBuilder& image, int depth, const std::string& name) {
  std::string descriptor = image.last_descriptor;
  for (int i = 0; i < depth; ++i) {
    const std::string document = str_cat(R"({"schemaVersion":2,"manifests":[)", descriptor, "]}");
    descriptor = str_cat(R"({"mediaType":"application/vnd.oci.image.index.v1+json","digest":")",
                         image.add_blob(document), R"(","size":)", document.size(), "}");
  }
  return descriptor.insert(
      descriptor.size() - 1,
      str_cat(R"(,"annotations":{"org.opencontainers.image.ref.name":")", name, R"("})"));
}

TEST_F(StoreGcTest, WhatCanBeOpenedStaysHoweverDeepItLies) {
  for (int depth = 1; depth <= store::kMaxIndexNesting; ++depth) {
    ImageBuilder image(dirs_.store());
    image.add_gzip_layer(TarBuilder().file("own", std::to_string(depth)).finish()).write("made:1");
    const std::string name = str_cat("deep:", depth);
    const std::string descriptor = nested_index(image, depth, name);
    test::write_text(dirs_.store() / "index.json", str_cat(R"({"manifests":[)", descriptor, "]}"));
    ASSERT_TRUE(store::open_image(name, dirs_)) << depth;
    const GcReport report = collect();
    EXPECT_TRUE(report.doubtful.empty()) << depth;
    const auto opened = store::open_image(name, dirs_);
    ASSERT_TRUE(opened) << depth << ": " << opened.error().text;
    for (const auto& layer : opened->layers) EXPECT_TRUE(fs::exists(layer.path)) << depth;
  }
}

TEST_F(StoreGcTest, NothingGoesForWhatLiesTooDeep) {
  ImageBuilder image(dirs_.store());
  image.add_gzip_layer(TarBuilder().file("own", "deep").finish()).write("made:1");
  const std::string descriptor = nested_index(image, store::kMaxIndexNesting + 1, "deep:1");
  test::write_text(dirs_.store() / "index.json", str_cat(R"({"manifests":[)", descriptor, "]}"));
  EXPECT_FALSE(store::open_image("deep:1", dirs_));
  const std::size_t before = blob_count();
  EXPECT_EQ(names_of(collect().doubtful), std::vector<std::string>{"deep:1"});
  EXPECT_EQ(blob_count(), before);
}

TEST_F(StoreGcTest, AManifestThatIsNamedAsABlobBeforeIsReadAllTheSame) {
  ImageBuilder image(dirs_.store());
  image.add_gzip_layer(TarBuilder().file("own", "blob").finish()).write("made:1");
  const std::string odd = str_cat(R"({"manifests":[],"blobs":[)", image.last_descriptor, "]}");
  const std::string index =
      str_cat(R"({"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":")",
              image.add_blob(odd), R"(","size":)", odd.size(), "},", image.last_descriptor, "]}");
  const std::string descriptor = str_cat(
      R"({"mediaType":"application/vnd.oci.image.index.v1+json","digest":")", image.add_blob(index),
      R"(","size":)", index.size(), R"(,"annotations":{"org.opencontainers.image.ref.name":"odd:1"}})");
  test::write_text(dirs_.store() / "index.json", str_cat(R"({"manifests":[)", descriptor, "]}"));
  collect();
  const auto opened = store::open_image("odd:1", dirs_);
  ASSERT_TRUE(opened) << opened.error().text;
  for (const auto& layer : opened->layers) EXPECT_TRUE(fs::exists(layer.path));
}

}  // namespace
}  // namespace layerboot::launcher
