// Blobs of the local store that are not what they are called.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/process/store_fixture.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

class StoreRepairTest : public StoreFixture {
 protected:
  void SetUp() override {
    StoreFixture::SetUp();
    if (IsSkipped()) return;
    push("one", "1");
    ASSERT_EQ(layerboot({"pull", "-q", "--tls-verify=false", name("one")}).exit_code, 0);
  }
  /// The largest blob: the shared layer.
  fs::path layer() const {
    fs::path largest;
    for (const auto& blob : fs::directory_iterator(store() / "blobs/sha256")) {
      if (largest.empty() || fs::file_size(blob.path()) > fs::file_size(largest)) largest = blob.path();
    }
    return largest;
  }
  void change_a_byte(const fs::path& path) const {
    std::string bytes = read_text(path);
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
    write_text(path, bytes);
  }
  Outcome verify(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words{"verify", "-q", "--tls-verify=false"};
    words.insert(words.end(), more.begin(), more.end());
    return layerboot(words);
  }
};

TEST_F(StoreRepairTest, PullFindsWhatIsCutWrongOrMissing) {
  const fs::path path = layer();
  const std::string whole = read_text(path);
  write_text(path, whole.substr(0, whole.size() / 2));
  EXPECT_EQ(layerboot({"pull", "-q", "--tls-verify=false", name("one")}).exit_code, 0);
  EXPECT_TRUE(read_text(path) == whole);
  change_a_byte(path);
  const Outcome pulled = layerboot({"pull", "--tls-verify=false", name("one")});
  EXPECT_NE(pulled.err.find("is damaged"), std::string::npos) << pulled.err;
  EXPECT_TRUE(read_text(path) == whole);
  fs::remove(path);
  EXPECT_EQ(layerboot({"pull", "-q", "--tls-verify=false", name("one")}).exit_code, 0);
  EXPECT_TRUE(read_text(path) == whole);
}

TEST_F(StoreRepairTest, ARunFetchesWhatIsCut) {
  const fs::path path = layer();
  const std::string whole = read_text(path);
  write_text(path, whole.substr(0, 100));
  const Outcome never = cat(name("one"), "own");
  EXPECT_NE(never.exit_code, 0);
  const Outcome run =
      layerboot({"run", "--accel", "tcg", "--kernel", "/no/kernel/", "--tls-verify=false", name("one")});
  EXPECT_NE(run.err.find("is not whole"), std::string::npos) << run.err;
  EXPECT_TRUE(read_text(path) == whole);
}

TEST_F(StoreRepairTest, ARunRepairsTheImageThatWasThere) {
  fs::remove(layer());
  push("one", "2");
  const Outcome ran =
      layerboot({"run", "--accel", "tcg", "--kernel", "/no/kernel/", "--tls-verify=false", name("one")});
  EXPECT_NE(ran.err.find("is not whole"), std::string::npos) << ran.err;
  EXPECT_EQ(cat(name("one"), "own").out, "1") << "not what the tag means now";
}

TEST_F(StoreRepairTest, ARunFetchesNoStrangersImageOfTheName) {
  ImageBuilder mine(dir_ / "mine");
  mine.add_gzip_layer(TarBuilder().file("own", "mine").finish()).write();
  const std::string source = str_cat("oci:", mine.layout().string(), ":latest");
  ASSERT_EQ(layerboot({"pull", "-q", source, name("one")}).exit_code, 0);
  const fs::path blob = store() / "blobs/sha256" / sha256_text(mine.layers[0].blob).substr(7);
  ASSERT_TRUE(fs::remove(blob)) << blob;
  const std::size_t given = registry_.blobs_given(0);
  const Outcome ran =
      layerboot({"run", "--accel", "tcg", "--kernel", "/no/kernel/", "--tls-verify=false", name("one")});
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_NE(ran.err.find("is not whole"), std::string::npos) << ran.err;
  EXPECT_NE(ran.err.find("layerboot verify --repair " + name("one")), std::string::npos) << ran.err;
  EXPECT_NE(ran.err.find(source), std::string::npos) << ran.err;
  EXPECT_EQ(registry_.blobs_given(0), given);
  EXPECT_EQ(verify({"--repair", name("one")}).exit_code, 0);
  EXPECT_EQ(cat(name("one"), "own").out, "mine");
}

TEST_F(StoreRepairTest, VerifyNamesWhatIsWrongAndRepairsIt) {
  EXPECT_EQ(verify().exit_code, 0);
  const std::string whole = read_text(layer());
  const fs::path path = layer();
  change_a_byte(path);
  const Outcome found = verify({name("one")});
  EXPECT_EQ(found.exit_code, 1);
  EXPECT_NE(found.out.find(path.filename().string() + " is damaged"), std::string::npos) << found.out;
  // The tag has gone on; the image that is here is fetched all the same.
  push("one", "2");
  const Outcome repaired = verify({"--repair"});
  EXPECT_EQ(repaired.exit_code, 0) << repaired.out << repaired.err;
  EXPECT_TRUE(read_text(path) == whole);
  EXPECT_EQ(cat(name("one"), "own").out, "1");
}

