#include "launcher/cli/doctor_checks.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "launcher/cli/options.h"
#include "launcher/host/memory_limit.h"
#include "tests/launcher/own_user_namespace.h"
#include "tests/launcher/scratch_dir.h"
#include "tests/support/refuse_io_uring.h"

namespace layerboot::launcher {
namespace {

TEST(DoctorChecks, QemuByItsVersion) {
  EXPECT_EQ(check_qemu_version("QEMU emulator version 7.2.22 (Debian 1:7.2)").health, Health::kGood);
  EXPECT_EQ(check_qemu_version("QEMU emulator version 10.0.2").health, Health::kGood);
  const Finding old = check_qemu_version("QEMU emulator version 5.2.0");
  EXPECT_EQ(old.health, Health::kMissing);
  EXPECT_FALSE(old.remedy.empty());
  EXPECT_EQ(check_qemu_version("something").health, Health::kLess);
}

TEST(DoctorChecks, WhereQemuHasTheHostsNetworkItIsSaid) {
  const auto status = in_own_user_namespace([] {
    if (check_network_namespace().health != Health::kGood) return 1;
    if (!(std::ofstream("/proc/sys/user/max_net_namespaces") << "0" << std::flush)) return 2;
    const Finding finding = check_network_namespace();
    return finding.health == Health::kLess && !finding.remedy.empty() ? 0 : 3;
  });
  if (!status || *status == 2) GTEST_SKIP() << "namespaces can't be refused here";
  EXPECT_EQ(*status, 0);
}

TEST(DoctorChecks, WhatIsMissingHasARemedy) {
  const Finding tool = check_tool("no-such-program", "flying", "apt install wings");
  EXPECT_EQ(tool.health, Health::kLess);
  EXPECT_EQ(tool.remedy, "apt install wings");
  const StateDirs nowhere{
      .data = "/proc/nowhere/data", .cache = "/proc/c", .runtime = "/proc/nowhere/data/run"};
  EXPECT_EQ(check_state(nowhere).health, Health::kMissing);
  EXPECT_FALSE(check_state(nowhere).remedy.empty());
  EXPECT_EQ(check_runtime(nowhere).health, Health::kLess);
}

TEST(DoctorChecks, AHostThatRefusesIoUringRunsVmsLessWell) {
  std::thread([] {
    ASSERT_TRUE(test::refuse_io_uring(EPERM));
    const Finding ring = check_io_uring();
    EXPECT_EQ(ring.health, Health::kLess);
    EXPECT_NE(ring.detail.find("Operation not permitted"), std::string::npos) << ring.detail;
    EXPECT_NE(ring.detail.find("epoll"), std::string::npos) << ring.detail;
    EXPECT_FALSE(ring.remedy.empty());
  }).join();
}

TEST(DoctorChecks, TellsWhatOthersCanEnter) {
  const ScratchDir scratch;
  const StateDirs dirs{
      .data = scratch.path() / "data", .cache = scratch.path() / "cache", .runtime = scratch.path() / "run"};
  EXPECT_EQ(check_privacy(dirs).health, Health::kGood);
  std::filesystem::create_directories(dirs.store());
  for (const auto& path : {dirs.data, dirs.store()})
    std::filesystem::permissions(path, std::filesystem::perms(0755));
  const Finding open = check_privacy(dirs);
  EXPECT_EQ(open.health, Health::kLess);
  EXPECT_NE(open.detail.find(dirs.store().string()), std::string::npos) << open.detail;
  EXPECT_NE(open.remedy.find("chmod"), std::string::npos);
}

TEST(DoctorChecks, TheLeastLimitOfTheGroupsAboveCounts) {
  const ScratchDir scratch;
  const auto own = scratch.path() / "own";
  const auto write = [](const std::filesystem::path& file, const std::string& text) {
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  };
  const auto limit = [&] { return own_group_limit_bytes(scratch.path(), own); };
  EXPECT_FALSE(limit());
  write(own, "0::/user.slice/vm.scope\n");
  write(scratch.path() / "user.slice/vm.scope/memory.max", "max\n");
  EXPECT_FALSE(limit());
  write(scratch.path() / "user.slice/memory.max", "3000\n");
  EXPECT_EQ(limit(), 3000U);
  write(scratch.path() / "user.slice/vm.scope/memory.max", "2000\n");
  EXPECT_EQ(limit(), 2000U);
  write(own, "9:name=systemd:/\n4:memory:/a\n0::/user.slice\n");
  EXPECT_FALSE(limit()) << "the controller is version 1's";
  write(scratch.path() / "memory/a/memory.limit_in_bytes", "1000\n");
  EXPECT_EQ(limit(), 1000U);
  EXPECT_EQ(check_memory_bound().health, Health::kGood);
  EXPECT_FALSE(check_memory_bound().detail.empty());
}

TEST(DoctorChecks, BothFormsSayAll) {
  const std::vector<Finding> findings = {
      {.subject = "QEMU", .health = Health::kMissing, .detail = "gone", .remedy = "get it"}};
  EXPECT_NE(findings_text(findings).find("get it"), std::string::npos);
  const auto document = nlohmann::json::parse(findings_json(findings));
  EXPECT_EQ(document.at(0).at("health"), "missing");
  EXPECT_EQ(document.at(0).at("remedy"), "get it");
}

TEST(Completion, IsAScriptThatKnowsTheCommands) {
  const char* arguments[] = {"layerboot", "completion"};
  const auto parsed = parse_command_line(2, arguments);
  EXPECT_EQ(parsed.exit_code, 0);
  const ScratchDir scratch;
  // bash itself completes: the commands that begin with "re", and an option of run.
  const auto script =
      scratch.script("try", parsed.text +
                                "COMP_WORDS=(layerboot res); COMP_CWORD=1; _layerboot\n"
                                "echo \"${COMPREPLY[@]}\"\n"
                                "COMP_WORDS=(layerboot run --epheme); COMP_CWORD=2; _layerboot\n"
                                "echo \"${COMPREPLY[@]}\"\n");
  const std::string command = "bash " + script.string() + " > " + (scratch.path() / "out").string();
  ASSERT_EQ(std::system(command.c_str()), 0);
  EXPECT_EQ(scratch.read("out"), "restart reset resize\n--ephemeral\n");
}

}  // namespace
}  // namespace layerboot::launcher
