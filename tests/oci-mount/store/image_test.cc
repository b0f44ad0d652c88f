#include "oci-mount/store/image.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "oci-mount/base/bytes.h"
#include "oci-mount/store/manifest_choice.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::store {
namespace {

using test::ImageBuilder;
using test::TarBuilder;

class ImageTest : public testing::Test {
 protected:
  [[nodiscard]] std::string reference(std::string_view tag = "") const {
    return str_cat("oci:", layout().string(), tag.empty() ? "" : ":", tag);
  }
  [[nodiscard]] std::filesystem::path layout() const { return dir_ / "layout"; }
  [[nodiscard]] Result<Image> open(std::string_view tag = "") const {
    return open_image(reference(tag), dirs_);
  }
  void expect_error(const Result<Image>& image, std::initializer_list<std::string_view> parts) const {
    ASSERT_FALSE(image);
    for (const auto part : parts)
      EXPECT_NE(image.error().text.find(part), std::string::npos) << image.error().text;
    EXPECT_EQ(image.error().text.find('\n'), std::string::npos) << "one line: " << image.error().text;
  }
  test::TempDir dir_;
  StateDirs dirs_{dir_ / "data", dir_ / "cache", dir_ / "run"};
  const std::string tar_a_ = TarBuilder().file("a", "A").finish();
  const std::string tar_b_ = TarBuilder().file("b", "B").finish();
};

TEST_F(ImageTest, OpensTheOnlyImage) {
  ImageBuilder builder(layout());
  builder.add_gzip_layer(tar_a_).add_plain_layer(tar_b_).write("some-tag");
  const auto image = open();
  ASSERT_TRUE(image) << image.error().text;
  ASSERT_EQ(image->layers.size(), 2U);
  EXPECT_EQ(image->layers[0].compression, Compression::kGzip);
  EXPECT_EQ(image->layers[0].diff_id.text(), test::sha256_text(tar_a_));
  EXPECT_EQ(image->layers[0].size_bytes, builder.layers[0].blob.size());
  EXPECT_EQ(test::read_text(image->layers[0].path), builder.layers[0].blob);
  EXPECT_EQ(image->layers[1].compression, Compression::kNone);
  EXPECT_EQ(image->config.cmd, std::vector<std::string>{"/bin/sh"});
  EXPECT_EQ(image->chain_id.text(),
            test::sha256_text(test::sha256_text(tar_a_) + " " + test::sha256_text(tar_b_)));
}

TEST_F(ImageTest, ChoosesByTag) {
  ImageBuilder(layout()).add_gzip_layer(tar_a_).write("one");
  ImageBuilder second(layout());
  second.add_gzip_layer(tar_a_).write("one");
  second.layers.clear();
  second.add_gzip_layer(tar_b_).write("latest");
  EXPECT_EQ(open("one")->layers[0].diff_id.text(), test::sha256_text(tar_a_));
  EXPECT_EQ(open()->layers[0].diff_id.text(), test::sha256_text(tar_b_)) << "of several, latest";
  expect_error(open("two"), {reference("two"), "it holds: latest, one"});
}

TEST_F(ImageTest, AFileIsNoLayout) {
  test::write_text(layout(), "x");
  expect_error(open("v1"), {"is a file, no directory", "oci-archive:" + layout().string(),
                            "docker-archive:" + layout().string()});
}

/// An index within the layout, of images made for the purpose.
class IndexTest : public ImageTest {
 protected:
  /// A manifest's descriptor, with `more` (JSON members, each with a comma before it); its layer has a file
  /// `name`.
  std::string image(std::string_view name, std::string_view more = "", std::string_view architecture = "") {
    builder_.layers.clear();
    builder_.architecture = architecture.empty() ? host_architecture() : architecture;
    builder_.add_gzip_layer(tar_of(name)).write(str_cat("made-", name));
    std::string descriptor = builder_.last_descriptor;
    return descriptor.insert(descriptor.size() - 1, more);
  }
  static std::string platform(std::string_view architecture, std::string_view more = "",
                              std::string_view os = "linux") {
    return str_cat(R"(,"platform":{"os":")", os, R"(","architecture":")", architecture, R"(")", more, "}");
  }
  std::string nested(const std::vector<std::string>& entries, std::string_view more = "") {
    const std::string document = list(entries);
    return str_cat(R"({"mediaType":"application/vnd.oci.image.index.v1+json","digest":")",
                   builder_.add_blob(document), R"(","size":)", document.size(), more, "}");
  }
  static std::string list(const std::vector<std::string>& entries) {
    std::string text = R"({"schemaVersion":2,"manifests":[)";
    for (const std::string& entry : entries) text += str_cat(text.ends_with('[') ? "" : ",", entry);
    return text + "]}";
  }
  /// The name of the image that is chosen, or the error.
  std::string chosen(const std::vector<std::string>& entries) {
    test::write_text(layout() / "index.json", list({nested(entries)}));
    return name_of(open());
  }
  std::string name_of(const Result<Image>& image) const {
    if (!image) return image.error().text;
    for (const std::string name : {"a", "b", "c"}) {
      if (image->layers.at(0).diff_id.text() == test::sha256_text(tar_of(name))) return name;
    }
    return "?";
  }
  static std::string tar_of(std::string_view name) {
    return TarBuilder().file(std::string(name), "").finish();
  }
  static std::string host(std::string_view more = "") { return platform(host_architecture(), more); }

  ImageBuilder builder_{layout()};
};

