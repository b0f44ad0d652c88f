// The budget of a running vfsd: asked for and changed over the control socket while the guest writes, and the
// floor of what the host keeps.
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "tests/process/control_client.h"
#include "tests/process/vfsd_sandbox_fixture.h"

namespace layerboot::test {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMiB = 1U << 20;
constexpr uid_t kSomebody = 65534;

class QuotaProcessTest : public SandboxedVfsd {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "a writable upper needs root";
    SandboxedVfsd::SetUp();
  }
  void start_with_quota(const std::string& quota, std::vector<std::string> more = {}) {
    more.insert(more.end(), {"--upper", upper(), "--quota", quota, "--control-socket", control()});
    start(std::move(more));
    boot();
  }
  /// Until it is refused; the error, and in `written` how much there is now.
  int fill(std::uint64_t node, std::uint64_t& written, std::uint64_t most = 512 * kMiB) {
    int code = 0;
    for (const std::size_t piece : {64U << 10, 4U << 10}) {
      for (code = 0; code == 0 && written < most;) {
        const auto put = client_->write(node, written, std::string(piece, 'x'));
        code = put ? 0 : put.error().code;
        written += put.value_or(0);
      }
    }
    return code;
  }
  json ask(const json& request) { return ControlClient(control()).ask(request); }
  std::filesystem::path control() const { return dir_ / "control"; }
  std::string upper() const { return upper_.empty() ? (dir_ / "upper").string() : upper_; }

  std::string upper_;
};

TEST_F(QuotaProcessTest, GrowsAndShrinksWhileTheGuestWrites) {
  start_with_quota("16M");
  const auto node = client_->create(1, "hog", 0644, O_EXCL)->nodeid;
  std::uint64_t written = 0;
  EXPECT_EQ(fill(node, written), ENOSPC);
  EXPECT_GT(written, 15 * kMiB);
  EXPECT_LE(written, 16 * kMiB);
  auto answer = ask({{"command", "quota"}});
  ASSERT_TRUE(answer.value("ok", false)) << answer;
  EXPECT_GE(answer.at("used_bytes"), written);

  answer = ask({{"command", "resize"}, {"bytes", 32 * kMiB}});
  ASSERT_TRUE(answer.value("ok", false)) << answer;
  EXPECT_EQ(client_->statfs()->blocks * 4096, 32 * kMiB) << "df sees it at once";
  EXPECT_EQ(fill(node, written), ENOSPC);
  EXPECT_GT(written, 31 * kMiB);
  EXPECT_LE(written, 32 * kMiB);

  ASSERT_TRUE(ask({{"command", "resize"}, {"bytes", kMiB}}).value("ok", false));
  EXPECT_EQ(client_->statfs()->bfree, 0U);
  EXPECT_EQ(client_->write(node, written, "more").error().code, ENOSPC);
  EXPECT_EQ(client_->create(1, "another", 0644, O_EXCL).error().code, ENOSPC);
  EXPECT_EQ(client_->write(node, 0, "there already").value_or(0), 13U);
  EXPECT_EQ(client_->read(node, 0, 13).value_or(""), "there already");
  EXPECT_TRUE(client_->unlink(1, "hog"));
  EXPECT_TRUE(FuseClient(*guest_, 0).forget(node, 100));
  EXPECT_TRUE(client_->create(1, "another", 0644, O_EXCL)) << "what was freed is there at once";
  EXPECT_EQ(vfsd_->messages(), "");
}

TEST_F(QuotaProcessTest, TellsWhatTheGuestHasAsked) {
  start_with_quota("16M");
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(client_->lookup(1, "file"));
  const auto answer = ask({{"command", "stats"}});
  ASSERT_TRUE(answer.value("ok", false)) << answer;
  EXPECT_EQ(answer.at("requests").at("LOOKUP"), 5);
  EXPECT_TRUE(answer.at("front_end").get<bool>());
  guest_->hang_up();
}

TEST_F(QuotaProcessTest, ClientsComeGoAndTalkNonsense) {
  start_with_quota("16M");
  std::vector<ControlClient> idle;
  idle.reserve(15);
  for (int i = 0; i < 15; ++i) idle.emplace_back(control());
  ControlClient client(control());
  EXPECT_TRUE(client.ask({{"command", "quota"}}).value("ok", false)) << "beside idle ones";
  EXPECT_TRUE(client.send("{\"command\":\"quo"));
  EXPECT_TRUE(client.send("ta\"}\n{\"command\":\"quota\"}\nnonsense\n"));
  EXPECT_NE(client.receive().find("\"ok\":true"), std::string::npos);
  EXPECT_NE(client.receive().find("\"ok\":true"), std::string::npos);
  EXPECT_NE(client.receive().find("\"ok\":false"), std::string::npos);
  EXPECT_TRUE(client.send(std::string(8192, 'x')));
  EXPECT_EQ(client.receive(), "") << "no line is that long: hung up on";
  idle.clear();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(ask({{"command", "quota"}}).value("ok", false)) << i;
  EXPECT_TRUE(client_->lookup(1, "etc"));
  EXPECT_LE(open_descriptors(), 64U);
}

