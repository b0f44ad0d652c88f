#include "launcher/vm/guest_plan.h"

#include <gtest/gtest.h>

namespace layerboot::launcher {
namespace {

using guest_init::GuestKind;
using Words = std::vector<std::string>;

VmConfig image_with(Words entrypoint, Words command) {
  VmConfig config;
  config.image = "debian:12";
  config.workload.entrypoint = std::move(entrypoint);
  config.workload.command = std::move(command);
  return config;
}

TEST(ExpectedGuest, AnInitByItsNameIsKnownAtOnce) {
  EXPECT_EQ(expected_guest(image_with({}, {"/sbin/init"})), GuestKind::kInit);
  EXPECT_EQ(expected_guest(image_with({"/lib/systemd/systemd"}, {"--unit=x"})), GuestKind::kInit);
  EXPECT_EQ(expected_guest(image_with({}, {})), GuestKind::kInit);
}

TEST(ExpectedGuest, AnotherCommandIsForTheGuestToJudge) {
  // systemd may be the image's /sbin/init all the same.
  EXPECT_EQ(expected_guest(image_with({}, {"bash"})), std::nullopt);
  EXPECT_EQ(expected_guest(VmConfig{}), std::nullopt) << "somebody else's daemon, and image";
}

TEST(ExpectedGuest, ACommandThatIsGivenIsRun) {
  VmConfig config = image_with({}, {"/sbin/init"});
  config.guest_command = {"sh", "-c", "exit 7"};
  EXPECT_EQ(expected_guest(config), GuestKind::kCommand);
  config.guest_command = {"/sbin/init", "3"};
  EXPECT_EQ(expected_guest(config), GuestKind::kInit);
  config = image_with({}, {"/sbin/init"});
  config.entrypoint = Words{"top"};
  EXPECT_EQ(expected_guest(config), GuestKind::kCommand);
}

TEST(ExpectedGuest, ThePersonDecidesAboveAll) {
  VmConfig config = image_with({}, {"/sbin/init"});
  config.boot = Boot::kCommand;
  EXPECT_EQ(expected_guest(config), GuestKind::kCommand);
  config.boot = Boot::kInit;
  config.guest_command = {"sh"};
  EXPECT_EQ(expected_guest(config), GuestKind::kInit);
  for (const char* shell : {"single", "quiet single", "init=/bin/sh"}) {
    config = image_with({}, {"bash"});
    config.append = shell;
    EXPECT_EQ(expected_guest(config), GuestKind::kInit) << shell << " is for a console";
  }
}

TEST(BootsIntoShell, SingleAndAnInitThatIsOne) {
  for (const char* append : {"single", "quiet init=/bin/bash", "init=/bin/sh -- -x"})
    EXPECT_TRUE(boots_into_shell(append));
  for (const char* append : {"", "init=/sbin/init", "singles", "sh"})
    EXPECT_FALSE(boots_into_shell(append)) << append;
  VmConfig config = image_with({}, {"/sbin/init"});
  EXPECT_EQ(guest_arguments(config).find("layerboot.shell"), std::string::npos);
  config.shell_once = true;
  EXPECT_NE(guest_arguments(config).find(" layerboot.shell=once"), std::string::npos);
}

TEST(MainRequest, IsWhatWasAskedFor) {
  VmConfig config = image_with({"entry"}, {"cmd"});
  config.guest_command = {"given"};
  config.environment = {"A=1"};
  config.user = "web";
  config.workdir = "/srv";
  const auto request = main_request(config);
  EXPECT_TRUE(request.main);
  EXPECT_EQ(request.arguments, Words{"given"});
  EXPECT_EQ(request.environment, Words{"A=1"});
  EXPECT_EQ(request.user, "web");
  EXPECT_EQ(request.directory, "/srv");
}

TEST(GuestArguments, SayWhatTheGuestCannotKnow) {
  VmConfig config = image_with({}, {"bash"});
  EXPECT_EQ(guest_arguments(config), " layerboot.agent layerboot.net=user");
  config.net = Net::kPasst;
  config.guest_command = {"true"};
  EXPECT_EQ(guest_arguments(config), " layerboot.agent layerboot.run=command layerboot.net=dhcp");
  config.more_nets = {{.kind = Net::kUser, .tap = {}}, {.kind = Net::kTap, .tap = "t"}};
  EXPECT_TRUE(guest_arguments(config).ends_with(" layerboot.net=dhcp,user,dhcp"));
  config.net = Net::kNone;
  config.boot = Boot::kInit;
  config.cgroup_v1 = true;
  const std::string line = guest_arguments(config);
  EXPECT_TRUE(line.starts_with(" layerboot.agent layerboot.run=init layerboot.cgroup=1 systemd.unified"));
}

TEST(InitArguments, AreTheEndOfTheKernelsCommandLine) {
  VmConfig config = image_with({}, {"/sbin/init", "--image"});
  EXPECT_EQ(*init_arguments(config), "");
  config.guest_command = {"/sbin/init", "--unit=rescue.target", "two words"};
  EXPECT_EQ(*init_arguments(config), " init=/sbin/init -- --unit=rescue.target \"two words\"");
  config.guest_command = {"/sbin/init", "say \"no\""};
  EXPECT_FALSE(init_arguments(config));
  config.guest_command = {"sh", "say \"yes\""};
  EXPECT_EQ(*init_arguments(config), "") << "a command goes by the agent, and may hold anything";
}

}  // namespace
}  // namespace layerboot::launcher
