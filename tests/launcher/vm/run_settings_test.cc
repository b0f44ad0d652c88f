#include "launcher/vm/run_settings.h"

#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {
namespace {

TEST(Volume, TakesPathsAndOptions) {
  const auto plain = parse_volume("/srv/data:/data:overlay");
  ASSERT_TRUE(plain) << plain.error().describe();
  EXPECT_EQ(*plain,
            (Volume{.host = "/srv/data", .guest = "/data", .kind = VolumeKind::kOverlay, .quota_bytes = 0}));
  for (const char* text : {"/srv/data:/data", "/srv/data:/data:rw"}) {
    const auto shared = parse_volume(text);
    ASSERT_TRUE(shared) << shared.error().describe();
    EXPECT_EQ(*shared,
              (Volume{.host = "/srv/data", .guest = "/data", .kind = VolumeKind::kShared, .quota_bytes = 0}));
  }
  const auto read_only = parse_volume("/a:/b//c/:ro");
  ASSERT_TRUE(read_only) << read_only.error().describe();
  EXPECT_EQ(read_only->kind, VolumeKind::kReadOnly);
  EXPECT_EQ(read_only->guest, "/b/c");
  const auto limited = parse_volume("/a:/b:overlay,quota=1M");
  ASSERT_TRUE(limited) << limited.error().describe();
  EXPECT_EQ(limited->quota_bytes, 1U << 20U);
  const auto mapped = parse_volume("/a:/b:ro,idmap=1000:1001");
  ASSERT_TRUE(mapped) << mapped.error().describe();
  EXPECT_EQ(mapped->kind, VolumeKind::kReadOnly);
  EXPECT_EQ(mapped->id_map, "1000:1001");
  EXPECT_TRUE(parse_volume("/a:/b:idmap=0-1000-1+1-100000-65535"));
  const auto relative = parse_volume("sub/../x:/b:ro");
  ASSERT_TRUE(relative);
  EXPECT_EQ(relative->host, (std::filesystem::current_path() / "x").string());
}

TEST(Volume, RefusesWhatCantBe) {
  for (const char* text : {"",
                           "/a",
                           ":/b:ro",
                           "/a:",
                           "/a::ro",
                           "/a:b:ro",
                           "/a:/:ro",
                           "/a:/../b:ro",
                           "/a:/b:rx",
                           "/a:/b:quota=x",
                           "/a:/b:idmap=",
                           "/a:/b:idmap=me",
                           "/a:/b:overlay,idmap=1000",
                           "/a:/b:ro,quota=1M",
                           "/a:/b:quota=1M",
                           "/a:/b:rw,quota=1M",
                           "/a:/b:,",
                           "/a:/b c:ro",
                           "/a:/b,c:ro",
                           "/a:/b\nx:ro"}) {
    EXPECT_FALSE(parse_volume(text)) << text;
  }
}

TEST(Published, TakesAddressPortsAndProtocol) {
  using Ports = std::vector<PublishedPort>;
  const auto tcp = parse_published("8080:80");
  ASSERT_TRUE(tcp) << tcp.error().describe();
  EXPECT_EQ(*tcp, (Ports{{.address = "127.0.0.1", .host = 8080, .guest = 80, .udp = false}}));
  const auto udp = parse_published("0.0.0.0:53:5353/udp");
  ASSERT_TRUE(udp) << udp.error().describe();
  EXPECT_EQ(*udp, (Ports{{.address = "0.0.0.0", .host = 53, .guest = 5353, .udp = true}}));
}

TEST(Published, TakesRangesAndAnyFreePort) {
  const auto range = parse_published("8000-8002:80-82/udp");
  ASSERT_TRUE(range) << range.error().describe();
  ASSERT_EQ(range->size(), 3U);
  EXPECT_EQ(range->back(), (PublishedPort{.address = "127.0.0.1", .host = 8002, .guest = 82, .udp = true}));
  for (const char* text : {"80", "127.0.0.1::80"}) {
    const auto any = parse_published(text);
    ASSERT_TRUE(any) << text << ": " << any.error().describe();
    ASSERT_EQ(any->size(), 1U);
    EXPECT_TRUE(any->front().random) << text;
    EXPECT_EQ(any->front().guest, 80) << text;
  }
  EXPECT_EQ(parse_published("3000-3005")->size(), 6U);
  for (const char* text : {"8000-8002:80-81", "82-80", "1-65535", "127.0.0.1:80"}) {
    EXPECT_FALSE(parse_published(text)) << text;
  }
}

TEST(Published, WhatAnImageExposesIsPublishedOnce) {
  RunSettings settings;
  settings.published = *parse_published("8080:80");
  ASSERT_TRUE(publish_exposed({"80/tcp", "80/udp", "443"}, settings));
  ASSERT_EQ(settings.published.size(), 3U);
  EXPECT_TRUE(settings.published[1].udp && settings.published[1].random);
  EXPECT_EQ(settings.published[2].guest, 443);
  EXPECT_FALSE(publish_exposed({"1-60"}, settings) && publish_exposed({"100-110"}, settings));
}

TEST(Published, WhatCannotBeForwardedIsLeftOut) {
  RunSettings settings;
  testing::internal::CaptureStderr();
  EXPECT_TRUE(publish_exposed({"eighty", "5000/sctp", "80"}, settings));
  const std::string said = testing::internal::GetCapturedStderr();
  ASSERT_EQ(settings.published.size(), 1U);
  EXPECT_EQ(settings.published[0].guest, 80);
  EXPECT_NE(said.find("5000/sctp"), std::string::npos) << said;
  const auto too_many = publish_exposed({"1-60", "100-110"}, settings);
  ASSERT_FALSE(too_many);
  EXPECT_NE(too_many.error().text.find("leave --publish-all out"), std::string::npos);
}

TEST(SettingsBeside, AreAllThatWasSaidAndIsNotKnown) {
  EXPECT_TRUE(settings_beside({}, {}).empty());
  RunSettings settings;
  settings.cpus = 3;
  settings.user = "www";
  settings.hosts = {{.name = "a", .address = "10.0.0.1"}};
  settings.cgroup_v1 = true;
  settings.more_nets = {{.kind = Net::kTap, .tap = "t"}};
  settings.net = Net::kPasst;
  constexpr auto kKnown = std::to_array<std::string_view>({"cpus"});
  EXPECT_EQ(settings_beside(settings, kKnown),
            (std::vector<std::string>{"--cgroup", "--add-host", "--net", "--user"}));
}

TEST(SettingsJson, RemembersThatTheVmGoesWithItsRun) {
  RunSettings settings;
  settings.remove_at_end = true;
  EXPECT_TRUE(settings_from_json(settings_to_json(settings))->remove_at_end);
}

TEST(Published, RefusesWhatCantBe) {
  for (const char* text : {"", "0:80", "80:0", "65536:1", "80:80/sctp", "x:80:80", "80:80:80", "80:-1",
                           "1.2.3:80:80", "80:80/", ":80", "127.0.0.1,x:1:2"}) {
    EXPECT_FALSE(parse_published(text)) << text;
  }
}

TEST(Mount, IsAVolumeOrATmpfsInWords) {
  RunSettings settings;
  ASSERT_TRUE(parse_mount("type=bind,src=/srv,dst=/data,readonly", settings));
  ASSERT_TRUE(parse_mount("source=cache,target=/cache", settings));
  ASSERT_TRUE(parse_mount("type=tmpfs,target=/scratch,tmpfs-size=64m,tmpfs-mode=0700", settings));
  ASSERT_TRUE(parse_mount("type=tmpfs,target=/run", settings)) << "there is one anyway";
  ASSERT_EQ(settings.volumes.size(), 2U);
  EXPECT_EQ(settings.volumes[0],
            (Volume{.host = "/srv", .guest = "/data", .kind = VolumeKind::kReadOnly, .quota_bytes = 0}));
  EXPECT_EQ(settings.volumes[1].name, "cache");
  ASSERT_EQ(settings.tmpfs.size(), 1U);
  EXPECT_EQ(settings.tmpfs[0].options, "rw,size=64m,mode=0700");
  EXPECT_EQ(*settings_from_json(settings_to_json(settings)), settings);
  for (const char* text :
       {"", "type=bind,src=/a", "type=npipe,src=/a,dst=/b", "src=/a,dst=/b,colour=red", "type=volume,dst=/b",
        "type=bind,src=/a,dst=/proc", "type=tmpfs,dst=b", "type=volume,src=a/b,dst=/b"}) {
    EXPECT_FALSE(parse_mount(text, settings)) << text;
  }
  EXPECT_FALSE(parse_tmpfs("/a:size=1 m"));
}

TEST(Volume, AWordIsAVolumeThatIsKeptHere) {
  const auto named = parse_volume("data:/data:ro,Z");
  ASSERT_TRUE(named) << named.error().describe();
  EXPECT_EQ(named->name, "data");
  EXPECT_EQ(named->host, "");
  EXPECT_EQ(named->kind, VolumeKind::kReadOnly);
  EXPECT_EQ(parse_volume("./data:/data:z")->host, (std::filesystem::current_path() / "data").string());
  EXPECT_EQ(parse_volume(".:/data")->name, "");
  EXPECT_FALSE(parse_volume("-data:/data"));
}

TEST(Restart, IsDockersAndComesBack) {
  RunSettings settings;
  for (const char* text : {"no", "always", "on-failure", "on-failure:3"}) {
    ASSERT_TRUE(parse_restart(text, settings)) << text;
    EXPECT_EQ(*settings_from_json(settings_to_json(settings)), settings) << text;
  }
  EXPECT_EQ(settings.restart_limit, 3U);
  ASSERT_TRUE(parse_restart("unless-stopped", settings));
  EXPECT_EQ(settings.restart, RestartPolicy::kAlways);
  for (const char* text : {"", "on-failure:", "on-failure:0", "on-failure:x", "sometimes"}) {
    EXPECT_FALSE(parse_restart(text, settings)) << text;
  }
}

TEST(HostEntry, HasANameAndAnAddress) {
  EXPECT_EQ(*parse_host_entry("db:10.0.0.1"), (HostEntry{.name = "db", .address = "10.0.0.1"}));
  EXPECT_EQ(parse_host_entry("db=[fe80::1]")->address, "fe80::1");
  EXPECT_EQ(parse_host_entry("here:host-gateway")->address, "10.0.2.2");
  for (const char* text : {"", "db", "db:", ":10.0.0.1", "db:ten", "d b:10.0.0.1"}) {
    EXPECT_FALSE(parse_host_entry(text)) << text;
  }
}

TEST(NetChoice, TakesFourKinds) {
  RunSettings settings;
  ASSERT_TRUE(parse_net("tap=tap0", settings));
  EXPECT_EQ(settings.net, Net::kTap);
  EXPECT_EQ(settings.tap, "tap0");
  ASSERT_TRUE(parse_net("none", settings));
  EXPECT_EQ(settings.net, Net::kNone);
  EXPECT_EQ(settings.tap, "");
  for (const char* text : {"", "bridge", "tap", "tap=", "tap=a,b", "tap=abcdefghijklmnop"}) {
    EXPECT_FALSE(parse_net(text, settings)) << text;
  }
}

TEST(NetChoice, SeveralAreACardEach) {
  RunSettings settings;
  ASSERT_TRUE(parse_nets({"passt", "user", "tap=tap1"}, settings));
  EXPECT_EQ(settings.net, Net::kPasst);
  EXPECT_EQ(settings.more_nets, (std::vector<NetCard>{{Net::kUser, ""}, {Net::kTap, "tap1"}}));
  ASSERT_TRUE(parse_nets({"none"}, settings));
  EXPECT_TRUE(settings.more_nets.empty());
  for (const std::vector<std::string>& texts : {std::vector<std::string>{"user", "passt"},
                                                {"user", "none"},
                                                {"none", "user"},
                                                {"tap=a", "tap=a"},
                                                {"user", "tap=a", "tap=a"},
                                                {"user", "bridge"},
                                                std::vector<std::string>(kMaxNetCards + 1, "user")}) {
    EXPECT_FALSE(parse_nets(texts, settings)) << texts.front() << " " << texts.back();
  }
}

TEST(UpperKind, IsKeptAndDoesNotGoWithEverything) {
  RunSettings settings;
  settings.upper = UpperKind::kDisk;
  settings.swap_bytes = 5;
  EXPECT_EQ(*settings_from_json(settings_to_json(settings)), settings);
  EXPECT_EQ(settings_from_json(nlohmann::json::object())->upper, UpperKind::kHost) << "of an older VM";
  for (const UpperKind kind : {UpperKind::kHost, UpperKind::kDisk, UpperKind::kRam}) {
    for (bool RunSettings::* other :
         {&RunSettings::disk_root, &RunSettings::no_initrd, &RunSettings::writeback}) {
      RunSettings both;
      both.upper = kind;
      EXPECT_TRUE(check_upper(both));
      both.*other = true;
      const auto checked = check_upper(both);
      EXPECT_EQ(checked.has_value(), kind == UpperKind::kHost);
      const std::string said = checked ? "" : checked.error().text;
      EXPECT_EQ(said.starts_with(str_cat("--upper ", upper_word(kind))), kind != UpperKind::kHost) << said;
    }
  }
}

TEST(RunSettingsJson, NamesWhatIsWrong) {
  for (const char* text : {R"({"cpus":"2"})", R"({"cpus":-1})", R"({"cpus":99999999999})", R"({"net":"x"})",
                           R"({"accel":"x"})", R"({"volumes":[1]})", R"({"published":[{"host":70000}]})",
                           R"({"command":[1]})", R"({"upper":"x"})"}) {
    const auto settings = settings_from_json(nlohmann::json::parse(text));
    ASSERT_FALSE(settings) << text;
    const std::string key = std::string(text).substr(2, std::string(text).find('"', 2) - 2);
    EXPECT_NE(settings.error().text.find(key), std::string::npos) << settings.error().text;
  }
  EXPECT_FALSE(settings_from_json(nlohmann::json::array()));
}

TEST(Volume, LongPathsAreTakenAndTheSystemsOwnAreNot) {
  const std::string deep = "/" + std::string(200, 'a');
  EXPECT_EQ(parse_volume("/srv:" + deep)->guest, deep);
  for (const char* text : {"/srv:/proc", "/srv:/proc/x", "/srv:/sys/fs", "/srv:/dev", "/srv:/dev/shm/x"}) {
    const auto refused = parse_volume(text);
    ASSERT_FALSE(refused) << text;
    EXPECT_NE(refused.error().text.find("has its own"), std::string::npos) << refused.error().text;
  }
  EXPECT_TRUE(parse_volume("/srv:/devel"));
  // As the name of a unit, each '-' has four characters.
  EXPECT_FALSE(parse_volume("/srv:/" + std::string(100, '-')));
}

TEST(RunSettings, AMountIsReadOnlyInGosWords) {
  const auto kind = [](const std::string& value) {
    RunSettings settings;
    const auto taken = parse_mount("type=bind,src=/srv,dst=/data,readonly=" + value, settings);
    EXPECT_TRUE(taken) << value;
    return settings.volumes.empty() ? VolumeKind::kOverlay : settings.volumes.front().kind;
  };
  for (const char* yes : {"1", "t", "T", "TRUE", "true", "True"}) EXPECT_EQ(kind(yes), VolumeKind::kReadOnly);
  for (const char* no : {"0", "f", "F", "FALSE", "false", "False"}) EXPECT_EQ(kind(no), VolumeKind::kShared);
  RunSettings settings;
  for (const char* neither : {"yes", "tRUE", "2", "ja"}) {
    const auto refused = parse_mount(std::string("type=bind,src=/srv,dst=/data,ro=") + neither, settings);
    ASSERT_FALSE(refused) << neither;
    EXPECT_EQ(refused.error().code, EINVAL);
    EXPECT_NE(refused.error().text.find("none of true"), std::string::npos) << refused.error().text;
  }
  EXPECT_TRUE(settings.volumes.empty());
}

TEST(RunSettings, TextThatIsNotUtf8CanNotBeKept) {
  RunSettings settings;
  settings.volumes = {{.host = "/v\u00e4", .guest = "/d"}};
  EXPECT_TRUE(check_can_be_kept(settings));
  settings.volumes.front().host = "/v\xff";
  const auto refused = check_can_be_kept(settings);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().text.find("--volume"), std::string::npos) << refused.error().text;
  settings.volumes.clear();
  settings.kernel = "/k\xff/";
  EXPECT_FALSE(check_can_be_kept(settings));
}

}  // namespace
}  // namespace layerboot::launcher
