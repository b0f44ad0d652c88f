// What starts and requests cost in system calls, counted: a time would depend on the machine.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "oci-mount/base/str_cat.h"
#include "oci-mount/vfs/image_fs.h"
#include "tests/oci-mount/vfs/fs_driver.h"
#include "tests/support/host_steps.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

using Calls = std::map<std::string, unsigned>;

constexpr unsigned kFewNames = 20;
constexpr unsigned kManyNames = 420;

/// A file system of a child process, which the child's end leaves as a kill would.
class Session {
 public:
  Session(const std::filesystem::path& image, const std::filesystem::path& index, std::filesystem::path upper)
      : upper_(std::move(upper)) {
    vfs::ImageSourceOptions options;
    options.index_dir = index;
    options.show_progress = false;
    auto opened = vfs::open_image_source("oci:" + image.string(), options);
    if (opened) source_ = std::move(*opened);
  }
  /// "" where it has started.
  std::string start() {
    if (!source_) return "no image";
    vfs::UpperOptions options;
    options.directory = upper_;
    options.quota_bytes = 1U << 30;
    options.host_floor_bytes = 0;
    auto opened = vfs::make_writable_fs(*source_, options);
    if (!opened) return opened.error().describe();
    fs = std::move(*opened);
    driver = std::make_unique<FsDriver>(*fs);
    return {};
  }

  /// 0 or an errno.
  int read_all_of(vfs::NodeId node, std::size_t size_bytes) {
    std::string bytes(2 * size_bytes, '\0');
    const iovec into{bytes.data(), bytes.size()};
    auto got = fs->try_read(node, 0, {&into, 1});
    if (got && *got == vfs::FileSystem::kWouldWait) {
      const auto read = driver->reactor->block_on(fs->read(*driver->reactor, node, 0, {&into, 1}));
      if (!read) return read.error().code;
      got = static_cast<std::int64_t>(*read);
    }
    if (!got) return got.error().code;
    return static_cast<std::size_t>(*got) == size_bytes ? 0 : EMSGSIZE;
  }

 private:
  std::filesystem::path upper_;
  std::unique_ptr<vfs::ImageSource> source_;

 public:
  std::unique_ptr<vfs::FileSystem> fs;
  std::unique_ptr<FsDriver> driver;
};

class HostCallsTest : public testing::Test {
 protected:
  using Work = std::function<int(Session&)>;  // 0 or an errno

  void SetUp() override {
    TarBuilder tar;
    tar.directory("d").file("d/file", "of the image");
    for (const unsigned names : {kFewNames, kManyNames}) {
      const auto top = str_cat("names", names);
      tar.directory(top).directory(top + "/0").directory(top + "/1").file(top + "/0/0", "one file");
      for (unsigned i = 1; i < names; ++i) {
        tar.hard_link(str_cat(top, "/", i % 2, "/", i), top + "/0/0");
      }
    }
    ImageBuilder builder(directory_ / "image");
    builder.add_gzip_layer(tar.finish());
    builder.write();
  }
  [[nodiscard]] std::filesystem::path upper(const std::string& name) const { return directory_ / name; }
  Session session(const std::string& upper_name) {
    return {directory_ / "image", directory_ / "index", upper(upper_name)};
  }

