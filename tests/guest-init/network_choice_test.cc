#include "guest-init/network_choice.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "guest-init/fd.h"
#include "tests/support/temp_dir.h"

namespace guest_init {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

TEST(CardsOfInterfaces, AreThoseThatAreBroughtUpAtBoot) {
  EXPECT_EQ(cards_of_interfaces("# a comment\n"
                                "auto lo\n"
                                "iface lo inet loopback\n"
                                "allow-hotplug  ens3\n"
                                "iface ens3 inet dhcp\n"
                                "iface ens3 inet6 auto\n"
                                "\tauto eth1 eth0\n"
                                "iface eth0 inet static\n"
                                "  address 10.0.2.15/24\n"
                                "iface eth1 inet manual\n"
                                "iface eth9 inet dhcp\n"
                                "auto eth0.5 eth0:1 br0 eno7\n"
                                "iface eth0.5 inet dhcp\n"
                                "iface br0 inet dhcp"),
            (Names{"ens3", "eth1", "eth0"}))
      << "eth9 is not asked for, eno7 is nowhere described, what is on top of a card is none";
  EXPECT_EQ(cards_of_interfaces(""), Names());
  EXPECT_EQ(cards_of_interfaces("auto\niface\nauto e\niface e inet dhcp\nauto ../e\niface ../e inet dhcp"),
            Names());
}

class ChooseNetwork : public testing::Test {
 protected:
  void put(const std::string& path, const std::string& text = "") const {
    fs::create_directories((dir_ / path).parent_path());
    std::ofstream(dir_ / path) << text;
  }
  void enable(const std::string& unit, const std::string& wants = "multi-user.target.wants") const {
    const fs::path link = dir_ / "etc/systemd/system" / wants / unit;
    fs::create_directories(link.parent_path());
    fs::create_symlink("/lib/systemd/system/" + unit, link);
  }
  NetworkChoice choose(bool systemd = true, bool udev = true) const {
    const Fd root(open(dir_.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    return choose_network(root.get(), systemd, udev);
  }

  layerboot::test::TempDir dir_;
};

TEST_F(ChooseNetwork, NetworkdWhereTheImageHasNothingElse) {
  EXPECT_EQ(choose().owner, NetworkOwner::kUs);
  put("usr/lib/systemd/systemd-networkd");
  EXPECT_EQ(choose().owner, NetworkOwner::kNetworkd);
  EXPECT_EQ(choose(true, false).owner, NetworkOwner::kUs) << "without udev it takes no card for ready";
  EXPECT_EQ(choose(false).owner, NetworkOwner::kUs);
}

TEST_F(ChooseNetwork, NetworkManagerWhereItIsEnabled) {
  put("usr/lib/systemd/systemd-networkd");
  put("usr/sbin/NetworkManager");
  EXPECT_EQ(choose().owner, NetworkOwner::kNetworkd);
  enable("NetworkManager.service");
  EXPECT_EQ(choose().owner, NetworkOwner::kNetworkManager);
  EXPECT_EQ(choose(true, false).owner, NetworkOwner::kUs);
}

TEST(NoAutoDefault, IsForAllButTheCardsThatAreToHaveAnAddress) {
  EXPECT_EQ(no_auto_default({}), "[main]\nno-auto-default=*\n");
  EXPECT_EQ(no_auto_default({"0c:00:00:00:00:0a"}),
            "[main]\nno-auto-default=*,except:mac:0c:00:00:00:00:0a\n");
}

TEST_F(ChooseNetwork, IfupdownWhereItNamesACard) {
  put("usr/lib/systemd/systemd-networkd");
  enable("networking.service");
  put("etc/network/interfaces", "auto lo\niface lo inet loopback\nsource /etc/network/interfaces.d/*\n");
  EXPECT_EQ(choose().owner, NetworkOwner::kNetworkd) << "the loopback alone is nobody's card";
  put("etc/network/interfaces.d/10-card", "auto ens3\niface ens3 inet dhcp\n");
  const auto choice = choose();
  EXPECT_EQ(choice.owner, NetworkOwner::kIfupdown);
  EXPECT_EQ(choice.card_names, Names{"ens3"});
}

TEST_F(ChooseNetwork, IfupdownByARunlevelsScript) {
  put("etc/network/interfaces", "auto eth0\niface eth0 inet dhcp\n");
  EXPECT_EQ(choose(false).owner, NetworkOwner::kUs);
  put("etc/rcS.d/S11networking");
  EXPECT_EQ(choose(false).owner, NetworkOwner::kIfupdown);
  fs::remove(dir_ / "etc/rcS.d/S11networking");
  put("etc/runlevels/boot/networking");
  EXPECT_EQ(choose(false).owner, NetworkOwner::kIfupdown);
}

}  // namespace
}  // namespace guest_init
