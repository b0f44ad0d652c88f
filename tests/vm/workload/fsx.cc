// Random I/O on one file, checked by content against a copy in memory: what fsx does, for a guest's root.
//
//   workload_fsx FILE SEED OPERATIONS
//
// Each operation is one of the ways in which a file's bytes or its length change, or are read. What is read
// is compared at once, the whole file at the end and after each reopening. Prints the seed and the operation
// that failed.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace {

constexpr std::size_t kMaxFileBytes = 384U << 10;
constexpr std::size_t kMaxPieceBytes = 48U << 10;
constexpr std::size_t kPageBytes = 4096;

class Fsx {
 public:
  Fsx(std::string path, unsigned seed) : path_(std::move(path)), random_(seed) {
    open_file(O_CREAT | O_TRUNC);
  }
  Fsx(const Fsx&) = delete;
  Fsx& operator=(const Fsx&) = delete;
  ~Fsx() { ::close(fd_); }

  void run(unsigned operations) {
    for (done_ = 0; done_ < operations; ++done_) step();
    check_all();
  }

 private:
  [[noreturn]] void fail(const char* what, std::size_t at) const {
    std::fprintf(stderr, "fsx: operation %u, %s at %zu: %s\n", done_, what, at, std::strerror(errno));
    std::exit(1);
  }

  std::size_t below(std::size_t bound) {
    return std::uniform_int_distribution<std::size_t>(0, bound - 1)(random_);
  }

