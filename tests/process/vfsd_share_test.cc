// A directory of the host served in place, by vfsd in its sandbox: what the host notices of it.
#include <fcntl.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "tests/process/vfsd_sandbox_fixture.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

class VfsdShareTest : public SandboxedVfsd {
 protected:
  void SetUp() override { fs::create_directory(host()); }
  void serve(std::vector<std::string> more = {}) {
    std::vector<std::string> words{"--socket-path", dir_ / "s", "--share", host(), "--quiet"};
    words.insert(words.end(), more.begin(), more.end());
    vfsd_ = std::make_unique<VfsdProcess>(std::move(words), dir_ / "cache");
    ASSERT_TRUE(vfsd_->ready()) << vfsd_->messages();
    boot({.request_queues = 1});
  }
  [[nodiscard]] fs::path host(const std::string& path = {}) const {
    return path.empty() ? dir_ / "share" : dir_ / "share" / path;
  }
  /// The node of a name in the directory.
  std::uint64_t node(std::string_view name) {
    const auto entry = client_->lookup(1, name);
    EXPECT_TRUE(entry) << name;
    return entry ? entry->nodeid : 0;
  }
};

/// Whether the host runs it: 0, or the errno of exec.
int run_on_host(const fs::path& program) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::execl(program.c_str(), program.c_str(), nullptr);
    ::_exit(errno);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

TEST_F(VfsdShareTest, TheHostRunsWhatTheGuestHasRead) {
  for (const bool read_only : {false, true}) {
    fs::copy_file("/bin/true", host("tool"), fs::copy_options::overwrite_existing);
    serve(read_only ? std::vector<std::string>{"--read-only"} : std::vector<std::string>());
    const auto tool = node("tool");
    const auto reading = client_->open(tool, O_RDONLY);
    ASSERT_TRUE(reading) << reading.error().describe();
    EXPECT_TRUE(client_->read(tool, 0, 64));
    EXPECT_EQ(run_on_host(host("tool")), 0) << "while the guest has it open";
    const auto writing = client_->open(tool, O_RDWR);
    EXPECT_EQ(writing ? 0 : writing.error().code, read_only ? EROFS : 0);
    if (!read_only) {
      EXPECT_EQ(run_on_host(host("tool")), ETXTBSY);
      EXPECT_TRUE(client_->release(tool, O_RDWR));
    }
    EXPECT_EQ(run_on_host(host("tool")), 0);
    guest_.reset();
    vfsd_.reset();
  }
}

TEST_F(VfsdShareTest, TheHostIsToldWhoHasClosedWhat) {
  std::ofstream(host("text")) << "hi";
  serve();
  const UniqueFd watch(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  ASSERT_GE(::inotify_add_watch(watch.get(), host("text").c_str(), IN_CLOSE_WRITE | IN_CLOSE_NOWRITE), 0);
  const auto told = [&] {
    std::uint32_t mask = 0;
    alignas(inotify_event) char events[4096];
    const ssize_t got = ::read(watch.get(), events, sizeof(events));
    for (ssize_t at = 0; at < got;) {
      const auto* const event = reinterpret_cast<const inotify_event*>(events + at);
      mask |= event->mask;
      at += static_cast<ssize_t>(sizeof(*event) + event->len);
    }
    return mask;
  };
  const auto text = node("text");
  const auto reading = client_->open(text, O_RDONLY);
  ASSERT_TRUE(reading);
  EXPECT_EQ(client_->read(text, 0, 2).value_or(""), "hi");
  EXPECT_EQ(told(), 0U);
  EXPECT_TRUE(client_->release(text, *reading));
  EXPECT_EQ(told(), std::uint32_t{IN_CLOSE_NOWRITE}) << "a reader that has changed nothing";
  const auto writing = client_->open(text, O_WRONLY);
  ASSERT_TRUE(writing);
  EXPECT_TRUE(client_->write(text, 0, "ho"));
  EXPECT_EQ(told(), 0U);
  EXPECT_TRUE(client_->release(text, *writing));
  EXPECT_EQ(told(), std::uint32_t{IN_CLOSE_WRITE});
}

TEST_F(VfsdShareTest, ACreatedFileIsOpenUntilItIsReleased) {
  serve();
  const auto made = client_->create(1, "tool", 0755, O_EXCL | O_WRONLY);
  ASSERT_TRUE(made);
  std::ifstream program("/bin/true", std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(program), {}};
  for (std::size_t at = 0; at < bytes.size(); at += 65536)
    ASSERT_TRUE(client_->write(made->nodeid, at, bytes.substr(at, 65536)));
  EXPECT_EQ(run_on_host(host("tool")), ETXTBSY);
  EXPECT_TRUE(client_->release(made->nodeid, O_WRONLY));
  EXPECT_EQ(run_on_host(host("tool")), 0);
}

TEST_F(VfsdShareTest, ManyOpenFilesOutliveTheirNames) {
  constexpr int kFiles = 1000;
  serve();
  std::vector<std::uint64_t> nodes;
  for (int i = 0; i < kFiles; ++i) {
    const std::string name = "f" + std::to_string(i);
    const auto made = client_->create(1, name, 0644, O_EXCL | O_RDWR);
    ASSERT_TRUE(made) << i << made.error().describe();
    ASSERT_TRUE(client_->write(made->nodeid, 0, name));
    ASSERT_TRUE(client_->unlink(1, name));
    nodes.push_back(made->nodeid);
  }
  EXPECT_TRUE(fs::is_empty(host()));
  for (int i = 0; i < kFiles; ++i)
    EXPECT_EQ(client_->read(nodes[static_cast<std::size_t>(i)], 0, 10).value_or(""), "f" + std::to_string(i));
  for (const auto one : nodes) {
    EXPECT_TRUE(client_->release(one, O_RDWR));
    EXPECT_TRUE(client_->forget(one, 1));
  }
  EXPECT_LT(open_descriptors(), 100U);
}

}  // namespace
}  // namespace layerboot::test
