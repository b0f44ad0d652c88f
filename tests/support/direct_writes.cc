#include "tests/support/direct_writes.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "oci-mount/base/unique_fd.h"

namespace layerboot::test {

namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kPieceBytes = 4 * kPageBytes;
constexpr std::size_t kPieces = 40;
constexpr std::size_t kFileBytes = kPieces * kPieceBytes;

unsigned count_stale(int fd, char wanted, std::vector<char>& buffer) {
  const ssize_t got = ::pread(fd, buffer.data(), buffer.size(), 0);
  if (got != static_cast<ssize_t>(buffer.size())) return kFileBytes / kPageBytes;
  unsigned stale = 0;
  for (std::size_t at = 0; at < buffer.size(); at += kPageBytes) stale += buffer[at] != wanted ? 1U : 0U;
  return stale;
}

class Writer {
 public:
  explicit Writer(int fd) : fd_(fd), bytes_(std::aligned_alloc(kPageBytes, kFileBytes), &std::free) {
    ::syscall(SYS_io_setup, kPieces, &context_);
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer() { ::syscall(SYS_io_destroy, context_); }

  /// The whole file, in pieces that are under way together. False, and errno, if one of them failed.
  bool write(char pattern) {
    std::memset(bytes_.get(), pattern, kFileBytes);
    std::array<iocb, kPieces> pieces{};
    std::array<iocb*, kPieces> pointers{};
    for (std::size_t i = 0; i < kPieces; ++i) {
      pieces[i].aio_fildes = static_cast<std::uint32_t>(fd_);
      pieces[i].aio_lio_opcode = IOCB_CMD_PWRITE;
      pieces[i].aio_buf = reinterpret_cast<std::uint64_t>(static_cast<char*>(bytes_.get()) + i * kPieceBytes);
      pieces[i].aio_nbytes = kPieceBytes;
      pieces[i].aio_offset = static_cast<std::int64_t>(i * kPieceBytes);
      pointers[i] = &pieces[i];
    }
    if (::syscall(SYS_io_submit, context_, kPieces, pointers.data()) != static_cast<long>(kPieces))
      return false;
    std::array<io_event, kPieces> events{};
    if (::syscall(SYS_io_getevents, context_, kPieces, kPieces, events.data(), nullptr) < 0) return false;
    errno = EIO;
    return std::ranges::all_of(events, [](const io_event& event) { return event.res == kPieceBytes; });
  }

 private:
  int fd_;
  std::unique_ptr<void, decltype(&std::free)> bytes_;
  aio_context_t context_ = 0;
};

}  // namespace

DirectWrites write_directly_beside_reads(const std::string& path, unsigned rounds) {
  const UniqueFd direct(::open(path.c_str(), O_CREAT | O_TRUNC | O_RDWR | O_DIRECT | O_CLOEXEC, 0600));
  const UniqueFd buffered(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!direct || !buffered) return {.error = std::string("open: ") + std::strerror(errno)};
  Writer writer(direct.get());
  if (!writer.write('.')) return {.error = std::string("the first writes: ") + std::strerror(errno)};

  std::atomic<bool> over = false;
  std::array<std::thread, 2> readers;
  for (auto& reader : readers) {
    reader = std::thread([&] {
      std::vector<char> buffer(kFileBytes);
      while (!over.load(std::memory_order_relaxed)) count_stale(buffered.get(), 0, buffer);
    });
  }
  DirectWrites outcome;
  std::vector<char> buffer(kFileBytes);
  char pattern = 'a';
  for (unsigned round = 0; round < rounds && outcome.error.empty(); ++round) {
    pattern = static_cast<char>('a' + round % 26);
    if (!writer.write(pattern)) outcome.error = std::string("writing: ") + std::strerror(errno);
    if (count_stale(buffered.get(), pattern, buffer) > 0) ++outcome.stale_rounds;
  }
  over = true;
  for (auto& reader : readers) reader.join();
  const UniqueFd anew(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  outcome.stale_pages = count_stale(anew.get(), pattern, buffer);
  return outcome;
}

}  // namespace layerboot::test