TEST_F(IndexTest, TheFirstThatMatches) {
  EXPECT_EQ(chosen({image("a", host()), image("b", host())}), "a");
  EXPECT_EQ(chosen({image("a", platform("s390x")), image("b", host()), image("c", host())}), "b");
  test::write_text(layout() / "index.json", list({image("a", host()), image("b", host())}));
  EXPECT_EQ(name_of(open()), "a") << "without names, one image for several platforms";
  const std::string named = R"(,"annotations":{"org.opencontainers.image.ref.name":"x"})";
  test::write_text(layout() / "index.json",
                   list({image("a", platform("s390x") + named), image("b", named), image("c", named)}));
  EXPECT_EQ(name_of(open("x")), "b");
}

TEST_F(IndexTest, WhatNamesThePlatformGoesBeforeWhatDoesNot) {
  EXPECT_EQ(chosen({image("a"), image("b", host())}), "b");
  EXPECT_EQ(chosen({image("a", platform("s390x")), image("b")}), "b");
  EXPECT_EQ(chosen({image("a", "", "s390x"), image("b")}), "b") << "their configs say for what they are";
  EXPECT_EQ(chosen({image("a", R"(,"platform":null)"), image("b", platform("s390x"))}), "a");
  const std::string none =
      chosen({image("a", platform("s390x")), image("b", platform("arm", R"(,"variant":"v7")"))});
  EXPECT_NE(none.find("has nothing for linux/"), std::string::npos) << none;
  EXPECT_NE(none.find("linux/arm/v7 linux/s390x"), std::string::npos) << none;
}

TEST_F(IndexTest, AnotherPlatformIsTakenWhereItIsAskedFor) {
  const auto open_for = [&](std::string_view architecture) {
    return open_image(str_cat("oci:", layout().string()), dirs_,
                      {.platform = {"linux", std::string(architecture), {}}});
  };
  test::write_text(layout() / "index.json",
                   list({nested({image("a", host()), image("b", platform("s390x"), "s390x")})}));
  EXPECT_EQ(name_of(open()), "a");
  EXPECT_EQ(name_of(open_for("s390x")), "b");
  const std::string none = name_of(open_for("riscv64"));
  EXPECT_NE(none.find("has nothing for linux/riscv64"), std::string::npos) << none;
  EXPECT_NE(none.find("--platform"), std::string::npos) << none;
  test::write_text(layout() / "index.json", list({image("b", "", "s390x")}));
  EXPECT_EQ(name_of(open_for("s390x")), "b");
  const std::string other = name_of(open());
  EXPECT_NE(other.find("is for linux/s390x"), std::string::npos) << other;
  EXPECT_NE(other.find("--platform linux/s390x takes it"), std::string::npos) << other;
}