TEST_F(StoreRepairTest, OneRepairIsEnoughForAManifestAndALayer) {
  const fs::path path = layer();
  const std::string whole = read_text(path);
  fs::path manifest;
  for (const auto& blob : fs::directory_iterator(store() / "blobs/sha256")) {
    if (read_text(blob.path()).find("\"layers\"") != std::string::npos) manifest = blob.path();
  }
  change_a_byte(path);
  write_text(manifest, "{");
  const Outcome repaired = verify({"--repair"});
  EXPECT_EQ(repaired.exit_code, 0) << repaired.err;
  EXPECT_TRUE(read_text(path) == whole);
  EXPECT_EQ(verify().exit_code, 0);
}

TEST_F(StoreRepairTest, AnEntryThatCannotBeReadIsNotAsItShouldBe) {
  ImageBuilder odd(dir_ / "odd");
  odd.config_type = "application/vnd.cncf.helm.config.v1+json";
  odd.add_gzip_layer(TarBuilder().file("f", "x").finish()).write();
  fs::copy(odd.layout() / "blobs", store() / "blobs",
           fs::copy_options::recursive | fs::copy_options::skip_existing);
  auto index = nlohmann::json::parse(read_text(store() / "index.json"));
  const auto add = [&](nlohmann::json descriptor, const char* name) {
    if (name != nullptr) descriptor["annotations"]["org.opencontainers.image.ref.name"] = name;
    index["manifests"].push_back(descriptor);
  };
  const nlohmann::json good = index["manifests"][0];
  add(nlohmann::json::parse(odd.last_descriptor), "chart:1");
  write_text(store() / "index.json", index.dump());
  const Outcome artifact = verify();
  EXPECT_EQ(artifact.exit_code, 0) << "its blobs are what they are called: " << artifact.out;
  EXPECT_NE(artifact.out.find("as they should be; can't be run: its manifest: its config is of type"),
            std::string::npos)
      << artifact.out;
  add({{"mediaType", good["mediaType"]}, {"digest", "sha256:zz"}, {"size", 1}}, "baddigest:1");
  add({{"mediaType", good["mediaType"]}, {"digest", good["digest"]}}, "nosize:1");
  add({{"a", 1}}, nullptr);
  write_text(store() / "index.json", index.dump());
  const Outcome found = verify({"--repair"});
  EXPECT_EQ(found.exit_code, 1);
  for (const char* const line :
       {"baddigest:1: can't be run: its digest is none; layerboot rmi baddigest:1 forgets it\n",
        "nosize:1: can't be run: its entry in the index: \"size\" is missing or no size; layerboot rmi "
        "nosize:1 "
        "forgets it\n",
        "@4: can't be run: its digest is none; layerboot rmi @4 forgets it\n"})
    EXPECT_NE(found.out.find(line), std::string::npos) << found.out;
  const Outcome gc = layerboot({"gc"});
  EXPECT_EQ(gc.exit_code, 0);
  EXPECT_NE(
      gc.err.find("what image @4 needs can't be told, as its digest is none; layerboot rmi @4 forgets it\n"),
      std::string::npos)
      << gc.err;
  EXPECT_EQ(gc.err.find("makes it whole"), std::string::npos) << gc.err;
}

TEST_F(StoreRepairTest, WhatCannotBeFetchedStaysAsItIs) {
  const fs::path path = layer();
  change_a_byte(path);
  const std::string damaged = read_text(path);
  // Plain http is refused without --tls-verify=false.
  const Outcome repaired = layerboot({"verify", "-q", "--repair"});
  EXPECT_EQ(repaired.exit_code, 1);
  EXPECT_NE(repaired.err.find("cannot fetch"), std::string::npos) << repaired.err;
  EXPECT_TRUE(read_text(path) == damaged) << "something may still be had from it";
}

TEST_F(StoreRepairTest, ADamagedManifestComesAgain) {
  fs::path manifest;
  for (const auto& blob : fs::directory_iterator(store() / "blobs/sha256")) {
    if (read_text(blob.path()).find("\"layers\"") != std::string::npos) manifest = blob.path();
  }
  const std::string whole = read_text(manifest);
  write_text(manifest, whole.substr(0, whole.size() / 2));
  const Outcome listed = layerboot({"images"});
  EXPECT_NE(listed.out.find("its manifest is damaged"), std::string::npos) << listed.out;
  EXPECT_EQ(layerboot({"gc"}).exit_code, 0);
  EXPECT_EQ(blob_count(), 4U) << "what it needs can't be told";
  EXPECT_EQ(layerboot({"pull", "-q", "--tls-verify=false", name("one")}).exit_code, 0);
  EXPECT_TRUE(read_text(manifest) == whole);
  EXPECT_EQ(cat(name("one"), "own").out, "1");
}

}  // namespace
}  // namespace layerboot::test
