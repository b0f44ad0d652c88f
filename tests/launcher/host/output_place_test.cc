#include "launcher/host/output_place.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "launcher/host/run_tool.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/pipe.h"
#include "tests/launcher/kernel/scratch.h"

namespace layerboot::launcher {
namespace {

namespace fs = std::filesystem;

class OutputPlaceTest : public ScratchTest {};

TEST_F(OutputPlaceTest, AFileIsAtTheEndOfSymlinks) {
  write(scratch_ / "deep/there", "x");
  fs::create_symlink("deep/there", scratch_ / "link");
  fs::create_symlink("link", scratch_ / "to-link");
  fs::create_symlink("deep/none", scratch_ / "to-none");
  fs::create_symlink("loop", scratch_ / "loop");
  const auto file = [&](const char* name) {
    const auto place = open_output(scratch_ / name);
    return place && !place->stream ? place->file.lexically_relative(fs::canonical(scratch_)).string() : "?";
  };
  EXPECT_EQ(file("deep/there"), "deep/there");
  EXPECT_EQ(file("to-link"), "deep/there");
  EXPECT_EQ(file("to-none"), "deep/none");
  EXPECT_EQ(file("new"), "new");
  EXPECT_EQ(open_output(scratch_ / "deep").error().code, EISDIR);
  EXPECT_EQ(open_output(scratch_ / "loop").error().code, ELOOP);
  EXPECT_EQ(open_output(scratch_ / "none/x").error().code, ENOENT);
}

TEST_F(OutputPlaceTest, WhatIsNoFileIsWrittenTo) {
  ASSERT_EQ(::mkfifo((scratch_ / "fifo").c_str(), 0600), 0);
  const auto reader = open_path(scratch_ / "fifo", O_RDONLY | O_NONBLOCK);
  ASSERT_TRUE(reader);
  const auto fifo = open_output(scratch_ / "fifo");
  ASSERT_TRUE(fifo) << fifo.error().describe();
  EXPECT_TRUE(fifo->stream);
  EXPECT_TRUE(fifo->file.empty());
  const auto device = open_output("/dev/null");
  ASSERT_TRUE(device && device->stream);
  // A descriptor that is a file is where it is, and is no other file.
  const auto given = open_path(scratch_ / "given", O_RDWR | O_CREAT, 0600);
  ASSERT_EQ(::write(given->get(), "1", 1), 1);
  const auto same = open_output("/dev/fd/" + std::to_string(given->get()));
  ASSERT_TRUE(same && same->stream);
  ASSERT_EQ(::write(same->stream.get(), "2", 1), 1);
  EXPECT_EQ(read(scratch_ / "given"), "12");
}

TEST_F(OutputPlaceTest, AStreamIsWholeThroughASlowPipe) {
  const std::string text(3'000'001, 't');
  write(scratch_ / "from", text);
  auto pipe = make_pipe();
  ASSERT_TRUE(pipe);
  std::string got;
  std::thread reading([&] {
    char piece[50'000];
    for (ssize_t size; (size = ::read(pipe->read_end.get(), piece, sizeof(piece))) > 0;)
      got.append(piece, static_cast<std::size_t>(size));
  });
  const auto from = open_path(scratch_ / "from", O_RDONLY);
  const auto copied = copy_stream(from->get(), pipe->write_end.get());
  pipe->write_end.reset();
  reading.join();
  EXPECT_TRUE(copied) << copied.error().describe();
  EXPECT_EQ(got, text);
}

/// One that waits for the other end ends, too.
TEST_F(OutputPlaceTest, ASignalEndsTheWait) {
  sigset_t interrupt;
  ::sigemptyset(&interrupt);
  ::sigaddset(&interrupt, SIGINT);
  const InterruptScope scope;
  const auto empty = make_pipe();
  const auto full = make_pipe();
  write(scratch_ / "from", std::string(1 << 20, 't'));
  const auto from = open_path(scratch_ / "from", O_RDONLY);
  ASSERT_EQ(::mkfifo((scratch_ / "fifo").c_str(), 0600), 0);
  ::raise(SIGINT);
  EXPECT_EQ(copy_stream(empty->read_end.get(), full->write_end.get()).error().code, EINTR);
  EXPECT_EQ(copy_stream(from->get(), full->write_end.get()).error().code, EINTR);
  EXPECT_EQ(open_output(scratch_ / "fifo").error().code, EINTR);
  int number = 0;
  ::sigwait(&interrupt, &number);
}

}  // namespace
}  // namespace layerboot::launcher
