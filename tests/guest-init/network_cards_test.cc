#include "guest-init/network_cards.h"

#include <gtest/gtest.h>

namespace guest_init {
namespace {

using Cards = std::vector<std::string>;

std::string named(const Cards& present, const Cards& wanted) {
  std::string text;
  for (const auto& [now, then] : name_cards(present, wanted)) text += now + ">" + then + " ";
  return text;
}

TEST(NameCards, OneThatIsThereKeepsItsNameTheOthersGoByOrder) {
  EXPECT_EQ(named({"eth0"}, {"ens3"}), "eth0>ens3 ");
  EXPECT_EQ(named({"eth0", "eth1"}, {"ens3", "enp0s4"}), "eth0>ens3 eth1>enp0s4 ");
  EXPECT_EQ(named({"eth0", "eth1"}, {"eth1", "eth0"}), "eth1>eth1 eth0>eth0 ");
  EXPECT_EQ(named({"eth0", "eth1"}, {"ens3", "eth0"}), "eth1>ens3 eth0>eth0 ");
  EXPECT_EQ(named({"eth0"}, {"ens3", "ens4"}), "eth0>ens3 ");
  EXPECT_EQ(named({}, {"ens3"}), "");
}

TEST(BareCards, AreThoseThatAreToBeUpAndKeepTheirNames) {
  const Cards all = {"eth0", "eth1", "eth2"};
  EXPECT_EQ(bare_cards(parse_command_line("layerboot.net=up"), all, {}), all);
  EXPECT_EQ(bare_cards(parse_command_line("layerboot.net=up"), all, {"eth1"}), all)
      << "its configuration adds to that";
  EXPECT_EQ(bare_cards(parse_command_line("layerboot.net=up"), all, {"ens3"}), (Cards{"eth1", "eth2"}));
  EXPECT_EQ(bare_cards(parse_command_line("layerboot.net=dhcp,up"), all, {}), (Cards{"eth1", "eth2"}));
  EXPECT_EQ(bare_cards(parse_command_line("layerboot.net=dhcp,up,dhcp"), all, {}), Cards{"eth1"});
  for (const char* line : {"", "layerboot.net=dhcp", "layerboot.net=user,dhcp"})
    EXPECT_EQ(bare_cards(parse_command_line(line), all, {}), Cards()) << line;
}

TEST(RenameCard, OneThatIsNotThereIsAnError) { EXPECT_FALSE(rename_card("no-such-card0", "other0")); }

}  // namespace
}  // namespace guest_init