TEST_F(IndexTest, ArtifactsArePassedOver) {
  EXPECT_EQ(chosen({image("a", R"(,"artifactType":"application/spdx+json")"), image("b")}), "b");
  EXPECT_EQ(chosen({image("a", host() + R"(,"artifactType":"application/spdx+json")"), image("b", host())}),
            "b");
  EXPECT_EQ(chosen({image("a", R"(,"artifactType":"application/vnd.oci.image.config.v1+json")"), image("b")}),
            "a");
  EXPECT_EQ(chosen({image("a", R"(,"annotations":{"vnd.docker.reference.type":"attestation-manifest"})"),
                    image("b")}),
            "b");
  EXPECT_EQ(chosen({image("a", platform("unknown", "", "unknown")), image("b")}), "b");
  builder_.config_type = "application/vnd.example.config";
  const std::string artifact = image("a");
  builder_.config_type = "application/vnd.oci.image.config.v1+json";
  EXPECT_EQ(chosen({artifact, image("b")}), "b") << "its config says so";
  EXPECT_NE(chosen({artifact}).find("an artifact"), std::string::npos);
}

TEST_F(IndexTest, AnArtifactTypeIsAHint) {
  const std::string type = R"(,"artifactType":"application/vnd.example.app")";
  EXPECT_EQ(chosen({image("a", type)}), "a");
  EXPECT_EQ(chosen({image("a", host() + type), image("b", platform("s390x"))}), "a");
  EXPECT_EQ(chosen({image("a", type, "s390x"), image("b", type)}), "b") << "their configs say for what";
  EXPECT_EQ(chosen({image("a", host() + type), image("b")}), "b") << "what names nothing goes before";
  const std::string none = chosen({image("a", platform("s390x") + type), image("b", platform("s390x"))});
  EXPECT_NE(none.find("has nothing for linux/"), std::string::npos) << none;
  builder_.config_type = "application/vnd.oci.empty.v1+json";
  const std::string artifact = image("a", type);
  const std::string only = chosen({artifact, artifact});
  EXPECT_NE(only.find("has no container image in it"), std::string::npos) << only;
  EXPECT_NE(only.find("this is an artifact"), std::string::npos) << only;
  EXPECT_NE(chosen({artifact}).find("this is an artifact"), std::string::npos);
  builder_.config_type = "application/vnd.oci.image.config.v1+json";
  EXPECT_EQ(chosen({artifact, image("b", type)}), "b");
  EXPECT_NE(chosen({artifact, image("c", platform("s390x"))}).find("it has: linux/s390x"), std::string::npos);
  test::write_text(layout() / "index.json", list({artifact, image("b")}));
  EXPECT_EQ(name_of(open_image(str_cat("oci:", layout().string()), dirs_, {.or_other = true})), "b");
}

TEST_F(IndexTest, TheIndexsWordGoesBeforeTheConfigs) {
  const std::string other = host_architecture() == "amd64" ? "arm64" : "amd64";
  test::write_text(layout() / "index.json",
                   list({nested({image("a", host(), other), image("b", platform("s390x"))})}));
  testing::internal::CaptureStderr();
  const auto mislabelled = open();
  EXPECT_TRUE(open());
  const std::string said = testing::internal::GetCapturedStderr();
  ASSERT_TRUE(mislabelled) << mislabelled.error().text;
  EXPECT_EQ(name_of(mislabelled), "a");
  EXPECT_EQ(mislabelled->config.platform, host_platform());
  EXPECT_NE(said.find("its config: it is taken for what the index says"), std::string::npos) << said;
  EXPECT_EQ(std::ranges::count(said, '\n'), 1) << said;
  const auto foreign = open_image(reference(), dirs_, {.platform = {"linux", "s390x", {}}});
  ASSERT_TRUE(foreign) << foreign.error().text;
  EXPECT_EQ(foreign->config.platform.architecture, "s390x");
  EXPECT_EQ(chosen({image("a", R"(,"platform":{"os":"linux"})", other), image("b", host(), other)}), "b");
}

TEST_F(IndexTest, WhatIsOfNoKnownTypeIsNamed) {
  const std::string unknown = str_cat(R"({"mediaType":"application/vnd.example.x","digest":")",
                                      builder_.add_blob("{}"), R"(","size":2})");
  test::write_text(layout() / "index.json", list({unknown}));
  expect_error(open(), {"can't be read", "it is of type application/vnd.example.x"});
  const std::string nested_only = chosen({unknown, unknown});
  EXPECT_NE(nested_only.find("has no container image in it: it is of type application/vnd.example.x"),
            std::string::npos)
      << nested_only;
}