TEST_F(QuotaProcessTest, AnotherUserIsHungUpOn) {
  start_with_quota("16M");
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0755), 0);
  ASSERT_EQ(::chmod(control().c_str(), 0666), 0);
  const auto as_user = [&](uid_t user) {
    const pid_t child = ::fork();
    if (child == 0) {
      if (::setresuid(user, user, user) != 0) ::_exit(3);
      ControlClient client(control());
      if (!client.connected()) ::_exit(2);
      ::_exit(client.send("{\"command\":\"quota\"}\n") && !client.receive().empty() ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WEXITSTATUS(status);
  };
  EXPECT_EQ(as_user(0), 0);
  EXPECT_EQ(as_user(kSomebody), 1) << "connected, but not answered";
}

TEST_F(QuotaProcessTest, TheSocketGoesWithTheDaemonAndIsNotShared) {
  start_with_quota("16M");
  VfsdProcess second({"--socket-path", dir_ / "s2", "--image", "oci:" + (dir_ / "image").string(),
                      "--read-only", "--control-socket", control(), "--quiet"},
                     dir_ / "cache");
  EXPECT_FALSE(second.ready());
  EXPECT_EQ(second.wait(), 1);
  EXPECT_NE(second.messages().find("in use"), std::string::npos) << second.messages();
  EXPECT_FALSE(std::filesystem::exists(dir_ / "s2"));
  vfsd_->signal(SIGTERM);
  EXPECT_EQ(vfsd_->wait(), 0) << vfsd_->messages();
  EXPECT_FALSE(std::filesystem::exists(control()));
}

TEST_F(QuotaProcessTest, AnUpperOfAnotherImageIsRefusedInOneLine) {
  start_with_quota("16M");
  ASSERT_TRUE(client_->create(1, "mine", 0644, O_EXCL));
  vfsd_->signal(SIGTERM);
  ASSERT_EQ(vfsd_->wait(), 0);
  ImageBuilder other(dir_ / "other");
  other.add_gzip_layer(TarBuilder().file("something", "else").finish());
  other.write();
  VfsdProcess refused({"--socket-path", dir_ / "s", "--image", "oci:" + (dir_ / "other").string(), "--upper",
                       upper(), "--quota", "16M", "--quiet"},
                      dir_ / "cache");
  EXPECT_EQ(refused.wait(), 3);
  const std::string said = refused.messages();
  EXPECT_NE(said.find("belongs to another image"), std::string::npos) << said;
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
  EXPECT_TRUE(std::filesystem::exists(dir_ / "upper/upper/mine"));
}

/// On a host file system that somebody else fills.
class HostFloorTest : public QuotaProcessTest {
 protected:
  static constexpr std::uint64_t kHostBytes = 96 * kMiB;
  static constexpr std::uint64_t kFloorBytes = 48 * kMiB;

  void SetUp() override {
    QuotaProcessTest::SetUp();
    if (IsSkipped()) return;
    host_ = dir_ / "host";
    std::filesystem::create_directory(host_);
    if (::mount("none", host_.c_str(), "tmpfs", 0, "size=96m,mode=0755") != 0) {
      GTEST_SKIP() << "no right to mount a file system to fill: " << std::strerror(errno);
    }
    mounted_ = true;
    upper_ = host_ / "upper";
  }
  void TearDown() override {
    vfsd_.reset();
    if (mounted_) {
      EXPECT_EQ(::umount(host_.c_str()), 0) << std::strerror(errno);
    }
  }
  std::uint64_t host_free() const {
    struct statvfs status{};
    EXPECT_EQ(::statvfs(host_.c_str(), &status), 0);
    return status.f_bavail * status.f_frsize;
  }

  std::filesystem::path host_;
  bool mounted_ = false;
};

TEST_F(HostFloorTest, GrowthIsRefusedWhenTheHostFallsUnderIt) {
  start_with_quota("1G", {"--host-floor", "48M"});
  const auto node = client_->create(1, "hog", 0644, O_EXCL)->nodeid;
  std::uint64_t written = 0;
  EXPECT_EQ(fill(node, written), ENOSPC);
  EXPECT_GT(written, kHostBytes - kFloorBytes - 8 * kMiB);
  EXPECT_GE(host_free() + kMiB, kFloorBytes);
  EXPECT_LT(client_->statfs()->bfree * 4096, kMiB) << "df does not promise what the host has not";
  EXPECT_EQ(client_->mkdir(1, "directory", 0755).error().code, ENOSPC);
  EXPECT_EQ(client_->write(client_->lookup(1, "file")->nodeid, 0, "x").error().code, ENOSPC) << "a copy-up";
  EXPECT_EQ(client_->write(node, 0, "over what is there").value_or(0), 18U);
  fuse_setattr_in change{};
  change.valid = FATTR_SIZE;
  EXPECT_TRUE(client_->setattr(node, change));
  EXPECT_TRUE(client_->mkdir(1, "directory", 0755)) << "there is room again";

  // Somebody else fills the host: 4 MiB may pass until that is noticed, and no more.
  const UniqueFd other(::open((host_ / "other").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(::fallocate(other.get(), 0, 0, static_cast<off_t>(kHostBytes - kFloorBytes)), 0);
  written = 0;
  EXPECT_EQ(fill(node, written), ENOSPC);
  EXPECT_LE(written, 4 * kMiB + (64U << 10));
  ASSERT_EQ(::ftruncate(other.get(), 0), 0);
  EXPECT_EQ(fill(node, written, 8 * kMiB), 0) << "and goes on when the host has room";
}

}  // namespace
}  // namespace layerboot::test