  void open_file(int flags) {
    fd_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC | flags, 0600);
    if (fd_ < 0) fail("open", 0);
  }

  void step() {
    const std::size_t offset = below(kMaxFileBytes);
    const std::size_t length = 1 + below(std::min(kMaxPieceBytes, kMaxFileBytes - offset));
    switch (below(12)) {
      case 0:
      case 1:
      case 2:
        return write_piece(offset, length);
      case 3:
        return map_write(offset, length);
      case 4:
        return truncate(offset);
      case 5:
        return allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
      case 6:
        return allocate(0, offset, length);
      case 7:
        return allocate(FALLOC_FL_ZERO_RANGE, offset, length);
      case 8:
        return copy_piece(offset, length);
      case 9:
        return reopen();
      case 10:
        return map_check(offset, length);
      default:
        return check_piece(offset, length);
    }
  }

  std::vector<char> fresh_bytes(std::size_t length) {
    std::vector<char> bytes(length);
    for (char& byte : bytes) byte = static_cast<char>(random_());
    return bytes;
  }

  void grow(std::size_t size) {
    if (size > model_.size()) model_.resize(size);
  }

  void write_piece(std::size_t offset, std::size_t length) {
    const auto bytes = fresh_bytes(length);
    if (::pwrite(fd_, bytes.data(), length, static_cast<off_t>(offset)) != static_cast<ssize_t>(length)) {
      fail("pwrite", offset);
    }
    grow(offset + length);
    std::ranges::copy(bytes, model_.begin() + static_cast<std::ptrdiff_t>(offset));
  }

  void truncate(std::size_t size) {
    if (::ftruncate(fd_, static_cast<off_t>(size)) != 0) fail("ftruncate", size);
    model_.resize(size);
  }

  void allocate(int mode, std::size_t offset, std::size_t length) {
    if (::fallocate(fd_, mode, static_cast<off_t>(offset), static_cast<off_t>(length)) != 0) {
      if (errno == EOPNOTSUPP && mode == FALLOC_FL_ZERO_RANGE) return;  // a clean answer
      fail("fallocate", offset);
    }
    if ((mode & FALLOC_FL_KEEP_SIZE) == 0) grow(offset + length);
    if (mode == 0 || offset >= model_.size()) return;
    const auto end = std::min(offset + length, model_.size());
    std::fill(model_.begin() + static_cast<std::ptrdiff_t>(offset),
              model_.begin() + static_cast<std::ptrdiff_t>(end), '\0');
  }

  void copy_piece(std::size_t offset, std::size_t length) {
    const std::size_t to = below(kMaxFileBytes - length);
    const bool overlap = offset < to + length && to < offset + length;
    if (overlap || offset + length > model_.size()) return;
    auto from_at = static_cast<off_t>(offset);
    auto to_at = static_cast<off_t>(to);
    std::size_t left = length;
    while (left > 0) {
      const ssize_t copied = ::copy_file_range(fd_, &from_at, fd_, &to_at, left, 0);
      if (copied <= 0) fail("copy_file_range", offset);
      left -= static_cast<std::size_t>(copied);
    }
    const std::vector<char> bytes(model_.begin() + static_cast<std::ptrdiff_t>(offset),
                                  model_.begin() + static_cast<std::ptrdiff_t>(offset + length));
    grow(to + length);
    std::ranges::copy(bytes, model_.begin() + static_cast<std::ptrdiff_t>(to));
  }

  /// Runs `work` on [offset, offset + length) of the file, mapped and within its size.
  template <typename Work>
  void with_mapping(std::size_t offset, std::size_t length, Work work) {
    if (offset >= model_.size()) return;
    length = std::min(length, model_.size() - offset);
    const std::size_t start = offset / kPageBytes * kPageBytes;
    void* map = ::mmap(nullptr, offset - start + length, PROT_READ | PROT_WRITE, MAP_SHARED, fd_,
                       static_cast<off_t>(start));
    if (map == MAP_FAILED) fail("mmap", offset);
    work(static_cast<char*>(map) + (offset - start), length);
    if (below(4) == 0 && ::msync(map, offset - start + length, MS_SYNC) != 0) fail("msync", offset);
    ::munmap(map, offset - start + length);
  }

  void map_write(std::size_t offset, std::size_t length) {
    with_mapping(offset, length, [&](char* at, std::size_t mapped) {
      const auto bytes = fresh_bytes(mapped);
      std::memcpy(at, bytes.data(), mapped);
      std::ranges::copy(bytes, model_.begin() + static_cast<std::ptrdiff_t>(offset));
    });
  }

  void map_check(std::size_t offset, std::size_t length) {
    with_mapping(offset, length, [&](const char* at, std::size_t mapped) { compare(at, offset, mapped); });
  }

  void compare(const char* bytes, std::size_t offset, std::size_t length) {
    if (std::memcmp(bytes, model_.data() + offset, length) == 0) return;
    std::size_t at = 0;
    while (bytes[at] == model_[offset + at]) ++at;
    errno = 0;
    fail("wrong byte", offset + at);
  }

  void check_piece(std::size_t offset, std::size_t length) {
    std::vector<char> bytes(length);
    const ssize_t got = ::pread(fd_, bytes.data(), length, static_cast<off_t>(offset));
    const std::size_t expected = offset < model_.size() ? std::min(length, model_.size() - offset) : 0;
    if (got != static_cast<ssize_t>(expected)) fail("length read", offset);
    compare(bytes.data(), offset, expected);
  }

  void check_all() {
    struct stat status{};
    if (::fstat(fd_, &status) != 0 || status.st_size != static_cast<off_t>(model_.size()))
      fail("size", model_.size());
    check_piece(0, kMaxFileBytes);
  }

  /// What the guest has cached is dropped, so that the server is asked.
  void reopen() {
    if (::fsync(fd_) != 0) fail("fsync", 0);
    ::posix_fadvise(fd_, 0, 0, POSIX_FADV_DONTNEED);
    ::close(fd_);
    open_file(0);
    check_all();
  }

  std::string path_;
  std::mt19937 random_;
  int fd_ = -1;
  unsigned done_ = 0;
  std::vector<char> model_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: workload_fsx FILE SEED OPERATIONS\n");
    return 2;
  }
  const auto seed = static_cast<unsigned>(std::strtoul(argv[2], nullptr, 10));
  const auto operations = static_cast<unsigned>(std::strtoul(argv[3], nullptr, 10));
  std::printf("fsx: seed %u, %u operations\n", seed, operations);
  Fsx(argv[1], seed).run(operations);
  return 0;
}
