// vfsd is killed at random points of a write load, again and again on one upper. What it had answered must be
// there; what it was doing must be done or not, and nothing else may be seen; its count must be what is
// there.
//
// A killed process loses nothing that the host's kernel has taken, so this is stricter than fsync asks for.
// What a host's power failure leaves is up to its file system.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <iostream>
#include <thread>

#include "oci-mount/base/str_cat.h"
#include "tests/process/crash_model.h"
#include "tests/process/vfsd_process.h"
#include "tests/support/host_usage.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

constexpr unsigned kWorkers = 2;
constexpr unsigned kRounds = 300;
constexpr unsigned kRoundsOfOneUpper = 5;  // then a new one: its objects are all in the image again
constexpr unsigned kMaxLoadMicroseconds = 25'000;
constexpr std::uint64_t kQuotaBytes = 256U << 20;
constexpr std::uint64_t kQuotaInodes = 10'000;

/// One client of the guest, with a tree of its own.
struct Worker {
  std::string top;
  std::mt19937 random;
  CrashModel model;
  CrashStep pending;  // cut off
  std::string unexpected;
  std::uint64_t steps = 0;
  std::string history;  // of this round

  void load(Door& door) {
    for (;;) {
      CrashStep step = random_step(model, top, random);
      const int code = step.run(door);
      if (code == ENOTCONN) {
        pending = std::move(step);
        return;
      }
      if (code != 0) {
        unexpected = str_cat(step.text, ": ", code);
        return;
      }
      step.expect(model);
      history += step.text + "\n";
      ++steps;
    }
  }

  /// What the write that was cut off may have left: each byte as before or as after, and no shorter or
  /// longer.
  [[nodiscard]] bool may_be_cut_off(const std::string& before, const std::string& after,
                                    const std::string& actual) const {
    if (actual.size() < before.size() || actual.size() > after.size()) return false;
    for (std::size_t i = 0; i < actual.size(); ++i) {
      if (actual[i] != after[i] && (i < before.size() ? before[i] : '\0') != actual[i]) return false;
    }
    return true;
  }

  /// Compares, and goes on from what is there.
  void verify(Door& door) {
    CrashModel actual = CrashModel::read(door, top);
    const auto there = actual.describe();
    CrashModel after = model;
    if (pending.expect) pending.expect(after);
    bool fits = there == model.describe() || there == after.describe();
    const auto* file = actual.find(pending.written);
    const auto* before = model.find(pending.written);
    if (!fits && file != nullptr && before != nullptr) {
      fits = may_be_cut_off(before->content, after.at(pending.written).content, file->content) &&
             there == model.with_content(pending.written, file->content).describe();
    }
    EXPECT_TRUE(fits) << "in " << top << " (kind, mode, size, hash, attribute, first name):\n"
                      << difference(model.describe(), there) << "answered in this round:\n"
                      << history << "cut off: " << pending.text;
    history.clear();
    model = std::move(actual);
    pending = {};
  }

  static std::string difference(const std::map<std::string, std::string>& expected,
                                const std::map<std::string, std::string>& actual) {
    std::string text;
    for (const auto& [name, line] : expected) {
      const auto found = actual.find(name);
      if (found == actual.end()) text += str_cat("missing: ", name, " ", line, "\n");
      if (found != actual.end() && found->second != line)
        text += str_cat(name, ": ", line, " -> ", found->second, "\n");
    }
    for (const auto& [name, line] : actual) {
      if (!expected.contains(name)) text += str_cat("new: ", name, " ", line, "\n");
    }
    return text;
  }
};

class CrashTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "a writable upper needs root";
    TarBuilder tar;
    for (unsigned w = 0; w < kWorkers; ++w) {
      const std::string top = str_cat("w", w);
      tar.directory(top).directory(top + "/lower").directory(top + "/lower/deep");
      for (unsigned i = 0; i < 8; ++i)
        tar.file(str_cat(top, "/f", i),
                 std::string(1000U * i * i, static_cast<char>('A' + static_cast<int>(i))));
      tar.file(top + "/lower/a", std::string(50'000, 'a')).hard_link(top + "/lower/b", top + "/lower/a");
      tar.hard_link(top + "/lower/deep/c", top + "/lower/a").symlink(top + "/lower/link", "a");
    }
    ImageBuilder image(dir_ / "image");
    image.add_gzip_layer(tar.finish());
    image.write();
  }

  void start() {
    guest_.reset();
    vfsd_ = std::make_unique<VfsdProcess>(
        std::vector<std::string>{"--socket-path", dir_ / "s", "--image", "oci:" + (dir_ / "image").string(),
                                 "--upper", dir_ / "upper", "--quota", str_cat(kQuotaBytes), "--inodes",
                                 str_cat(kQuotaInodes), "--quiet"},
        dir_ / "cache");
    ASSERT_TRUE(vfsd_->ready()) << vfsd_->messages();
    auto guest = FakeGuest::connect(dir_ / "s", {.request_queues = kWorkers});
    ASSERT_TRUE(guest) << guest.error().describe();
    guest_ = std::move(*guest);
    ASSERT_TRUE(guest_->boot());
    ASSERT_TRUE(FuseClient(*guest_, 1).init());
  }
  void begin_anew(std::span<Worker> workers) {
    vfsd_.reset();
    std::filesystem::remove_all(dir_ / "upper");
    ASSERT_NO_FATAL_FAILURE(start());
    for (unsigned w = 0; w < kWorkers; ++w) {
      auto its_door = door(w);
      workers[w].model = CrashModel::read(its_door, workers[w].top);
      ASSERT_GT(workers[w].model.describe().size(), 10U);
    }
  }
  GuestDoor door(unsigned worker) { return GuestDoor(FuseClient(*guest_, worker + 1)); }

  void expect_fresh_count() {
    const auto statfs = FuseClient(*guest_, 1).statfs();
    ASSERT_TRUE(statfs);
    const HostUsage host = host_usage(dir_ / "upper");
    EXPECT_EQ(kQuotaBytes - statfs->bfree * statfs->bsize, host.bytes);
    EXPECT_EQ(kQuotaInodes - statfs->ffree, host.inodes);
  }
  void expect_no_half_objects() {
    for (const auto& entry : std::filesystem::directory_iterator(dir_ / "upper/work")) {
      EXPECT_EQ(entry.path().filename(), "whiteout");
    }
  }

  TempDir dir_;
  std::unique_ptr<VfsdProcess> vfsd_;
  std::unique_ptr<FakeGuest> guest_;
};

TEST_F(CrashTest, EverythingAnsweredIsThereAfterAKill) {
  const char* chosen = ::getenv("LAYERBOOT_TEST_SEED");
  const auto seed = static_cast<unsigned>(chosen != nullptr ? std::strtoul(chosen, nullptr, 10) : 20261120);
  std::cout << "seed " << seed << " (LAYERBOOT_TEST_SEED)\n";
  std::mt19937 random(seed);
  std::array<Worker, kWorkers> workers;
  for (unsigned w = 0; w < kWorkers; ++w) {
    workers[w].top = str_cat("w", w);
    workers[w].random.seed(seed + w);
  }
  for (unsigned round = 0; round < kRounds && !HasFailure(); ++round) {
    SCOPED_TRACE(str_cat("round ", round));
    if (round % kRoundsOfOneUpper == 0) {
      ASSERT_NO_FATAL_FAILURE(begin_anew(workers));
    }
    std::vector<std::jthread> threads;
    threads.reserve(kWorkers);
    for (unsigned w = 0; w < kWorkers; ++w) {
      threads.emplace_back([this, w, &workers] {
        auto its_door = door(w);
        workers[w].load(its_door);
      });
    }
    // Not to wait for anything: the point of the kill is what is random here.
    std::this_thread::sleep_for(std::chrono::microseconds(random() % kMaxLoadMicroseconds));
    vfsd_->signal(SIGKILL);
    EXPECT_EQ(vfsd_->wait(), -SIGKILL) << vfsd_->messages();
    const std::string last_words = vfsd_->messages();
    SCOPED_TRACE("the daemon that was killed said: " + last_words);
    threads.clear();
    ASSERT_NO_FATAL_FAILURE(start());
    expect_fresh_count();
    expect_no_half_objects();
    for (unsigned w = 0; w < kWorkers; ++w) {
      EXPECT_EQ(workers[w].unexpected, "");
      auto its_door = door(w);
      workers[w].verify(its_door);
    }
  }
  RecordProperty("steps", str_cat(workers[0].steps + workers[1].steps));
  for (const auto& worker : workers) EXPECT_GT(worker.steps, kRounds) << "hardly any load";
}

}  // namespace
}  // namespace layerboot::test
