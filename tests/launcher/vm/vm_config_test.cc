#include "launcher/vm/vm_config.h"

#include <gtest/gtest.h>

namespace layerboot::launcher {
namespace {

TEST(NameFromImage, IsTheLastPartAndTag) {
  EXPECT_EQ(name_from_image("oci:/images/debian:12"), "debian-12");
  EXPECT_EQ(name_from_image("docker.io/library/debian:12"), "debian-12");
  EXPECT_EQ(name_from_image("debian:12"), "debian-12");
  EXPECT_EQ(name_from_image("oci:/var/lib/My_Image/"), "my_image");
  EXPECT_EQ(name_from_image("oci:/tmp/image:latest"), "image");
  EXPECT_EQ(name_from_image("oci-archive:./x y.tar"), "x-y.tar");
  EXPECT_EQ(name_from_image("repo@sha256:abcd"), "repo-sha256-abcd");
  EXPECT_EQ(name_from_image("sha256:0123456789abcdef0123"), "image-0123456789ab");
}

TEST(NameFromImage, IsAlwaysValid) {
  for (const std::string& image :
       {std::string(), std::string("oci:"), std::string("/"), std::string("..."), std::string("a/\xff\xfe"),
        std::string(500, 'a'), std::string("-:-"), std::string("oci:/x/.hidden:-")}) {
    EXPECT_TRUE(check_name(name_from_image(image))) << image << " gave " << name_from_image(image);
  }
}

TEST(CheckName, RefusesWhatCouldLeaveItsDirectory) {
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("a/b"), std::string("-a"),
        std::string("a b"), std::string("a\n"), std::string(64, 'a'), std::string("a\0b", 3)}) {
    EXPECT_FALSE(check_name(name)) << name;
  }
  EXPECT_TRUE(check_name("Web-1_a.b"));
}

TEST(HostnameFor, KeepsToHostNames) {
  EXPECT_EQ(hostname_for("my_image.2"), "my-image-2");
  EXPECT_EQ(hostname_for("a."), "a");
}

TEST(VmRecord, ComesBackAsItWas) {
  VmRecord record{.name = "a",
                  .image = "oci:/i:1",
                  .quota_bytes = 12345,
                  .machine_id = "0123456789abcdef0123456789abcdef",
                  .run = {}};
  record.run.cpus = 3;
  record.run.net = Net::kTap;
  record.run.tap = "tap0";
  record.run.more_nets = {{.kind = Net::kUser, .tap = {}}, {.kind = Net::kTap, .tap = "tap1"}};
  record.run.accel_choice = AccelChoice::kTcg;
  record.run.environment = {"A=b", "C="};
  record.run.volumes = {
      {.host = "/h", .guest = "/g", .kind = VolumeKind::kReadOnly, .quota_bytes = 0, .id_map = "1000:1001"}};
  record.run.published = {{.address = "0.0.0.0", .host = 8080, .guest = 80, .udp = true}};
  const auto back = record_from_json(record_to_json(record));
  ASSERT_TRUE(back) << back.error().describe();
  EXPECT_EQ(*back, record);
  record.spent_upper = "sha256:00";
  EXPECT_EQ(*record_from_json(record_to_json(record)), record);
}

TEST(VmRecord, OneOfBeforeRunsWereKeptHasDefaults) {
  const auto old =
      record_from_json(R"({"version":1,"quota_bytes":1,"machine_id":"0123456789abcdef0123456789abcdef"})");
  ASSERT_TRUE(old) << old.error().describe();
  EXPECT_EQ(old->run, RunSettings());
}

TEST(VmRecord, ForeignBytesInAnImageNameDoNotThrow) {
  VmRecord record;
  record.image = "oci:/\xff";
  EXPECT_FALSE(record_to_json(record).empty());
}

TEST(VmRecord, RefusesDamage) {
  const std::string good = record_to_json({.name = "a",
                                           .image = "i",
                                           .quota_bytes = 1,
                                           .machine_id = "0123456789abcdef0123456789abcdef",
                                           .run = {}});
  for (std::size_t cut = 0; cut + 2 < good.size(); ++cut)
    EXPECT_FALSE(record_from_json(good.substr(0, cut))) << cut;
  EXPECT_FALSE(record_from_json("[]"));
  EXPECT_FALSE(record_from_json(R"({"version":2})"));
  EXPECT_FALSE(
      record_from_json(R"({"version":1,"quota_bytes":-1,"machine_id":"0123456789abcdef0123456789abcdef"})"));
  EXPECT_FALSE(record_from_json(R"({"version":1,"quota_bytes":1,"machine_id":"short"})"));
}

TEST(MachineId, IsFreshAndWellFormed) {
  const auto first = make_machine_id();
  const auto second = make_machine_id();
  ASSERT_TRUE(first && second);
  EXPECT_NE(*first, *second);
  EXPECT_EQ(first->size(), 32U);
  EXPECT_EQ(first->find_first_not_of("0123456789abcdef"), std::string::npos);
}

TEST(MacAddress, IsOfTheMachineAndStable) {
  EXPECT_EQ(mac_address("0123456789abcdef0123456789abcdef"), "52:54:00:ab:cd:ef");
  EXPECT_EQ(mac_address("0123456789abcdef0123456789000001"), "52:54:00:00:00:01");
  EXPECT_EQ(mac_address("0123456789abcdef0123456789ffffff", 2), "52:54:00:00:00:01");
}

TEST(HostnameTest, HasLabelsAndDotsAsEnginesTakeThem) {
  const std::string label(63, 'a');
  const std::string longest = label + "." + label + "." + label + "." + std::string(61, 'b');
  for (const std::string& good : {std::string("a"), std::string("web-1.example.org"), label, longest}) {
    EXPECT_TRUE(check_hostname(good)) << good;
  }
  for (const std::string& bad :
       {std::string(), label + "a", longest + "b", std::string("a..b"), std::string("a."), std::string(".a"),
        std::string("-a"), std::string("a-"), std::string("a_b"), std::string("a b")}) {
    EXPECT_FALSE(check_hostname(bad)) << bad;
  }
  EXPECT_EQ(kernel_hostname(std::string(60, 'a') + ".bcd"), std::string(60, 'a') + ".bcd");
  EXPECT_EQ(kernel_hostname(std::string(60, 'a') + ".bcde"), std::string(60, 'a'));
}

}  // namespace
}  // namespace layerboot::launcher