TEST_F(IndexTest, NestedOnesAreLookedThroughInTheirOrder) {
  const std::string other = image("c", platform("s390x"));
  EXPECT_EQ(chosen({nested({other}), nested({other, image("a", host())}), image("b", "", "s390x")}), "a");
  EXPECT_EQ(chosen({nested({nested({nested({nested({image("a", host())})})})})}), "a");
  EXPECT_EQ(chosen({nested({image("a", host())}, platform("s390x")), nested({image("b", host())})}), "b");
  EXPECT_EQ(chosen({nested({}), image("a", host())}), "a");
}

TEST_F(IndexTest, ABrokenEntryIsNoReasonNotToTakeAnother) {
  EXPECT_EQ(
      chosen({R"({"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"blake3:00","size":1})",
              R"({"size":null})", "1", image("a", host())}),
      "a");
  EXPECT_EQ(chosen({R"({"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:)" +
                        std::string(64, '0') + R"(","size":1})",
                    image("a", "", host_architecture())}),
            "a");
  test::write_text(layout() / "index.json",
                   list({R"({"digest":"x","size":1,"annotations":{"org.opencontainers.image.ref.name":"x"}})",
                         image("a", R"(,"annotations":{"org.opencontainers.image.ref.name":"y"})")}));
  EXPECT_EQ(name_of(open("y")), "a");
  expect_error(open("x"), {"can't be read", "no digest"});
}

TEST_F(IndexTest, OldNamesOfPlatforms) {
  const std::string alias = host_architecture() == "amd64" ? "x86_64" : "aarch64";
  EXPECT_EQ(chosen({image("a", platform(alias), alias)}), "a");
  EXPECT_EQ(chosen({image("a", platform(std::string(host_architecture()), "", "Linux"))}), "a");
  builder_.os = "Linux";
  EXPECT_EQ(chosen({image("a")}), "a");
}

TEST_F(IndexTest, WhatNamesHalfAPlatformNamesNone) {
  const std::string os_alone = R"(,"platform":{"os":"linux"})";
  EXPECT_EQ(chosen({image("a", os_alone), image("b", host())}), "b");
  EXPECT_EQ(chosen({image("a", os_alone, "s390x"), image("b", os_alone)}), "b") << "their configs say";
  EXPECT_EQ(chosen({nested({image("a", "", "s390x")}), nested({image("b")})}), "b")
      << "the only one of an index is not the only one";
}

TEST_F(IndexTest, ACompatibleOneIsTakenWhereNothingIsBetter) {
  if (host_architecture() != "amd64") GTEST_SKIP() << "386 is what amd64 runs, too";
  EXPECT_EQ(chosen({image("a", platform("386"), "386")}), "a");
  EXPECT_EQ(chosen({image("a", "", "386"), image("b")}), "b") << "also where their configs say it";
  EXPECT_EQ(chosen({nested({image("a", platform("386"), "386")}), nested({image("b", host())})}), "b");
  EXPECT_EQ(chosen({image("a", "", "386"), image("c", platform("s390x"))}), "a");
}

