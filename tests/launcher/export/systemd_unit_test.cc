#include "launcher/export/systemd_unit.h"

#include <gtest/gtest.h>

namespace layerboot::launcher {
namespace {

SystemdService of_root() {
  SystemdService service;
  service.name = "web";
  service.layerboot = "/usr/bin/layerboot";
  service.dirs = {.data = "/var/lib/layerboot", .cache = "/var/cache/layerboot", .runtime = "/run/layerboot"};
  return service;
}

std::string unit_of(const SystemdService& service) {
  const auto unit = systemd_unit(service);
  EXPECT_TRUE(unit) << unit.error().describe();
  return unit.value_or("");
}

bool has_line(const std::string& unit, const std::string& line) {
  return ("\n" + unit).find("\n" + line + "\n") != std::string::npos;
}

TEST(SystemdUnitTest, StartsAndStopsTheVmInOrder) {
  const std::string unit = unit_of(of_root());
  EXPECT_TRUE(has_line(unit, "ExecStart=\"/usr/bin/layerboot\" start --attach \"web\"")) << unit;
  EXPECT_TRUE(has_line(unit, "KillMode=mixed"));
  EXPECT_TRUE(has_line(unit, "TimeoutStopSec=130"));
  EXPECT_TRUE(has_line(unit, "ProtectSystem=strict"));
  EXPECT_TRUE(has_line(unit, "ReadWritePaths=-\"/var/lib/layerboot\""));
  EXPECT_TRUE(has_line(unit, "RuntimeDirectory=layerboot"));
  EXPECT_TRUE(has_line(unit, "PrivateTmp=yes"));
  EXPECT_TRUE(has_line(unit, "WantedBy=multi-user.target"));
}

TEST(SystemdUnitTest, BoundsTheMemoryOfAllItsProcesses) {
  constexpr std::uint64_t kMib = std::uint64_t{1} << 20U;
  SystemdService service = of_root();
  service.run.memory_bytes = 2048 * kMib;
  const auto has_bound = [&](std::uint64_t mib) {
    return has_line(unit_of(service), "MemoryMax=" + std::to_string(mib * kMib));
  };
  EXPECT_TRUE(has_bound(2048 + 384 + 1024 + 512)) << unit_of(service);
  service.run.accel_choice = AccelChoice::kKvm;
  EXPECT_TRUE(has_bound(2048 + 384 + 512));
  service.run.volumes = {{.host = "/a", .guest = "/a"}, {.host = "/b", .guest = "/b"}};
  EXPECT_TRUE(has_bound(2048 + 384 + 3 * 512));
  service.run.disk_root = true;
  service.run.volumes.clear();
  service.is_user = true;
  EXPECT_TRUE(has_bound(2048 + 384));
}

TEST(SystemdUnitTest, WritesToVolumesAndQuotesPaths) {
  SystemdService service = of_root();
  service.run.volumes = {{.host = "/srv/a $b%", .guest = "/a"},
                         {.host = "/srv/ro", .guest = "/ro", .kind = VolumeKind::kReadOnly}};
  const std::string unit = unit_of(service);
  EXPECT_TRUE(has_line(unit, "ReadWritePaths=-\"/srv/a $b%%\"")) << unit;
  EXPECT_TRUE(has_line(unit, "RequiresMountsFor=\"/srv/a $b%%\"")) << unit;
  EXPECT_EQ(unit.find("/srv/ro"), std::string::npos);
}

TEST(SystemdUnitTest, HidesNoTemporaryDirectoryThatIsNeeded) {
  SystemdService service = of_root();
  service.run.volumes = {{.host = "/tmp/x", .guest = "/x", .kind = VolumeKind::kReadOnly}};
  EXPECT_EQ(unit_of(service).find("PrivateTmp"), std::string::npos);
}

TEST(SystemdUnitTest, HidesNothingThatTheVmIsMadeOf) {
  const auto hides = [](const SystemdService& service) {
    return unit_of(service).find("PrivateTmp") != std::string::npos;
  };
  EXPECT_TRUE(hides(of_root()));
  SystemdService service = of_root();
  service.image = "oci:/var/tmp/image:1";
  EXPECT_FALSE(hides(service));
  service = of_root();
  service.image = "debian:12";
  service.run.kernel = "/tmp/kernel";
  EXPECT_FALSE(hides(service));
  service.run.kernel = "image:oci:/tmp/kernel:1";
  EXPECT_FALSE(hides(service));
  service = of_root();
  service.run.sockets = {{.host = "/tmp/docker.sock", .guest = "/run/docker.sock"}};
  EXPECT_FALSE(hides(service)) << "which is in the directory itself";
  service = of_root();
  service.run.volumes = {{.host = "/var/tmp", .guest = "/t", .kind = VolumeKind::kReadOnly}};
  EXPECT_FALSE(hides(service));
  service.run.volumes = {{.host = "/tmpfiles", .guest = "/t"}};
  EXPECT_TRUE(hides(service));
}

TEST(SystemdUnitTest, ADollarIsDoubledWhereSystemdPutsInVariables) {
  SystemdService service = of_root();
  service.layerboot = "/opt/$a/layerboot";
  service.options = {"--vfsd", "/opt/$a/vfsd"};
  service.dirs.data = "/srv/$d%/layerboot";
  const std::string unit = unit_of(service);
  EXPECT_TRUE(
      has_line(unit, "ExecStart=\"/opt/$a/layerboot\" start --attach \"--vfsd\" \"/opt/$$a/vfsd\" \"web\""))
      << unit;
  EXPECT_TRUE(has_line(unit, "Environment=\"XDG_DATA_HOME=/srv/$d%%\"")) << unit;
}

TEST(SystemdUnitTest, RefusesPathsThatBeginALineOfTheirOwn) {
  SystemdService service = of_root();
  service.run.volumes = {{.host = "/srv/a\nExecStartPre=/bin/evil", .guest = "/a"}};
  const auto refused = systemd_unit(service);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EINVAL);
  EXPECT_EQ(refused.error().text.find('\n'), std::string::npos) << refused.error().text;
}

TEST(SystemdUnitTest, LeavesAnOrdinaryUsersServiceAsItIs) {
  SystemdService service = of_root();
  service.is_user = true;
  const std::string unit = unit_of(service);
  EXPECT_EQ(unit.find("Protect"), std::string::npos);
  EXPECT_TRUE(has_line(unit, "WantedBy=default.target"));
}

}  // namespace
}  // namespace layerboot::launcher
