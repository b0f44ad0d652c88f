#include "launcher/images/store_index.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>

#include <algorithm>

#include "oci-mount/base/files.h"
#include "oci-mount/base/str_cat.h"
#include "oci-mount/store/image.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::launcher {
namespace {

using test::ImageBuilder;
using test::TarBuilder;

class StoreIndexTest : public testing::Test {
 protected:
  /// Two images that share a layer.
  void fill() {
    ImageBuilder image(store());
    image.add_gzip_layer(TarBuilder().file("shared", "s").finish());
    shared_ = test::sha256_text(image.layers[0].blob);
    image.add_gzip_layer(TarBuilder().file("own", "1").finish()).write("docker.io/library/one:latest");
    image.layers.pop_back();
    image.add_gzip_layer(TarBuilder().file("own", "2").finish()).write("two:2");
  }
  std::filesystem::path store() const { return dir_ / "store"; }

  test::TempDir dir_;
  std::string shared_;
};

TEST_F(StoreIndexTest, AnEmptyStoreHoldsNothing) {
  const auto contents = StoreContents::read(store());
  ASSERT_TRUE(contents) << contents.error().text;
  EXPECT_TRUE(contents->images().empty());
  EXPECT_TRUE(contents->reachable().empty());
}

TEST_F(StoreIndexTest, KnowsImagesAndAllTheirBlobs) {
  fill();
  const auto contents = StoreContents::read(store());
  ASSERT_TRUE(contents) << contents.error().text;
  ASSERT_EQ(contents->images().size(), 2U);
  const StoredImage& one = contents->images()[0];
  EXPECT_EQ(one.name, "docker.io/library/one:latest");
  EXPECT_EQ(one.layer_count, 2U);
  EXPECT_EQ(one.blobs.size(), 4U) << "manifest, config, two layers";
  EXPECT_TRUE(std::ranges::binary_search(one.blobs, shared_));
  std::uint64_t sum = 0;
  for (const std::string& blob : one.blobs)
    sum += std::filesystem::file_size(blob_path(store(), *store::Digest::parse(blob)));
  EXPECT_EQ(one.size_bytes, sum);
  EXPECT_EQ(contents->reachable().size(), 7U) << "the shared layer is there once";
  const auto of_manifest = follow_documents(store(), *store::Digest::parse(one.digest)).blobs;
  EXPECT_EQ(std::vector(of_manifest.begin(), of_manifest.end()), one.blobs);
}

TEST_F(StoreIndexTest, ForgetsByNameAndKeepsTheRest) {
  fill();
  EXPECT_EQ(forget_images(store(), {"none"}).value_or(99), 0U);
  EXPECT_EQ(forget_images(store(), {"two:2"}).value_or(99), 1U);
  const auto contents = StoreContents::read(store());
  ASSERT_TRUE(contents) << contents.error().text;
  ASSERT_EQ(contents->images().size(), 1U);
  EXPECT_EQ(contents->images()[0].name, "docker.io/library/one:latest");
  EXPECT_EQ(contents->reachable().size(), 4U);
}

TEST_F(StoreIndexTest, NamesWhatCannotBeRead) {
  fill();
  test::write_text(store() / "index.json", "{");
  const auto broken = StoreContents::read(store());
  ASSERT_FALSE(broken);
  EXPECT_NE(broken.error().text.find("index.json"), std::string::npos) << broken.error().text;
  EXPECT_FALSE(forget_images(store(), {"two:2"}));
  test::write_text(store() / "index.json", R"({"manifests":1})");
  EXPECT_FALSE(forget_images(store(), {"two:2"}));
}

/// The descriptor of a blob, called `name`.
std::string descriptor(const std::string& media_type, const std::string& digest, std::size_t size_bytes,
                       const std::string& name) {
  return str_cat(R"({"mediaType":")", media_type, R"(","digest":")", digest, R"(","size":)", size_bytes,
                 R"(,"annotations":{"org.opencontainers.image.ref.name":")", name, R"("}})");
}

constexpr const char* kManifestType = "application/vnd.oci.image.manifest.v1+json";

TEST_F(StoreIndexTest, WhatIsNoImageIsSaidToBeNoneAndHindersNobody) {
  ImageBuilder image(store());
  image.add_gzip_layer(TarBuilder().file("f", "x").finish()).write("good:1");
  const std::string chart = image.add_blob("chart");
  const std::string chart_config = image.add_blob("{}");
  const std::string artifact = str_cat(
      R"({"schemaVersion":2,"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":")",
      chart_config, R"(","size":2},"layers":[{"mediaType":"application/x","digest":")", chart,
      R"(","size":5}]})");
  image.add_to_index(descriptor(kManifestType, image.add_blob(artifact), artifact.size(), "chart:1"));
  const std::string odd = str_cat(R"({"parts":{"only":")", image.add_blob("part"), R"("}})");
  image.add_to_index(descriptor("application/vnd.example+json", image.add_blob(odd), odd.size(), "odd:1"));
  image.add_to_index(descriptor(kManifestType, "md5:00", 1, "md5:1"));
  image.add_to_index(R"({"mediaType":7,"digest":null})");
  const auto contents = StoreContents::read(store());
  ASSERT_TRUE(contents) << contents.error().text;
  ASSERT_EQ(contents->images().size(), 5U);
  const auto named = [&](std::string_view name) {
    const auto found = std::ranges::find(contents->images(), name, &StoredImage::name);
    return found == contents->images().end() ? StoredImage() : *found;
  };
  EXPECT_EQ(named("good:1").problem, "");
  EXPECT_EQ(named("chart:1").state, ImageState::kUnusable);
  EXPECT_NE(named("chart:1").problem.find("artifact"), std::string::npos) << named("chart:1").problem;
  EXPECT_EQ(named("chart:1").blobs.size(), 3U);
  EXPECT_EQ(named("odd:1").blobs.size(), 2U) << "whatever looks like a digest";
  EXPECT_EQ(named("md5:1").state, ImageState::kUnusable);
  // What has no digest may lead anywhere: nothing may be collected for its sake.
  const auto incomplete = contents->incomplete();
  ASSERT_EQ(incomplete.size(), 2U);
  EXPECT_EQ(incomplete[0].name, "@4");
  EXPECT_EQ(incomplete[0].problem, "its digest is none; layerboot rmi @4 forgets it");
  EXPECT_EQ(incomplete[1].name, "md5:1");
  for (const char* const name : {"chart:1", "odd:1", "md5:1"})
    EXPECT_EQ(forget_images(store(), {name}).value_or(99), 1U) << name;
}