TEST_F(IndexTest, VariantsAndVersionsOfTheSystem) {
  EXPECT_EQ(chosen({image("a", host(R"(,"os.version":"10.0.1","os.features":["x"])")), image("b", host())}),
            "a");
  const auto open_for_arm = [&](const char* variant) {
    return name_of(
        open_image(str_cat("oci:", layout().string()), dirs_, {.platform = {"linux", "arm", variant}}));
  };
  test::write_text(layout() / "index.json",
                   list({nested({image("a", platform("arm", R"(,"variant":"8")"), "arm"),
                                 image("b", platform("arm", R"(,"variant":"v6")"), "arm"),
                                 image("c", platform("arm", R"(,"variant":"v7")"), "arm")})}));
  EXPECT_EQ(open_for_arm("v7"), "c") << "though v6 is before it";
  EXPECT_EQ(open_for_arm(""), "c") << "which means v7";
  EXPECT_EQ(open_for_arm("v8"), "a");
  EXPECT_EQ(open_for_arm("v9"), "a") << "the nearest lower one";
  EXPECT_EQ(open_for_arm("v6"), "b");
  EXPECT_NE(open_for_arm("v5").find("has nothing for linux/arm/v5"), std::string::npos);
  const std::string v6 = platform("arm", R"(,"variant":"v6")");
  const std::string v7 = platform("arm", R"(,"variant":"v7")");
  builder_.config_more_json = R"("variant":"v5",)";
  const std::string says_v5 = image("a", "", "arm");
  builder_.config_more_json = R"("variant":"v7",)";
  const std::string says_v7 = image("c", "", "arm");
  builder_.config_more_json = "";
  test::write_text(layout() / "index.json", list({nested({nested({says_v5}), nested({says_v7})})}));
  EXPECT_EQ(open_for_arm("v7"), "c") << "also where configs say it, in other indexes";
  test::write_text(layout() / "index.json",
                   list({nested({nested({image("b", v6, "arm")}), nested({image("c", v7, "arm")})})}));
  EXPECT_EQ(open_for_arm("v7"), "c");
#if defined(__x86_64__)
  for (const auto& [variant, is_there] :
       {std::pair{"v2", __builtin_cpu_supports("x86-64-v2")}, {"v3", __builtin_cpu_supports("x86-64-v3")}}) {
    const std::string entry = image("a", host(str_cat(R"(,"variant":")", variant, R"(")")));
    EXPECT_EQ(chosen({entry, image("b", host())}), "b") << "nobody asked for " << variant;
    if (is_there != 0) {
      EXPECT_EQ(chosen({entry}), "a") << variant;
    }
  }
  const auto open_for_amd64 = [&](const char* variant) {
    return name_of(
        open_image(str_cat("oci:", layout().string()), dirs_, {.platform = {"linux", "amd64", variant}}));
  };
  test::write_text(layout() / "index.json",
                   list({nested({image("a", host(R"(,"variant":"v3")")), image("b", host()),
                                 image("c", host(R"(,"variant":"v2")"))})}));
  EXPECT_EQ(open_for_amd64("v4"), "a");
  EXPECT_EQ(open_for_amd64("v3"), "a");
  EXPECT_EQ(open_for_amd64("v2"), "c");
  EXPECT_EQ(open_for_amd64(""), "b");
#endif
}

TEST_F(IndexTest, NoMoreDocumentsAreReadThanTheLimit) {
  const std::string other = image("a", "", "s390x");
  const auto unlabelled = [&](int count) {
    std::vector<std::string> entries(static_cast<std::size_t>(count), other);
    entries.push_back(image("b"));
    return chosen(entries);
  };
  // The index itself, and two for each manifest.
  constexpr int kMost = (kMaxDocumentsRead - 1) / 2;
  EXPECT_EQ(unlabelled(kMost - 1), "b");
  const std::string refused = unlabelled(kMost);
  EXPECT_NE(refused.find("more than 64 documents"), std::string::npos) << refused << ": none is taken unread";
  const std::vector<std::string> indexes(kMaxDocumentsRead, nested({other}));
  EXPECT_NE(chosen(indexes).find("more than 64 documents"), std::string::npos);
}

TEST_F(IndexTest, WhatIsForAnotherPlatformCanBeLookedAt) {
  const auto look = [&] {
    return name_of(open_image(str_cat("oci:", layout().string()), dirs_, {.or_other = true}));
  };
  test::write_text(layout() / "index.json", list({image("a", "", "s390x")}));
  EXPECT_EQ(look(), "a");
  const std::string gone =
      str_cat(R"({"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:)",
              std::string(64, '0'), R"(","size":1)", platform("riscv64"), "}");
  test::write_text(layout() / "index.json", list({nested({gone, image("a", platform("s390x"), "s390x")})}));
  EXPECT_EQ(look(), "a") << "what nobody fetched is passed over";
  test::write_text(layout() / "index.json",
                   list({nested({image("a", platform("s390x"), "s390x"), image("b", host())})}));
  EXPECT_EQ(look(), "b") << "this machine's goes first";
}

TEST_F(IndexTest, ByNumber) {
  test::write_text(layout() / "index.json", list({image("a"), image("b")}));
  EXPECT_EQ(name_of(open("@1")), "b");
  expect_error(open("@2"), {"holds 2 images", "@0"});
}

TEST_F(ImageTest, ADescriptorOfAnotherSizeIsSaidToBeThat) {
  ImageBuilder builder(layout());
  builder.add_gzip_layer(tar_a_).write();
  std::string index = test::read_text(layout() / "index.json");
  const auto size = index.find("\"size\":") + 7;
  index.insert(size, "1");
  test::write_text(layout() / "index.json", index);
  expect_error(open(), {"bytes, but what names it says 1", "put together wrong"});
}

