#include "launcher/cli/ssh_command.h"

#include <gtest/gtest.h>

#include <fstream>

#include "launcher/host/run_tool.h"
#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

TEST(SshCommand, ItsSettingsCountBeforeThoseOfTheUser) {
  const ScratchDir scratch;
  const auto config = scratch.path() / "config";
  std::ofstream(config)
      << "Host *\n PasswordAuthentication yes\n KbdInteractiveAuthentication yes\n"
         " PreferredAuthentications password,keyboard-interactive,publickey\n"
         " ControlMaster auto\n ControlPath /tmp/%h\n ForwardAgent yes\n"
         " StrictHostKeyChecking no\n RemoteForward 8080 127.0.0.1:80\n DynamicForward 1080\n"
         " LocalForward 8081 127.0.0.1:81\n Tunnel yes\n";
  std::vector<std::string> argv = {"ssh", "-G", "-F", config.string()};
  for (const auto& setting : ssh_settings("proxy", "layerboot-vm", "/in/a directory/known_hosts"))
    argv.insert(argv.end(), {"-o", setting});
  argv.emplace_back("vm");
  const auto said = run_tool(argv);
  if (!said && said.error().code == ENOENT) GTEST_SKIP() << "there is no ssh here";
  ASSERT_TRUE(said) << said.error().text;
  for (const char* line :
       {"\npreferredauthentications publickey\n", "\npasswordauthentication no\n",
        "\nkbdinteractiveauthentication no\n", "\ncontrolmaster false\n", "\nforwardagent no\n",
        "\nstricthostkeychecking true\n", "\nproxycommand proxy\n", "\nhostkeyalias layerboot-vm\n",
        "\nuserknownhostsfile /in/a directory/known_hosts\n"}) {
    EXPECT_NE(said->find(line), std::string::npos) << line << *said;
  }
  EXPECT_NE(said->find("\ntunnel false\n"), std::string::npos) << *said;
  for (const char* forward : {"\nremoteforward ", "\nlocalforward ", "\ndynamicforward "})
    EXPECT_EQ(said->find(forward), std::string::npos) << *said;
  EXPECT_EQ(said->find("\ncontrolpath /tmp"), std::string::npos) << *said;
}

}  // namespace
}  // namespace layerboot::launcher