  /// A session of that upper. Ends in order, or is killed.
  enum class End : unsigned char { kInOrder, kKilled };
  void do_in_session(const std::string& upper_name, End end, const Work& work) {
    const auto said = run_apart([&]() -> std::string {
      Session session = this->session(upper_name);
      if (auto complaint = session.start(); !complaint.empty()) return complaint;
      if (const int code = work(session); code != 0) return str_cat("error ", code);
      if (end == End::kInOrder && !session.fs->stop()) return "not stopped";
      return {};
    });
    ASSERT_EQ(said.value_or("not run"), "");
  }
  /// Of a start; the session is killed then.
  Calls calls_of_start(const std::string& upper_name) {
    const auto calls = count_calls([&](StepMarks& marks) {
      Session session = this->session(upper_name);
      marks.begin();
      auto complaint = session.start();
      marks.end();
      return complaint;
    });
    EXPECT_TRUE(calls) << calls.error().describe();
    return calls.value_or(Calls{});
  }
  /// Of `work`, in a session that has done `before`.
  Calls calls_of(const std::string& upper_name, const Work& before, const Work& work) {
    const auto calls = count_calls([&](StepMarks& marks) -> std::string {
      Session session = this->session(upper_name);
      if (auto complaint = session.start(); !complaint.empty()) return complaint;
      if (const int code = before(session); code != 0) return str_cat("before: error ", code);
      marks.begin();
      const int code = work(session);
      marks.end();
      return code != 0 ? str_cat("error ", code) : "";
    });
    EXPECT_TRUE(calls) << calls.error().describe();
    return calls.value_or(Calls{});
  }

  TempDir directory_;
};

Calls operator-(Calls more, const Calls& fewer) {
  for (const auto& [name, count] : fewer) more[name] -= count;
  std::erase_if(more, [](const auto& call) { return call.second == 0; });
  return more;
}

unsigned sum(const Calls& calls) {
  unsigned sum = 0;
  for (const auto& [name, count] : calls) sum += count;
  return sum;
}

int make_directories(Session& session, unsigned count) {
  for (unsigned i = 0; i < count; ++i) {
    const auto path = str_cat("made", i);
    if (const int code = session.driver->mkdir(path); code != 0) return code;
    if (const int code = session.driver->create(path + "/file", "written"); code != 0) return code;
  }
  return 0;
}

TEST_F(HostCallsTest, AStartAfterACleanStopWalksNothing) {
  constexpr unsigned kFew = 10;
  constexpr unsigned kMany = 200;
  for (const unsigned count : {kFew, kMany}) {
    do_in_session(str_cat(count), End::kInOrder, [=](Session& s) { return make_directories(s, count); });
  }
  const Calls few = calls_of_start(str_cat(kFew));
  const Calls many = calls_of_start(str_cat(kMany));
  EXPECT_GT(sum(few), 10U);
  EXPECT_EQ(few, many);
  // And those sessions were killed.
  Calls walked = calls_of_start(str_cat(kMany)) - many;
  EXPECT_GE(walked["getdents64"], kMany);
  EXPECT_LE(walked["getdents64"], 2 * kMany + 20) << "each directory once: its names, and their end";
  // By either call, as the library has fstat(3).
  EXPECT_GE(walked["newfstatat"] + walked["fstat"], 2 * kMany);
}

TEST_F(HostCallsTest, AStartAfterACleanStopReadsWhatWasMovedAndNoMore) {
  constexpr unsigned kCount = 100;
  do_in_session("plain", End::kInOrder, [](Session& s) { return make_directories(s, kCount); });
  do_in_session("moved", End::kInOrder, [](Session& s) {
    if (const int code = make_directories(s, kCount); code != 0) return code;
    return s.driver->rename("d", "made7/moved");
  });
  const Calls more = calls_of_start("moved") - calls_of_start("plain");
  EXPECT_LE(sum(more), 40U) << "two directories are on the way to it";
}

// A client's FORGETs come when it has time for them.
TEST_F(HostCallsTest, AnUnlinkIsOneCallThoughManyAreStillHeld) {
  constexpr unsigned kFiles = 200;
  const auto nothing = [](Session&) { return 0; };
  const Calls calls = calls_of("up", nothing, [](Session& s) {
    for (unsigned i = 0; i < kFiles; ++i) {
      const auto made = s.fs->create(vfs::kRootId, str_cat("file", i), 0644, true, {});
      if (!made) return made.error().code;
      std::string bytes(4096, 'b');
      const iovec piece{bytes.data(), bytes.size()};
      if (!s.fs->try_write(made->id, 0, {&piece, 1}, vfs::Writer::kPrivileged)) return EIO;
      const auto gone = s.fs->unlink(vfs::kRootId, str_cat("file", i));
      if (!gone) return gone.error().code;
    }
    return 0;
  });
  const auto made = [&](const char* call) { return calls.contains(call) ? calls.at(call) : 0U; };
  EXPECT_EQ(made("unlinkat"), kFiles);
  // What is recorded is made apart, and gets its name by a rename.
  const unsigned of_making = ::geteuid() == 0 ? 0 : kFiles;
  EXPECT_EQ(made("renameat2") + made("renameat"), of_making);
}

