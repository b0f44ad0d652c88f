#include "launcher/qemu/qemu_user.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>

#include "launcher/qemu/qemu_args.h"
#include "tests/launcher/own_user_namespace.h"
#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

using Arguments = std::vector<std::string>;

VmConfig other_user(unsigned qemu_major) {
  VmConfig config;
  config.qemu_major = qemu_major;
  config.qemu_uid = 61234;
  config.qemu_root = "/run/empty";
  return config;
}

TEST(QemuUser, IsToldInTheWordsOfEachQemu) {
  EXPECT_EQ(qemu_user_args(other_user(7)), (Arguments{"-runas", "61234:61234", "-chroot", "/run/empty"}));
  EXPECT_EQ(qemu_user_args(other_user(9)),
            (Arguments{"-runas", "61234:61234", "-run-with", "chroot=/run/empty"}));
  EXPECT_EQ(qemu_user_args(other_user(10)), (Arguments{"-run-with", "user=61234:61234,chroot=/run/empty"}));
}

TEST(QemuUser, MayKeepTheHostsFilesInView) {
  VmConfig config = other_user(7);
  config.qemu_root.clear();
  EXPECT_EQ(qemu_user_args(config), (Arguments{"-runas", "61234:61234"}));
  config.qemu_major = 10;
  EXPECT_EQ(qemu_user_args(config), (Arguments{"-run-with", "user=61234:61234"}));
}

TEST(QemuUser, QemusFilterRefusesTheChangeWhereThereIsNone) {
  const auto filter = [](const VmConfig& config) {
    const Arguments args = *qemu_args(config, "/usr/bin/qemu");
    return *(std::ranges::find(args, "-sandbox") + 1);
  };
  EXPECT_NE(filter(other_user(7)).find("elevateprivileges=allow,spawn=deny"), std::string::npos);
  EXPECT_NE(filter(VmConfig()).find("elevateprivileges=deny,spawn=deny"), std::string::npos);
  EXPECT_EQ(qemu_user_args(VmConfig()), Arguments());
}

TEST(QemuUser, IsRootNoMoreWhereWeAre) {
  if (::geteuid() != 0) GTEST_SKIP() << "an ordinary user's QEMU runs as that user";
  const ScratchDir scratch;
  const StateDirs dirs{.data = scratch.path(), .cache = scratch.path(), .runtime = scratch.path() / "run"};
  VmConfig config;
  config.net = Net::kNone;
  config.qemu_major = 7;
  config.machine_id = "0123456789abcdef0123456789abcdef";
  auto held = choose_qemu_user(dirs, "/no/such/qemu", config);
  ASSERT_TRUE(held && *held);
  EXPECT_GE(config.qemu_uid, 61184U);
  EXPECT_LE(config.qemu_uid, 65519U);
  EXPECT_TRUE(std::filesystem::is_empty(config.qemu_root));
  // The hash of two machines' ids may be one.
  VmConfig other = config;
  const auto also_held = choose_qemu_user(dirs, "/no/such/qemu", other);
  ASSERT_TRUE(also_held && *also_held);
  EXPECT_NE(other.qemu_uid, config.qemu_uid) << "while the first one runs";
  *held = HeldUser();
  EXPECT_FALSE(std::filesystem::exists(dirs.runtime / ".users" / std::to_string(config.qemu_uid)));
  VmConfig again = config;
  ASSERT_TRUE(choose_qemu_user(dirs, "/no/such/qemu", again));
  EXPECT_EQ(again.qemu_uid, config.qemu_uid) << "a VM's own";
  // The user network reads the host's resolv.conf while it runs.
  VmConfig with_network = config;
  with_network.net = Net::kUser;
  with_network.qemu_root.clear();
  ASSERT_TRUE(choose_qemu_user(dirs, "/no/such/qemu", with_network));
  EXPECT_TRUE(with_network.qemu_root.empty());
  with_network.net = Net::kTap;
  with_network.more_nets = {{.kind = Net::kUser, .tap = {}}};
  ASSERT_TRUE(choose_qemu_user(dirs, "/no/such/qemu", with_network));
  EXPECT_TRUE(with_network.qemu_root.empty());
}

TEST(QemuUser, IsNoneThatAProcessHas) {
  if (::geteuid() != 0) GTEST_SKIP() << "an ordinary user's QEMU runs as that user";
  const ScratchDir scratch;
  const StateDirs dirs{.data = scratch.path(), .cache = scratch.path(), .runtime = scratch.path() / "run"};
  VmConfig config;
  config.net = Net::kNone;
  config.qemu_major = 7;
  config.machine_id = "fedcba9876543210fedcba9876543210";
  ASSERT_TRUE(choose_qemu_user(dirs, "/no/such/qemu", config));
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const bool changed = ::setuid(config.qemu_uid) == 0;
    if (::write(ends[1], changed ? "y" : "n", 1) == 1) ::pause();
    ::_exit(1);
  }
  char changed = 'n';
  ASSERT_EQ(::read(ends[0], &changed, 1), 1);
  ASSERT_EQ(changed, 'y');
  VmConfig other = config;
  ASSERT_TRUE(choose_qemu_user(dirs, "/no/such/qemu", other));
  EXPECT_NE(other.qemu_uid, config.qemu_uid);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(QemuUser, OfTheNamespacesItHasThoseThatThereAre) {
  const auto status = in_own_user_namespace([] {
    if (!(std::ofstream("/proc/sys/user/max_net_namespaces") << "0" << std::flush)) return 2;
    VmConfig config = other_user(7);
    config.net = Net::kNone;
    return qemu_apart_from(config) == (CLONE_NEWIPC | CLONE_NEWUTS) ? 0 : 1;
  });
  if (!status || *status == 2) GTEST_SKIP() << "namespaces can't be refused here";
  EXPECT_EQ(*status, 0);
}

TEST(QemuUser, AQemuOfUnknownVersionIsLeftAsItIs) {
  VmConfig config;
  ASSERT_TRUE(choose_qemu_user({}, "/no/such/qemu", config));
  EXPECT_EQ(config.qemu_uid, 0U);
}

}  // namespace
}  // namespace layerboot::launcher
