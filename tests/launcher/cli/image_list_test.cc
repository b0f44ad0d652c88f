#include "launcher/cli/image_list.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "launcher/cli/image_show.h"
#include "launcher/host/time_text.h"
#include "launcher/images/store_index.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::launcher {
namespace {

class ImageListTest : public testing::Test {
 protected:
  void SetUp() override {
    test::ImageBuilder image(dirs_.store());
    image.add_gzip_layer(test::TarBuilder().file("own", "1").finish()).write("docker.io/library/debian:12");
    image.layers.clear();
    image.add_gzip_layer(test::TarBuilder().file("own", "2").finish()).write("registry.example/team/app:1");
    image.add_to_index(R"({"mediaType":"application/\u001b[31m","digest":"none","annotations":)"
                       R"({"org.opencontainers.image.ref.name":"odd\u001b[31m:1"}})");
  }
  std::string list(const Options& options) const {
    testing::internal::CaptureStdout();
    const auto listed = list_images(dirs_, options);
    std::string text = testing::internal::GetCapturedStdout();
    EXPECT_TRUE(listed) << listed.error().text;
    return text;
  }
  std::string filtered(const std::string& filter) const {
    Options options;
    options.filters = {filter};
    options.format = "{{.Repository}}:{{.Tag}} ";
    return list(options);
  }

  test::TempDir dir_;
  StateDirs dirs_{dir_ / "data", dir_ / "cache", dir_ / "run"};
};

TEST_F(ImageListTest, ColumnsAreAsPeopleKnowThem) {
  std::filesystem::create_directories(dirs_.vms() / "web");
  test::write_text(dirs_.vms() / "web/config.json",
                   R"({"version":1,"name":"web","image":"debian:12","quota_bytes":1,)"
                   R"("machine_id":"00000000000040008000000000000000"})");
  const std::string text = list({});
  EXPECT_EQ(text.substr(0, 5), "NAME ") << text;
  EXPECT_NE(text.find("\ndebian                      12    sha256:"), std::string::npos) << text;
  EXPECT_NE(text.find("   web\n"), std::string::npos) << text;
  EXPECT_NE(text.find("registry.example/team/app   1"), std::string::npos) << text;
  EXPECT_NE(text.find("can't be run: its digest is none"), std::string::npos) << text;
  EXPECT_EQ(text.find('\033'), std::string::npos) << "what an image says does not reach the terminal";
  EXPECT_EQ(filtered("used=true"), "debian:12 \n");
}

TEST_F(ImageListTest, FiltersAndFormats) {
  EXPECT_EQ(filtered("reference=debian"), "debian:12 \n");
  EXPECT_EQ(filtered("reference=docker.io/library/deb*"), "debian:12 \n");
  EXPECT_EQ(filtered("reference=registry.example/*/app:1"), "registry.example/team/app:1 \n");
  EXPECT_EQ(filtered("usable=false"), "odd\\033[31m:1 \n");
  EXPECT_EQ(filtered("dangling=true"), "");
  Options options;
  options.format = "a\\t{{ .Layers }}";
  options.filters = {"reference=debian:12"};
  EXPECT_EQ(list(options), "a\t1\n");
  options.format = "{{.Layers";
  EXPECT_FALSE(check_image_list(options));
}

TEST_F(ImageListTest, AsATreeImagesStandOnTheLayersTheyShare) {
  std::filesystem::remove_all(dirs_.store());
  test::ImageBuilder image(dirs_.store());
  image.add_gzip_layer(test::TarBuilder().file("base", "1").finish()).write("docker.io/library/base:1");
  image.write("docker.io/library/again:1");
  const auto base = image.layers;
  image.add_gzip_layer(test::TarBuilder().file("app", "2").finish()).write("registry.example/app:1");
  image.layers = base;
  image.add_gzip_layer(test::TarBuilder().file("common", "3").finish());
  const auto common = image.layers;
  image.add_gzip_layer(test::TarBuilder().file("x", "4").finish()).write("x:1");
  image.layers = common;
  image.add_gzip_layer(test::TarBuilder().file("y", "5").finish());
  image.add_gzip_layer(test::TarBuilder().file("y2", "6").finish()).write("y:1");
  image.add_to_index(R"({"mediaType":"application/x","digest":"none","annotations":)"
                     R"({"org.opencontainers.image.ref.name":"odd:1"}})");
  Options options;
  options.image_tree = true;
  std::string names;
  std::istringstream lines(list(options));
  for (std::string line; std::getline(lines, line);) {
    std::string size;
    const auto gap = line.find("   ", line.find_first_not_of("│├└─ "));
    std::istringstream rest(line.substr(gap));
    rest >> size;
    names += line.substr(0, gap) + " " + size + "\n";
  }
  EXPECT_EQ(names,
            "IMAGE LAYERS\n"
            "again:1 1\n"
            "├─ base:1 +0\n"
            "├─ registry.example/app:1 +1\n"
            "└─ (shared) +1\n"
            "   ├─ x:1 +1\n"
            "   └─ y:1 +2\n"
            "odd:1 -\n");
  options.json = true;
  const auto tree = nlohmann::json::parse(list(options), nullptr, false);
  ASSERT_EQ(tree.size(), 1U) << tree;
  EXPECT_EQ(tree[0]["images"].size(), 2U);
  EXPECT_EQ(tree[0]["children"][1]["children"][1]["layers"].size(), 2U);
  options.filters = {"reference=y"};
  EXPECT_EQ(nlohmann::json::parse(list(options), nullptr, false)[0]["layers"].size(), 4U)
      << "alone it is whole";
}

TEST_F(ImageListTest, AnImageIsInspected) {
  const auto object = inspect_image(dirs_, "debian:12");
  ASSERT_TRUE(object) << object.error().text;
  EXPECT_EQ((*object)["name"], "docker.io/library/debian:12");
  EXPECT_EQ((*object)["layers"].size(), 1U);
  EXPECT_EQ((*object)["config"]["os"], "linux");
  EXPECT_TRUE((*object)["layers"][0]["index_bytes"].is_null());
  const auto odd = inspect_image(dirs_, "odd\033[31m:1");
  ASSERT_TRUE(odd) << odd.error().text;
  EXPECT_TRUE((*odd)["problem"].get<std::string>().starts_with("its digest is none; layerboot rmi "))
      << (*odd)["problem"];
  EXPECT_EQ(inspect_image(dirs_, "ubuntu").error().code, ENOENT);
}

TEST(TimeText, ReadsWhatConfigsHave) {
  EXPECT_EQ(parse_utc("1970-01-01T00:00:10Z"), 10);
  EXPECT_EQ(parse_utc("2026-11-29T02:34:35.506303991Z"), parse_utc("2026-11-29T02:34:35Z"));
  EXPECT_EQ(parse_utc("1970-01-01T02:00:00+02:00"), 0);
  EXPECT_EQ(parse_utc("1970-01-01T00:00:00-01:30"), 5400);
  EXPECT_EQ(utc_text(*parse_utc("2026-11-29T02:34:35Z")), "2026-11-29T02:34:35Z");
  for (const std::string_view text : {"", "yesterday", "2026-11-29", "2026-11-29T02:34:35"})
    EXPECT_FALSE(parse_utc(text)) << text;
}

}  // namespace
}  // namespace layerboot::launcher
