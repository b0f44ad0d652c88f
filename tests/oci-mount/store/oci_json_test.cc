#include "oci-mount/store/oci_json.h"

#include <gtest/gtest.h>

#include "oci-mount/base/str_cat.h"

namespace layerboot::store {
namespace {

const std::string kDigestA = "sha256:" + std::string(64, 'a');
const std::string kDigestB = "sha256:" + std::string(64, 'b');
constexpr std::string_view kOciManifest = "application/vnd.oci.image.manifest.v1+json";
constexpr std::string_view kOciConfig = "application/vnd.oci.image.config.v1+json";
constexpr std::string_view kOciLayer = "application/vnd.oci.image.layer.v1.tar";

std::string descriptor(std::string_view media_type, std::string_view digest, std::string_view more = "") {
  return str_cat(R"({"mediaType":")", media_type, R"(","digest":")", digest, R"(","size":12)", more, "}");
}

std::string manifest_with(std::string_view layer_type, std::string_view config_type = kOciConfig) {
  return str_cat(R"({"schemaVersion":2,"config":)", descriptor(config_type, kDigestA), R"(,"layers":[)",
                 descriptor(layer_type, kDigestB), "]}");
}

template <typename T>
void expect_error(const Result<T>& result, std::string_view reason) {
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().text.find(reason), std::string::npos) << result.error().text;
  EXPECT_TRUE(result.error().text.starts_with("doc")) << result.error().text;
}

TEST(ParseIndex, ReadsNamesAndPlatforms) {
  const std::string text =
      str_cat(R"({"schemaVersion":2,"manifests":[)",
              descriptor(kOciManifest, kDigestA, R"(,"platform":{"os":"linux","architecture":"arm64"})"), ",",
              descriptor("application/vnd.oci.image.index.v1+json", kDigestB,
                         R"(,"annotations":{"org.opencontainers.image.ref.name":"v1"})"),
              ",", descriptor("application/vnd.example.sbom", kDigestB), "]}");
  const auto index = parse_index(text, "doc");
  ASSERT_TRUE(index) << index.error().text;
  ASSERT_EQ(index->manifests.size(), 2U) << "the artifact is left out";
  EXPECT_EQ(index->manifests[0].platform->architecture, "arm64");
  EXPECT_EQ(index->manifests[0].size_bytes, 12U);
  EXPECT_EQ(index->manifests[1].kind, DocumentKind::kIndex);
  EXPECT_EQ(index->manifests[1].ref_name, "v1");
  EXPECT_FALSE(index->manifests[1].platform);
}

TEST(ParseIndex, RefusesWhatIsNoIndex) {
  expect_error(parse_index(manifest_with(kOciLayer), "doc"), "no list \"manifests\"");
  expect_error(parse_index(str_cat(R"({"mediaType":")", kOciManifest, R"(","manifests":[]})"), "doc"),
               "not an image index");
  expect_error(parse_index(R"({"manifests":{}})", "doc"), "no list");
}

// CVE-2021-41190: one document, two meanings.
TEST(ParseBoth, RefuseADocumentThatIsIndexAndManifest) {
  const std::string both =
      str_cat(R"({"config":)", descriptor(kOciConfig, kDigestA), R"(,"layers":[],"manifests":[]})");
  expect_error(parse_index(both, "doc"), "read in two ways");
  expect_error(parse_manifest(both, "doc"), "read in two ways");
}

TEST(ParseManifest, KnowsTheLayerTypes) {
  const auto compression = [](std::string_view type) {
    return parse_manifest(manifest_with(type), "doc")->layers.at(0).compression;
  };
  EXPECT_EQ(compression(kOciLayer), Compression::kNone);
  EXPECT_EQ(compression("application/vnd.oci.image.layer.v1.tar+gzip"), Compression::kGzip);
  EXPECT_EQ(compression("application/vnd.oci.image.layer.v1.tar+zstd"), Compression::kZstd);
  EXPECT_EQ(compression("application/vnd.docker.image.rootfs.diff.tar.gzip"), Compression::kGzip);
}

// As tools write them; the blob's first bytes say what it is.
TEST(ParseManifest, TakesAnyTypeOfATarsAsAHint) {
  const auto compression = [](std::string_view type) {
    const auto manifest = parse_manifest(manifest_with(type), "doc");
    EXPECT_TRUE(manifest) << type;
    return manifest ? manifest->layers.at(0).compression : Compression::kNone;
  };
  EXPECT_EQ(compression("application/vnd.oci.image.layer.v1.tar+xz"), Compression::kXz);
  EXPECT_EQ(compression("application/vnd.oci.image.layer.v1.tar+bzip2"), Compression::kBzip2);
  EXPECT_EQ(compression("application/vnd.oci.image.layer.v1.tar.gzip"), Compression::kGzip);
  EXPECT_EQ(compression("application/vnd.oci.image.layer.v1.tar+zstd:chunked"), Compression::kZstd);
  EXPECT_EQ(compression("application/vnd.docker.container.image.rootfs.diff+x-gtar"), Compression::kNone);
  EXPECT_EQ(compression("application/vnd.docker.image.rootfs.foreign.diff.tar.zstd"), Compression::kZstd);
  EXPECT_EQ(compression("application/x-tar"), Compression::kNone);
}

TEST(ParseManifest, TakesDockersOwnTypes) {
  const auto manifest = parse_manifest(manifest_with("application/vnd.docker.image.rootfs.diff.tar.gzip",
                                                     "application/vnd.docker.container.image.v1+json"),
                                       "doc");
  ASSERT_TRUE(manifest) << manifest.error().text;
  EXPECT_EQ(manifest->config.text(), kDigestA);
  EXPECT_EQ(manifest->layers[0].digest.text(), kDigestB);
}

TEST(ParseManifest, RefusesLayersItCannotServe) {
  const auto parse = [](std::string_view type) { return parse_manifest(manifest_with(type), "doc"); };
  expect_error(parse("application/vnd.oci.image.layer.v1.tar+gzip+encrypted"), "encrypted");
  expect_error(parse("application/vnd.docker.image.rootfs.diff.tar.gzip+encrypted"), "encrypted");
  for (const std::string_view type :
       {"", "application/octet-stream", "application/vnd.in-toto+json", "application/vnd.oci.empty.v1+json",
        "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "application/vnd.oci.image.config.v1+json"})
    expect_error(parse(type), "unknown type");
}

TEST(ParseBoth, ANullIsAnEmptyListAsGoWritesIt) {
  EXPECT_TRUE(parse_index(R"({"manifests":null})", "doc")->manifests.empty());
  const auto manifest =
      parse_manifest(str_cat(R"({"config":)", descriptor(kOciConfig, kDigestA), R"(,"layers":null})"), "doc");
  ASSERT_TRUE(manifest) << manifest.error().text;
  EXPECT_TRUE(manifest->layers.empty());
}

TEST(ParseManifest, RefusesArtifactsAndBrokenOnes) {
  expect_error(parse_manifest(manifest_with(kOciLayer, "application/vnd.example.config"), "doc"),
               "an artifact");
  expect_error(parse_manifest(R"({"layers":[]})", "doc"), "no \"config\"");
  expect_error(parse_manifest(R"({"manifests":[]})", "doc"), "no list \"layers\"");
  std::string many = str_cat(R"({"config":)", descriptor(kOciConfig, kDigestA), R"(,"layers":[)");
  for (std::size_t i = 0; i <= kMaxLayers; ++i)
    many += str_cat(i == 0 ? "" : ",", descriptor(kOciLayer, kDigestB));
  expect_error(parse_manifest(many + "]}", "doc"), "over the limit of 128");
}

TEST(ParseConfig, ReadsWhatAContainerIsToRun) {
  const auto config = parse_config(
      str_cat(
          R"({"os":"linux","architecture":"amd64","config":{"Env":["A=1"],"Entrypoint":["/e"],)",
          R"("Cmd":["c","d"],"User":"u:g","WorkingDir":"/w","StopSignal":"SIGQUIT","Volumes":{"/v":{},"/w x":null}},)",
          R"("rootfs":{"type":"layers","diff_ids":[")", kDigestA, R"("]}})"),
      "doc");
  ASSERT_TRUE(config) << config.error().text;
  EXPECT_EQ(config->env, std::vector<std::string>{"A=1"});
  EXPECT_EQ(config->entrypoint, std::vector<std::string>{"/e"});
  EXPECT_EQ(config->cmd, (std::vector<std::string>{"c", "d"}));
  EXPECT_EQ(config->user, "u:g");
  EXPECT_EQ(config->working_dir, "/w");
  EXPECT_EQ(config->stop_signal, "SIGQUIT");
  EXPECT_EQ(config->platform.architecture, "amd64");
  EXPECT_EQ(config->diff_ids.at(0).text(), kDigestA);
}

TEST(ParseConfig, LivesWithWhatIsLeftOut) {
  const auto config = parse_config(R"({"config":{"Env":null,"Cmd":null},"rootfs":{"diff_ids":null}})", "doc");
  ASSERT_TRUE(config) << config.error().text;
  EXPECT_TRUE(config->env.empty());
  EXPECT_TRUE(config->diff_ids.empty());
}

TEST(ParseConfig, TakesACommandLineThatIsOneTextAsDockerDoes) {
  const auto config =
      parse_config(R"({"config":{"Entrypoint":"/e","Cmd":"a b"},"rootfs":{"diff_ids":[]}})", "doc");
  ASSERT_TRUE(config) << config.error().text;
  EXPECT_EQ(config->entrypoint, std::vector<std::string>{"/e"});
  EXPECT_EQ(config->cmd, std::vector<std::string>{"a b"});
  expect_error(parse_config(R"({"config":{"Cmd":7},"rootfs":{}})", "doc"), "\"Cmd\" is no list");
}

TEST(ParseConfig, RefusesBadOnes) {
  expect_error(parse_config("{}", "doc"), "no \"rootfs\"");
  expect_error(parse_config(R"({"rootfs":{"diff_ids":["sha256:zz"]}})", "doc"), "diff_ids");
  expect_error(parse_config(R"({"config":{"Env":"A=1"},"rootfs":{}})", "doc"), "\"Env\" is no list");
}

}  // namespace
}  // namespace layerboot::store
