#include "launcher/vm/event_log.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "launcher/host/log_bound.h"
#include "oci-mount/base/files.h"
#include "tests/support/temp_dir.h"

namespace layerboot::launcher {
namespace {

namespace fs = std::filesystem;

VmEvent event(std::string action, std::string vm) {
  VmEvent event;
  event.action = std::move(action);
  event.vm = std::move(vm);
  return event;
}

class EventLogTest : public testing::Test {
 protected:
  void append(const std::string& vm, std::uint64_t max_bytes = kMaxEventLogBytes) const {
    const auto appended = append_event(log_, event("start", vm), max_bytes);
    ASSERT_TRUE(appended) << appended.error().describe();
  }
  static std::string names(EventReader& reader) {
    const auto events = reader.read();
    if (!events) return events.error().describe();
    std::string names;
    for (const VmEvent& one : *events) names += one.vm + ' ';
    return names;
  }
  std::string all_names() const {
    auto reader = EventReader::open(log_);
    return reader ? names(*reader) : reader.error().describe();
  }
  void append_bytes(std::string_view bytes) const { std::ofstream(log_, std::ios::app) << bytes; }

  test::TempDir dir_;
  fs::path log_ = dir_ / "events/log.jsonl";
};

TEST_F(EventLogTest, AnEventIsReadAsItWasWritten) {
  VmEvent end = event("stop", "web");
  end.image = "debian:12";
  end.labels = {"tier=\"front\"", "empty="};
  end.exit_status = 143;
  end.error = "one\nline\twith \xff";
  end.new_name = "other";
  end.size_bytes = UINT64_MAX;
  end.time_ns = 1'764'400'000'000'000'007;
  const std::string line = event_line(end);
  EXPECT_EQ(line.find('\n'), std::string::npos);
  EXPECT_NE(line.find("\"time\":\"2025-11-29T07:06:40.000000007Z\""), std::string::npos) << line;
  const auto read = parse_event(line);
  ASSERT_TRUE(read);
  end.error = "one\nline\twith \xef\xbf\xbd";
  EXPECT_EQ(*read, end);
  for (const char* wrong :
       {"", "{", "[]", "null", R"({"vm":"a","event":"start"})", R"({"time_ns":"1","vm":"a","event":"start"})",
        R"({"time_ns":1,"vm":[],"event":"x"})"})
    EXPECT_FALSE(parse_event(wrong)) << wrong;
}

TEST_F(EventLogTest, WhatIsThereAndWhatComesIsRead) {
  append("a");
  append("b");
  auto reader = EventReader::open(log_);
  ASSERT_TRUE(reader);
  EXPECT_EQ(names(*reader), "a b ");
  EXPECT_EQ(names(*reader), "");
  append("c");
  pollfd watched{.fd = reader->watch(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&watched, 1, 0), 1) << "the write is told";
  EXPECT_EQ(names(*reader), "c ");
  EXPECT_EQ(::poll(&watched, 1, 0), 0);
}

TEST_F(EventLogTest, AReaderMayBeThereFirst) {
  auto reader = EventReader::open(log_);
  ASSERT_TRUE(reader);
  EXPECT_EQ(names(*reader), "");
  append("a");
  EXPECT_EQ(names(*reader), "a ");
}

TEST_F(EventLogTest, ItIsForItsOwnerAlone) {
  append("a");
  struct stat st{};
  ASSERT_EQ(::stat(log_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777U, 0600U);
  ASSERT_EQ(::stat(log_.parent_path().c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777U, 0700U);
}

TEST_F(EventLogTest, ACutLineCostsNoOther) {
  append("a");
  auto reader = EventReader::open(log_);
  ASSERT_TRUE(reader);
  append_bytes(R"({"time_ns":1,"event":"sta)");
  EXPECT_EQ(names(*reader), "a ");
  append("b");
  EXPECT_EQ(names(*reader), "b ");
  append_bytes("nonsense\n" + std::string(3 * kMaxEventLineBytes, '\0'));
  append("c");
  EXPECT_EQ(names(*reader), "c ");
  EXPECT_EQ(all_names(), "a b c ");
}

TEST_F(EventLogTest, ItIsBoundedAndFollowedAcrossItsMoves) {
  constexpr std::uint64_t kMaxBytes = 1000;
  auto reader = EventReader::open(log_);
  ASSERT_TRUE(reader);
  std::string expected;
  std::string read;
  for (int i = 0; i < 100; ++i) {
    append(std::to_string(i), kMaxBytes);
    expected += std::to_string(i) + ' ';
    // Every few, so that a move lies between some; each file holds ten or so.
    if (i % 7 == 0) read += names(*reader);
  }
  read += names(*reader);
  EXPECT_EQ(read, expected);
  EXPECT_LE(fs::file_size(log_), kMaxBytes);
  EXPECT_LE(fs::file_size(older_log(log_)), kMaxBytes);
  // Who comes later sees the end of it.
  const std::string late = all_names();
  EXPECT_TRUE(late.ends_with(" 98 99 ")) << late;
  EXPECT_TRUE(expected.ends_with(late)) << late;
}

TEST_F(EventLogTest, WhoIsTwoMovesBehindMissesWhatIsGoneAndNoMore) {
  constexpr std::uint64_t kMaxBytes = 300;
  append("first", kMaxBytes);
  auto reader = EventReader::open(log_);
  ASSERT_TRUE(reader);
  EXPECT_EQ(names(*reader), "first ");
  for (int i = 0; i < 20; ++i) append(std::to_string(i), kMaxBytes);
  const std::string kept = all_names();
  EXPECT_TRUE(names(*reader).ends_with(kept)) << kept;
}

TEST_F(EventLogTest, WritersTakeTurns) {
  constexpr int kWriters = 4;
  constexpr int kEach = 50;
  // Moved about five times, so that the moves are raced for, too.
  constexpr std::uint64_t kMaxBytes = 4000;
  std::vector<pid_t> writers;
  for (int writer = 0; writer < kWriters; ++writer) {
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      bool good = true;
      for (int i = 0; i < kEach; ++i)
        good = append_event(log_, event("start", std::to_string(writer)), kMaxBytes) && good;
      ::_exit(good ? 0 : 1);
    }
    writers.push_back(pid);
  }
  for (const pid_t pid : writers) {
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
  }
  for (const auto& file : {older_log(log_), log_}) {
    const auto text = read_file(file, 2 * kMaxBytes);
    ASSERT_TRUE(text) << text.error().describe();
    EXPECT_LE(text->size(), kMaxBytes);
    std::string_view rest = *text;
    std::int64_t last_ns = 0;
    while (!rest.empty()) {
      const auto one = parse_event(rest.substr(0, rest.find('\n')));
      ASSERT_TRUE(one) << rest;
      EXPECT_GE(one->time_ns, last_ns);
      last_ns = one->time_ns;
      rest.remove_prefix(rest.find('\n') + 1);
    }
  }
}

TEST_F(EventLogTest, AWriterThatIsStoppedHoldsUpNobody) {
  append("a");
  const auto held = open_path(log_, O_RDWR);
  ASSERT_TRUE(held);
  ASSERT_EQ(::flock(held->get(), LOCK_EX), 0);
  append("b", 1);
  EXPECT_EQ(all_names(), "a b ");
  EXPECT_FALSE(fs::exists(older_log(log_))) << "only who has the lock moves the log";
}

TEST_F(EventLogTest, WhatDoesNotFitIsNotThereInPart) {
  append("a");
  const auto size_bytes = fs::file_size(log_);
  const pid_t pid = ::fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    const rlimit limit{.rlim_cur = size_bytes + 10, .rlim_max = size_bytes + 10};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    std::signal(SIGXFSZ, SIG_IGN);
    ::_exit(append_event(log_, event("start", "b")) ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(fs::file_size(log_), size_bytes);
}

TEST_F(EventLogTest, ALongOneIsShortened) {
  VmEvent end = event("stop", "web");
  end.labels.assign(100, std::string(1000, 'l'));
  end.error = std::string(100'000, '\x01');
  ASSERT_TRUE(append_event(log_, end));
  EXPECT_LE(fs::file_size(log_), kMaxEventLineBytes);
  EXPECT_EQ(all_names(), "web ");
}

TEST_F(EventLogTest, ALogThatIsNoFileIsRefused) {
  fs::create_directories(log_.parent_path());
  ASSERT_EQ(::mkfifo(log_.c_str(), 0600), 0);
  EXPECT_FALSE(append_event(log_, event("start", "a")));
  fs::remove(log_);
  fs::create_symlink(dir_ / "elsewhere", log_);
  EXPECT_FALSE(append_event(log_, event("start", "a")));
  EXPECT_FALSE(fs::exists(dir_ / "elsewhere"));
}

}  // namespace
}  // namespace layerboot::launcher
