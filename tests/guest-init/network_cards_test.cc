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

TEST(RenameCard, OneThatIsNotThereIsAnError) { EXPECT_FALSE(rename_card("no-such-card0", "other0")); }

}  // namespace
}  // namespace guest_init
