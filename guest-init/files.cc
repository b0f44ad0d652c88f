#include "guest-init/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "guest-init/fd.h"

namespace guest_init {

namespace {

constexpr std::size_t kMaxBytes = std::size_t{16} << 20;

}  // namespace

std::string read_text(const std::string& path) { return read_text_at(AT_FDCWD, path); }

std::string read_text_at(int directory, const std::string& path) {
  std::string text;
  const Fd fd(openat(directory, path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) return text;
  char piece[16384];
  ssize_t got;
  while (text.size() < kMaxBytes && (got = read(fd.get(), piece, sizeof(piece))) > 0)
    text.append(piece, static_cast<std::size_t>(got));
  return text;
}

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

bool write_text(const std::string& path, std::string_view text) {
  const Fd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  return fd && write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

void make_directories(const std::string& path) {
  for (std::size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1))
    mkdir(path.substr(0, slash).c_str(), 0755);
  mkdir(path.c_str(), 0755);
}

}  // namespace guest_init