/// Puts an index of these entries into the store's index.json, alone.
void write_image_index(ImageBuilder& image, const std::vector<std::string>& entries,
                       const std::string& name) {
  std::string document = R"({"schemaVersion":2,"manifests":[)";
  for (const std::string& entry : entries) document += str_cat(document.ends_with('[') ? "" : ",", entry);
  document += "]}";
  test::write_text(image.layout() / "index.json",
                   str_cat(R"({"manifests":[)",
                           descriptor("application/vnd.oci.image.index.v1+json", image.add_blob(document),
                                      document.size(), name),
                           "]}"));
}

TEST_F(StoreIndexTest, AnIndexIsJudgedAsItIsOpened) {
  const StateDirs dirs{dir_.path(), dir_ / "cache", dir_ / "run"};
  ImageBuilder image(store());
  const auto made = [&](const std::string& architecture) {
    image.layers.clear();
    image.architecture = architecture;
    image.add_gzip_layer(TarBuilder().file("f", architecture).finish()).write("made:1");
    return image.last_descriptor;
  };
  const auto labelled = [](std::string descriptor, const std::string& architecture) {
    return descriptor.insert(descriptor.size() - 1,
                             str_cat(R"(,"platform":{"os":"linux","architecture":")", architecture, R"("})"));
  };
  const auto state = [this] { return StoreContents::read(store())->images().at(0); };
  const std::string host(store::host_architecture());
  const std::string other = made("s390x");
  const std::string ours = made(host);
  write_image_index(image, {other, ours}, "x:1");
  EXPECT_EQ(state().problem, "") << "neither says for what it is";
  EXPECT_EQ(state().platform.architecture, host);
  EXPECT_TRUE(store::open_image("x:1", dirs));
  if (host == "amd64") {
    write_image_index(image, {labelled(made("386"), "386")}, "x:1");
    EXPECT_EQ(state().problem, "");
    EXPECT_EQ(state().state, ImageState::kWhole);
    EXPECT_TRUE(store::open_image("x:1", dirs));
  }
  write_image_index(image, {labelled(other, "s390x")}, "x:1");
  EXPECT_EQ(state().state, ImageState::kOtherPlatform);
  EXPECT_EQ(state().problem, "");
  EXPECT_EQ(state().platform.architecture, "s390x");
  EXPECT_EQ(state().layer_count, 1U);
}

TEST_F(StoreIndexTest, AnEntryIsJudgedAsItIsOpened) {
  const StateDirs dirs{dir_.path(), dir_ / "cache", dir_ / "run"};
  ImageBuilder image(store());
  image.add_gzip_layer(TarBuilder().file("f", "x").finish()).write("x:1");
  const std::string whole = test::read_text(store() / "index.json");
  const auto without = [&](std::string_view part, std::string_view instead) {
    std::string text = whole;
    text.replace(text.find(part), part.size(), instead);
    test::write_text(store() / "index.json", text);
    return StoreContents::read(store())->images().at(0);
  };
  const StoredImage untyped = without(R"("mediaType":"application/vnd.oci.image.manifest.v1+json",)", "");
  EXPECT_EQ(untyped.state, ImageState::kUnusable);
  EXPECT_NE(untyped.problem.find("no mediaType"), std::string::npos) << untyped.problem;
  EXPECT_EQ(untyped.blobs.size(), 3U) << "it stays";
  const auto refused = store::open_image("x:1", dirs);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().text.find(untyped.problem), std::string::npos) << refused.error().text;
  EXPECT_NE(without(R"("size":)", R"("size":1)").problem, "");
  EXPECT_FALSE(store::open_image("x:1", dirs));
}

