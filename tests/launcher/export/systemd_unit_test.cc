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

bool has_line(const std::string& unit, const std::string& line) {
  return ("\n" + unit).find("\n" + line + "\n") != std::string::npos;
}

TEST(SystemdUnitTest, StartsAndStopsTheVmInOrder) {
  const std::string unit = systemd_unit(of_root());
  EXPECT_TRUE(has_line(unit, "ExecStart=\"/usr/bin/layerboot\" start --attach \"web\"")) << unit;
  EXPECT_TRUE(has_line(unit, "KillMode=mixed"));
  EXPECT_TRUE(has_line(unit, "TimeoutStopSec=130"));
  EXPECT_TRUE(has_line(unit, "ProtectSystem=strict"));
  EXPECT_TRUE(has_line(unit, "ReadWritePaths=-\"/var/lib/layerboot\""));
  EXPECT_TRUE(has_line(unit, "RuntimeDirectory=layerboot"));
  EXPECT_TRUE(has_line(unit, "PrivateTmp=yes"));
  EXPECT_TRUE(has_line(unit, "WantedBy=multi-user.target"));
}

TEST(SystemdUnitTest, WritesToVolumesAndQuotesPaths) {
  SystemdService service = of_root();
  service.run.volumes = {{.host = "/srv/a $b%", .guest = "/a"},
                         {.host = "/srv/ro", .guest = "/ro", .kind = VolumeKind::kReadOnly}};
  const std::string unit = systemd_unit(service);
  EXPECT_TRUE(has_line(unit, "ReadWritePaths=-\"/srv/a $b%%\"")) << unit;
  EXPECT_TRUE(has_line(unit, "RequiresMountsFor=\"/srv/a $b%%\"")) << unit;
  EXPECT_EQ(unit.find("/srv/ro"), std::string::npos);
}

TEST(SystemdUnitTest, HidesNoTemporaryDirectoryThatIsNeeded) {
  SystemdService service = of_root();
  service.run.volumes = {{.host = "/tmp/x", .guest = "/x", .kind = VolumeKind::kReadOnly}};
  EXPECT_EQ(systemd_unit(service).find("PrivateTmp"), std::string::npos);
}

TEST(SystemdUnitTest, LeavesAnOrdinaryUsersServiceAsItIs) {
  SystemdService service = of_root();
  service.is_user = true;
  const std::string unit = systemd_unit(service);
  EXPECT_EQ(unit.find("Protect"), std::string::npos);
  EXPECT_TRUE(has_line(unit, "WantedBy=default.target"));
}

}  // namespace
}  // namespace layerboot::launcher
