#include "guest-init/machine_files.h"

#include <gtest/gtest.h>

namespace guest_init {
namespace {

TEST(LenientFstab, LeavesWhatIsHereAndDoesNotWaitForTheRest) {
  const std::string text =
      "# UUID=comment /x ext4\n"
      "UUID=1111-root / ext4 errors=remount-ro 0 1\n"
      "UUID=2222-home\t/home  ext4 noatime 0 2\n"
      "/dev/sda5 none swap sw 0 0\n"
      "LABEL=here /data ext4\n"
      "tmpfs /tmp tmpfs defaults 0 0\n"
      "/dev/sdb1 /short ext4";
  std::vector<std::string> changed;
  const std::string lenient =
      lenient_fstab(text, [](const std::string& device) { return device == "LABEL=here"; }, changed);
  EXPECT_EQ(changed,
            (std::vector<std::string>{"UUID=1111-root", "UUID=2222-home", "/dev/sda5", "/dev/sdb1"}));
  EXPECT_EQ(lenient,
            "# UUID=comment /x ext4\n"
            "root / ext4 defaults 0 0\n"
            "UUID=2222-home /home ext4 noatime,nofail,x-systemd.device-timeout=1s 0 2\n"
            "/dev/sda5 none swap sw,nofail,x-systemd.device-timeout=1s 0 0\n"
            "LABEL=here /data ext4\n"
            "tmpfs /tmp tmpfs defaults 0 0\n"
            "/dev/sdb1 /short ext4 defaults,nofail,x-systemd.device-timeout=1s\n");
}

TEST(LenientFstab, TheRootKeepsWhatEveryFileSystemTakes) {
  std::vector<std::string> changed;
  const auto lenient = [&changed](const char* text, bool here) {
    return lenient_fstab(text, [here](const std::string&) { return here; }, changed);
  };
  EXPECT_EQ(lenient("/dev/sda1 / btrfs subvol=@,noatime,x-systemd.y,compress=zstd 0 1", false),
            "root / btrfs noatime,x-systemd.y 0 0\n");
  EXPECT_EQ(lenient("UUID=1 / ext4", false), "root / ext4 defaults\n");
  EXPECT_EQ(changed.size(), 2U);
  EXPECT_EQ(lenient("root / virtiofs x=y 0 1\n", false), "root / virtiofs x=y 0 1\n");
  EXPECT_EQ(lenient("/dev/vda / ext4 errors=remount-ro 0 1\n", true),
            "/dev/vda / ext4 errors=remount-ro 0 1\n");
  EXPECT_EQ(changed.size(), 2U);
}

TEST(SerialGetty, IsBroughtWhereThereIsNone) {
  EXPECT_EQ(with_serial_getty("id:2:initdefault:\n#T0:23:respawn:/sbin/getty -L ttyS0", false, "/sbin/agetty",
                              false),
            "id:2:initdefault:\n#T0:23:respawn:/sbin/getty -L ttyS0\n"
            "LB:2345:respawn:/sbin/agetty --keep-baud 115200,38400,9600 ttyS0 vt220\n");
  EXPECT_EQ(with_serial_getty("::sysinit:/x\n", true, "/sbin/getty", false),
            "::sysinit:/x\nttyS0::respawn:/sbin/getty -L 115200 ttyS0 vt220\n");
  for (const char* there : {"ttyS0::respawn:/sbin/getty 9600 ttyS0\n", "console::respawn:/bin/sh\n"}) {
    EXPECT_EQ(with_serial_getty(there, true, "/sbin/getty", false), there);
  }
  EXPECT_NE(with_serial_getty("", false, "/sbin/agetty", true).find("--autologin root"), std::string::npos);
  EXPECT_NE(with_serial_getty("", true, "/sbin/getty", true).find("login -f root"), std::string::npos);
}

TEST(RootPassword, ReplacesRootsHashAlone) {
  EXPECT_EQ(with_root_password("daemon:*:1\nroot:!:19000:0:\nrooter:x:2\n", "$6$h"),
            "daemon:*:1\nroot:$6$h:19000:0:\nrooter:x:2\n");
  EXPECT_EQ(with_root_password("root:x:0:0:root:/root:/bin/sh", "h"), "root:h:0:0:root:/root:/bin/sh\n");
  EXPECT_EQ(with_root_password("daemon:*:1\n", "h"), "");
}

}  // namespace
}  // namespace guest_init