TEST_F(StoreIndexTest, WhatIsCutIsIncomplete) {
  ImageBuilder image(store());
  image.add_gzip_layer(TarBuilder().file("f", "x").finish()).write("cut:1");
  const auto state = [this] { return StoreContents::read(store())->images().at(0); };
  EXPECT_EQ(state().problem, "");
  const auto layer = image.blob_path(test::sha256_text(image.layers[0].blob));
  test::write_text(layer, image.layers[0].blob.substr(1));
  EXPECT_EQ(state().state, ImageState::kIncomplete);
  EXPECT_TRUE(state().complete) << "what it needs is known";
  std::filesystem::remove(layer);
  EXPECT_NE(state().problem.find("is missing"), std::string::npos) << state().problem;
  const auto manifest = image.blob_path(state().digest);
  test::write_text(manifest, test::read_text(manifest).substr(0, 100));
  EXPECT_NE(state().problem.find("manifest is damaged"), std::string::npos) << state().problem;
  EXPECT_FALSE(state().complete);
  std::filesystem::remove(manifest);
  EXPECT_FALSE(state().complete);
}

TEST_F(StoreIndexTest, AnEntryTakesTheNameOfAnother) {
  fill();
  const auto one = [](const IndexEntry& entry) { return entry.name == "docker.io/library/one:latest"; };
  const auto found = find_descriptor(store(), one);
  ASSERT_TRUE(found) << found.error().text;
  const std::string digest = (*found)["digest"];
  ASSERT_TRUE(put_entry(store(), *found,
                        {.name = "two:2",
                         .digest = {},
                         .media_type = {},
                         .registry_digest = "sha256:r",
                         .source = "docker://x"}));
  const auto entries = read_entries(store());
  ASSERT_TRUE(entries);
  ASSERT_EQ(entries->size(), 3U);
  const auto displaced = std::ranges::find(*entries, "two:2", &IndexEntry::former_name);
  ASSERT_NE(displaced, entries->end()) << "a VM may have been made from it";
  EXPECT_EQ(displaced->name, "");
  EXPECT_NE(displaced->digest, digest);
  EXPECT_EQ(entries->back().name, "two:2");
  EXPECT_EQ(entries->back().digest, digest);
  EXPECT_EQ(entries->back().registry_digest, "sha256:r");
  EXPECT_EQ(entries->back().source, "docker://x");
  EXPECT_TRUE(find_descriptor(store(), one)) << "it keeps its own";
}

TEST_F(StoreIndexTest, AnEntryMakesTheLayout) {
  std::filesystem::create_directories(dir_ / "new");
  IndexEntry entry;
  entry.name = "a:1";
  ASSERT_TRUE(put_entry(dir_ / "new", {{"digest", "sha256:x"}}, entry));
  EXPECT_EQ(test::read_text(dir_ / "new/oci-layout"), R"({"imageLayoutVersion":"1.0.0"})");
  EXPECT_EQ(read_entries(dir_ / "new")->size(), 1U);
}

TEST_F(StoreIndexTest, ImagesWithoutANameStandSideBySide) {
  std::filesystem::create_directories(dir_ / "new");
  const IndexEntry nameless;
  for (const char* digest : {"sha256:x", "sha256:y", "sha256:x"})
    ASSERT_TRUE(put_entry(dir_ / "new", {{"digest", digest}}, nameless));
  const auto entries = read_entries(dir_ / "new");
  ASSERT_TRUE(entries);
  ASSERT_EQ(entries->size(), 2U);
  for (const IndexEntry& entry : *entries) {
    EXPECT_EQ(entry.name, "");
    EXPECT_EQ(entry.former_name, "");
  }
}

TEST_F(StoreIndexTest, TheLockIsOneHoldersAtATime) {
  const auto try_lock = [this] {
    const auto fd = open_path(store() / "lock", O_RDWR);
    return fd && ::flock(fd->get(), LOCK_EX | LOCK_NB) == 0;
  };
  {
    const auto lock = StoreLock::acquire(store());
    ASSERT_TRUE(lock) << lock.error().text;
    EXPECT_FALSE(try_lock());
  }
  EXPECT_TRUE(try_lock());
}

}  // namespace
}  // namespace layerboot::launcher