TEST_F(ImageTest, ConfigsOfAllSorts) {
  ImageBuilder builder(layout());
  builder.add_gzip_layer(tar_a_);
  builder.config_json = "{\"Labels\":{\"a\":\"1\",\"a\":\"\xff\\ud800\"},\"Cmd\":[\"/bin/sh\",null]}";
  builder.config_more_json = R"("author":null,"history":null,)";
  builder.write();
  auto image = open();
  ASSERT_TRUE(image) << image.error().text;
  EXPECT_EQ(image->config.cmd, (std::vector<std::string>{"/bin/sh", ""}));
  for (const char* type : {"application/octet-stream", "text/html", "application/json"}) {
    builder.manifest_type = "application/vnd.docker.distribution.manifest.v2+json";
    builder.config_type = type;
    builder.write();
    EXPECT_TRUE(open()) << type << ": " << open().error().text;
  }
  builder.config_type = "application/vnd.docker.plugin.v1+json";
  builder.write();
  expect_error(open(), {"an artifact"});
}

TEST_F(ImageTest, AForeignLayerIsTakenWhereItIs) {
  ImageBuilder builder(layout());
  builder.add_layer({"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", test::gzip(tar_a_),
                     test::sha256_text(tar_a_)});
  builder.write();
  const auto image = open();
  ASSERT_TRUE(image) << image.error().text;
  EXPECT_TRUE(open_blob(image->layers[0]));
  std::filesystem::remove(image->layers[0].path);
  const auto missing = open_blob(image->layers[0]);
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().text.find("is a foreign layer"), std::string::npos) << missing.error().text;
}

TEST_F(ImageTest, NamesInMessagesAreEscaped) {
  ImageBuilder builder(layout());
  builder.add_gzip_layer(tar_a_).write("v\\u001b[31m1");
  builder.write("w");
  expect_error(open(), {"it holds: v\\033[31m1, w"});
}

TEST_F(ImageTest, NamesAreFoundInTheStore) {
  expect_error(open_image("debian:12", dirs_), {"debian:12", "is empty", "layerboot pull debian:12"});
  ImageBuilder(dirs_.store()).add_gzip_layer(tar_a_).write("docker.io/library/debian:12");
  EXPECT_TRUE(open_image("debian:12", dirs_));
  EXPECT_TRUE(open_image("docker.io/library/debian:12", dirs_));
  expect_error(open_image("debian:13", dirs_), {"debian:13", "it holds: docker.io/library/debian:12"});
}

TEST_F(ImageTest, IsFoundByItsDigest) {
  ImageBuilder(dirs_.store()).add_gzip_layer(tar_a_).write("docker.io/library/debian:12");
  const auto by_tag = open_image("docker://debian:12", dirs_);
  ASSERT_TRUE(by_tag) << by_tag.error().text;
  const std::string digest = by_tag->manifest_digest.text();
  for (const std::string name : {"debian@", "docker.io/library/debian:other@"})
    EXPECT_TRUE(open_image(name + digest, dirs_)) << name;
  const std::string other = "sha256:" + std::string(64, 'a');
  expect_error(open_image("debian@" + other, dirs_), {other, "it holds: docker.io/library/debian:12"});
  // The registry's digest is not the manifest's where the manifest was converted; then the name has it.
  ImageBuilder(dirs_.store()).add_gzip_layer(tar_a_).write("docker.io/library/debian@" + other);
  EXPECT_TRUE(open_image("debian:12@" + other, dirs_));
}

TEST_F(ImageTest, ACopyThatSkopeoMadeOfAnImageIsNoRoot) {
  std::filesystem::create_directories(dir_ / "copy");
  test::write_text(dir_ / "copy/version", "Directory Transport Version: 1.1\n");
  const std::string reference = str_cat("dir:", (dir_ / "copy").string());
  EXPECT_TRUE(open_image(reference, dirs_)) << "a file of that name makes no copy of it";
  test::write_text(dir_ / "copy/manifest.json", "{}");
  expect_error(open_image(reference, dirs_), {"skopeo", "layerboot pull " + reference + " NAME"});
}

