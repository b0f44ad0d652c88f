#include "guest-init/cmdline.h"

#include <gtest/gtest.h>

namespace guest_init {
namespace {

using Words = std::vector<std::string>;

TEST(Cmdline, AnEmptyLineMeansTheVirtiofsRootWritable) {
  const auto options = parse_command_line("");
  EXPECT_EQ(options.root, "root");
  EXPECT_EQ(options.root_type, "virtiofs");
  EXPECT_FALSE(options.read_only);
  EXPECT_FALSE(options.single);
  EXPECT_FALSE(options.probe);
  EXPECT_EQ(options.init, "");
  EXPECT_TRUE(options.init_arguments.empty());
}

TEST(Cmdline, ReadsEveryParameterItHeeds) {
  const auto options = parse_command_line(
      "console=ttyS0 root=mytag rootfstype=virtiofs rootflags=dax=never ro single init=/bin/sh "
      "layerboot.probe layerboot.modules=/dev/vdb quiet\n");
  EXPECT_EQ(options.root, "mytag");
  EXPECT_EQ(options.root_flags, "dax=never");
  EXPECT_TRUE(options.read_only);
  EXPECT_TRUE(options.single);
  EXPECT_TRUE(options.probe);
  EXPECT_EQ(options.modules, "/dev/vdb");
  EXPECT_EQ(options.init, "/bin/sh");
}

TEST(Cmdline, TheLastOfRoAndRwCounts) {
  EXPECT_FALSE(parse_command_line("ro rw").read_only);
  EXPECT_TRUE(parse_command_line("rw ro").read_only);
}

TEST(Cmdline, ADiskIsExt4UnlessSaidOtherwise) {
  EXPECT_EQ(parse_command_line("root=/dev/vda rw").root_type, "ext4");
  EXPECT_EQ(parse_command_line("root=/dev/vda rootfstype=xfs").root_type, "xfs");
  EXPECT_EQ(parse_command_line("rootfstype=xfs root=/dev/vda").root_type, "xfs");
}

TEST(Cmdline, QuotesKeepBlanksAndTakeThemselvesAway) {
  EXPECT_EQ(parse_command_line("root=\"my tag\" rw").root, "my tag");
  EXPECT_EQ(parse_command_line("\"root=my tag\" ro").root, "my tag");
  EXPECT_TRUE(parse_command_line("\"root=my tag\" ro").read_only);
  EXPECT_EQ(parse_command_line("x=\"single -- root=no\" root=yes").root, "yes");
  EXPECT_FALSE(parse_command_line("x=\" single \"").single);
}

TEST(Cmdline, AnOpenQuoteEndsWithTheLine) {
  EXPECT_EQ(parse_command_line("root=\"left open ro").root, "left open ro");
}

TEST(Cmdline, StopsAtTheDoubleDash) {
  const auto options = parse_command_line("rw -- single root=other \"two words\" --");
  EXPECT_EQ(options.root, "root");
  EXPECT_FALSE(options.single);
  EXPECT_EQ(options.init_arguments, (Words{"single", "root=other", "two words", "--"}));
}

TEST(Cmdline, LeavesLookalikesAlone) {
  const auto options = parse_command_line(
      "rootwait rootdelay=5 systemd.single init initrd=/x root= single=1 layerboot.probes");
  EXPECT_EQ(options.root, "root");
  EXPECT_EQ(options.init, "");
  EXPECT_FALSE(options.single);
  EXPECT_FALSE(options.probe);
}

TEST(Cmdline, TakesAnyBlanksBetweenParameters) {
  const auto options = parse_command_line("  \t ro\t\tsingle \n\n");
  EXPECT_TRUE(options.read_only);
  EXPECT_TRUE(options.single);
}

TEST(Cmdline, ADiskIsExt4UnlessToldOtherwise) {
  EXPECT_EQ(parse_command_line("root=/dev/vda").root_type, "ext4");
  EXPECT_EQ(parse_command_line("root=UUID=0123").root_type, "ext4");
  EXPECT_EQ(parse_command_line("root=LABEL=data").root, "LABEL=data");
  EXPECT_EQ(parse_command_line("rootfstype=xfs root=/dev/vda").root_type, "xfs");
}

TEST(Cmdline, TakesTheLaunchersOwnParameters) {
  const auto options = parse_command_line(
      "layerboot.agent layerboot.run=command layerboot.net=dhcp layerboot.cgroup=1 "
      "layerboot.mount=vol0:/srv/data:ro layerboot.mount=vol1:/a:b layerboot.mount=vol2:/c:rw");
  EXPECT_TRUE(options.agent);
  EXPECT_EQ(options.run, RunChoice::kCommand);
  EXPECT_EQ(options.net, NetChoice::kDhcp);
  EXPECT_EQ(parse_command_line("layerboot.net=up").net, NetChoice::kUp);
  const auto cards = parse_command_line("layerboot.net=dhcp,user,dhcp,other");
  EXPECT_EQ(cards.net, NetChoice::kDhcp);
  EXPECT_EQ(cards.more_nets,
            (std::vector<NetChoice>{NetChoice::kStatic, NetChoice::kDhcp, NetChoice::kLeave}));
  EXPECT_EQ(net_of_card(cards, 0), NetChoice::kDhcp);
  EXPECT_EQ(net_of_card(cards, 2), NetChoice::kDhcp);
  EXPECT_EQ(net_of_card(cards, 4), NetChoice::kLeave);
  EXPECT_EQ(net_of_card(parse_command_line("layerboot.net=dhcp"), 1), NetChoice::kLeave);
  EXPECT_EQ(net_of_card(parse_command_line("layerboot.net=dhcp,up"), 9), NetChoice::kUp);
  EXPECT_EQ(net_of_card(parse_command_line("layerboot.net=up"), 9), NetChoice::kUp);
  EXPECT_TRUE(options.cgroup_v1);
  ASSERT_EQ(options.shares.size(), 3U);
  EXPECT_EQ(options.shares[0].tag, "vol0");
  EXPECT_EQ(options.shares[0].path, "/srv/data");
  EXPECT_TRUE(options.shares[0].read_only);
  EXPECT_EQ(options.shares[1].path, "/a:b");
  EXPECT_FALSE(options.shares[1].read_only);
  EXPECT_EQ(options.shares[2].path, "/c");
}

TEST(Cmdline, TakesAnUpperOfTheGuestsOwn) {
  EXPECT_FALSE(parse_command_line("root=root").upper);
  const auto disk = parse_command_line("layerboot.upper=/dev/vda,volatile").upper;
  ASSERT_TRUE(disk);
  EXPECT_EQ(disk->device, "/dev/vda");
  EXPECT_TRUE(disk->is_volatile);
  const auto ram = parse_command_line("layerboot.upper=ram,size=1048576").upper;
  ASSERT_TRUE(ram);
  EXPECT_EQ(ram->device, "");
  EXPECT_EQ(ram->size, "1048576");
  EXPECT_FALSE(ram->is_volatile);
  EXPECT_TRUE(parse_command_line("layerboot.upper=ram").upper);
  EXPECT_FALSE(parse_command_line("layerboot.upper=floppy").upper);
}

TEST(Cmdline, TakesASwapDevice) {
  EXPECT_EQ(parse_command_line("root=root").swap, "");
  EXPECT_EQ(parse_command_line("root=root layerboot.swap=/dev/vdb rw").swap, "/dev/vdb");
}

TEST(Cmdline, SkipsSharesThatNameNoPlace) {
  EXPECT_TRUE(parse_command_line("layerboot.mount=tag layerboot.mount=:/x layerboot.mount=t:rel "
                                 "layerboot.mount= layerboot.run=other layerboot.net=other")
                  .shares.empty());
}

TEST(CommandLine, AShellMayBeAllThatIsWanted) {
  EXPECT_TRUE(parse_command_line("layerboot.shell=once").shell_once);
  EXPECT_FALSE(parse_command_line("layerboot.shell=often").shell_once);
  EXPECT_FALSE(parse_command_line("quiet").shell_once);
}

}  // namespace
}  // namespace guest_init