TEST_F(HostCallsTest, ASmallFileOfTheUpperIsReadByOneCall) {
  constexpr std::size_t kBytes = 100;
  constexpr unsigned kReads = 50;
  do_in_session("up", End::kInOrder,
                [](Session& s) { return s.driver->create("small", std::string(kBytes, 's')); });
  vfs::NodeId node = 0;
  const Work read_often = [&](Session& s) {
    for (unsigned i = 0; i < kReads; ++i) {
      if (const int code = s.read_all_of(node, kBytes); code != 0) return code;
    }
    return 0;
  };
  const Calls once_each = {{"preadv2", kReads}};
  const Work look_up = [&](Session& s) {
    node = s.driver->acquire("small");
    return 0;
  };
  const Calls first = calls_of("up", look_up, [&](Session& s) { return s.read_all_of(node, kBytes); });
  EXPECT_EQ(first, (Calls{{"newfstatat", 1}, {"openat2", 1}, {"preadv2", 1}})) << "the first one opens it";
  EXPECT_EQ(calls_of(
                "up",
                [&](Session& s) {
                  look_up(s);
                  return s.read_all_of(node, kBytes);
                },
                read_often),
            once_each)
      << "met at a start";
  EXPECT_EQ(calls_of(
                "up",
                [&](Session& s) {
                  node = 0;
                  if (const int code = s.driver->create("new", ""); code != 0) return code;
                  node = s.driver->acquire("new");
                  return s.driver->write("new", 0, std::string(kBytes, 'n'));
                },
                read_often),
            once_each)
      << "made and written";
  EXPECT_EQ(calls_of(
                "up",
                [&](Session& s) {
                  look_up(s);
                  vfs::AttrChange change;
                  change.mode = 0600;
                  if (const int code = s.driver->setattr("small", change); code != 0) return code;
                  return s.driver->write("small", 0, "over");
                },
                read_often),
            once_each)
      << "changed and overwritten";
}

TEST_F(HostCallsTest, EachNameOfAFileCostsItsCopyUpTheSame) {
  const auto calls_with = [this](unsigned names, std::uint64_t data_bytes) {
    const auto path = str_cat("names", names, "/0/0");
    return calls_of(
        str_cat("upper", names, data_bytes),
        [&](Session& s) {
          // The directories have their bodies, and are read.
          for (const char* const in : {"/0", "/1"}) {
            const int code = s.driver->create(str_cat("names", names, in, "/beside"), "");
            if (code != 0) return code;
          }
          return 0;
        },
        [&](Session& s) {
          vfs::AttrChange change;
          change.mode = 0600;
          return data_bytes == 0 ? s.driver->setattr(path, change)
                                 : s.driver->write(path, 0, std::string(data_bytes, 'w'));
        });
  };
  constexpr unsigned kCallsEach = 4;
  for (const std::uint64_t data_bytes : {0U, 3U}) {
    const Calls few = calls_with(kFewNames, data_bytes);
    Calls more = calls_with(kManyNames, data_bytes) - few;
    EXPECT_EQ(more["linkat"], kManyNames - kFewNames);
    EXPECT_LE(sum(more), kCallsEach * (kManyNames - kFewNames)) << testing::PrintToString(more);
  }
}

}  // namespace
}  // namespace layerboot::test