TEST_F(ImageTest, SaysWhatIsNoLayout) {
  expect_error(open(), {"is no OCI layout", "skopeo copy"});
  ImageBuilder builder(layout());
  test::write_text(layout() / "index.json", "nonsense");
  expect_error(open(), {"index.json", "no JSON"});
}

TEST_F(ImageTest, ChoosesTheHostsPlatformFromANestedIndex) {
  ImageBuilder inner(dir_ / "inner");
  inner.add_gzip_layer(tar_a_).write("x");
  // The manifest of the inner layout, offered in a nested index beside one of another architecture.
  const auto inner_image = open_image(str_cat("oci:", (dir_ / "inner").string()), dirs_);
  ASSERT_TRUE(inner_image) << inner_image.error().text;
  std::filesystem::create_directories(layout());
  std::filesystem::rename(dir_ / "inner/blobs", layout() / "blobs");
  ImageBuilder outer(layout());
  const std::string manifest = test::read_text(outer.blob_path(inner_image->manifest_digest.text()));
  const auto entry = [&](std::string_view digest, std::string_view architecture) {
    return str_cat(R"({"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":")", digest,
                   R"(","size":)", manifest.size(), R"(,"platform":{"os":"linux","architecture":")",
                   architecture, R"("}})");
  };
  const auto write_nested = [&](std::string_view list) {
    const std::string nested = str_cat(R"({"schemaVersion":2,"manifests":[)", list, "]}");
    ImageBuilder fresh(layout());
    fresh.add_to_index(str_cat(R"({"mediaType":"application/vnd.oci.image.index.v1+json","digest":")",
                               fresh.add_blob(nested), R"(","size":)", nested.size(), "}"));
  };
  const std::string host = entry(inner_image->manifest_digest.text(), host_architecture());
  const std::string other = entry("sha256:" + std::string(64, '0'), "s390x");
  write_nested(str_cat(other, ",", host, ",", other));
  const auto image = open();
  ASSERT_TRUE(image) << image.error().text;
  EXPECT_EQ(image->layers.size(), 1U);
  write_nested(other);
  expect_error(open(), {"has nothing for linux/", "linux/s390x"});
}

TEST_F(ImageTest, NestingIsBounded) {
  ImageBuilder builder(layout());
  std::string document = R"({"manifests":[]})";
  for (int depth = 0; depth <= kMaxIndexNesting; ++depth) {
    const auto descriptor = str_cat(R"({"mediaType":"application/vnd.oci.image.index.v1+json","digest":")",
                                    builder.add_blob(document), R"(","size":)", document.size(), "}");
    document = str_cat(R"({"manifests":[)", descriptor, "]}");
  }
  test::write_text(layout() / "index.json", document);
  expect_error(open(), {"nested deeper than the limit"});
}

TEST_F(ImageTest, RefusesADamagedOrMissingDocument) {
  ImageBuilder builder(layout());
  builder.add_gzip_layer(tar_a_).write();
  const auto path = builder.blob_path(open()->manifest_digest.text());
  std::string manifest = test::read_text(path);
  manifest[10] ^= 1;
  test::write_text(path, manifest);
  expect_error(open(), {"manifest sha256:", "is damaged", "fetch the image again"});
  std::filesystem::remove(path);
  expect_error(open(), {"manifest sha256:", "fetch the image again"});
}

TEST_F(ImageTest, RefusesWhatDoesNotFitTogether) {
  ImageBuilder foreign(layout());
  foreign.architecture = "s390x";
  foreign.add_gzip_layer(tar_a_).write();
  expect_error(open(), {"is for linux/s390x"});
  ImageBuilder builder(layout());
  builder.add_gzip_layer(tar_a_);
  builder.layers[0].diff_id += str_cat("\",\"", test::sha256_text("x"));  // one diff_id too many
  builder.write();
  expect_error(open(), {"2 diff_ids for 1 layers"});
}

TEST(ChainId, FollowsTheSpec) {
  EXPECT_EQ(*chain_id_of({}), Digest());
  const auto a = *Digest::parse("sha256:" + std::string(64, 'a'));
  const auto b = *Digest::parse("sha256:" + std::string(64, 'b'));
  EXPECT_EQ(*chain_id_of({a}), a);
  EXPECT_EQ(chain_id_of({a, b, a})->text(),
            test::sha256_text(test::sha256_text(a.text() + " " + b.text()) + " " + a.text()));
}

}  // namespace
}  // namespace layerboot::store
