#include "launcher/supervise/detach.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

/// What the parent is told of a child that has `written` into its log and given up for `why`.
std::string told(const std::filesystem::path& log, const std::string& written, const std::string& why) {
  auto detached = Detachment::split(log);
  if (!detached) return detached.error().describe();
  if (detached->is_child()) {
    [[maybe_unused]] const auto into_log = ::write(STDERR_FILENO, written.data(), written.size());
    detached->failed(Error{ENOSPC, why});
    ::_exit(1);
  }
  const auto outcome = detached->wait_started();
  return outcome ? "started" : outcome.error().text;
}

TEST(Detachment, WhatALogCouldNotTakeIsToldAllTheSame) {
  EXPECT_EQ(told("/dev/full", "x", "cannot write config.json"), "cannot write config.json");
  EXPECT_NE(told("/dev/full", "x", "").find("disk full"), std::string::npos);
}

TEST(Detachment, WhatTheLogSaysIsNotSaidTwice) {
  const ScratchDir scratch;
  EXPECT_EQ(told(scratch.path() / "log", "layerboot: error: no room\n", "no room"), "");
  EXPECT_EQ(told(scratch.path() / "log", "layerboot: QEMU: no\n", ""), "");
}

TEST(Detachment, TheStartIsTold) {
  const ScratchDir scratch;
  auto detached = Detachment::split(scratch.path() / "log");
  ASSERT_TRUE(detached);
  if (detached->is_child()) {
    const auto said = detached->started();
    ::_exit(said ? 0 : 1);
  }
  EXPECT_TRUE(detached->wait_started());
}

}  // namespace
}  // namespace layerboot::launcher
