#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "oci-mount/base/str_cat.h"
#include "oci-mount/base/unique_fd.h"
#include "tests/vm/caches/checks.h"

namespace layerboot::caches {

namespace {

constexpr std::array kDirectories = {"/n", "/n/one", "/n/two", "/n/one/deep"};
constexpr unsigned kNamesEach = 6;

int code_of(long outcome) { return outcome >= 0 ? 0 : errno; }

/// One operation, decided once and done to both trees; all paths are relative to the tree's top.
struct Operation {
  std::string what;
  std::function<int(const std::string& top)> run;
};

class Operations {
 public:
  explicit Operations(unsigned seed) : random_(seed) {}

  Operation next() {
    const std::string a = name();
    const std::string b = name();
    const unsigned value = below(0x10000);
    switch (below(16)) {
      case 0:
      case 1:
        return {str_cat("create ", a), [=](auto& top) { return write(top + a, O_CREAT, value); }};
      case 2:
        return {str_cat("create anew ", a),
                [=](auto& top) { return write(top + a, O_CREAT | O_EXCL, value); }};
      case 3:
        return {str_cat("append to ", a), [=](auto& top) { return write(top + a, O_APPEND, value); }};
      case 4:
        return {str_cat("create emptied ", a),
                [=](auto& top) { return write(top + a, O_CREAT | O_TRUNC, value); }};
      case 5:
        return {str_cat("truncate ", a),
                [=](auto& top) { return code_of(::truncate((top + a).c_str(), value % 9000)); }};
      case 6:
        return {str_cat("unlink ", a), [=](auto& top) { return code_of(::unlink((top + a).c_str())); }};
      case 7:
        return {str_cat("mkdir ", a), [=](auto& top) { return code_of(::mkdir((top + a).c_str(), 0750)); }};
      case 8:
        return {str_cat("rmdir ", a), [=](auto& top) { return code_of(::rmdir((top + a).c_str())); }};
      case 9:
      case 10:
        return rename(a, b, 0);
      case 11:
        return rename(a, b, value % 2 == 0 ? RENAME_EXCHANGE : RENAME_NOREPLACE);
      case 12:
        return {str_cat("link ", a, " ", b),
                [=](auto& top) { return code_of(::link((top + a).c_str(), (top + b).c_str())); }};
      case 13:
        return {str_cat("symlink ", a), [=](auto& top) {
                  return code_of(::symlink(std::to_string(value).c_str(), (top + a).c_str()));
                }};
      case 14:
        return {str_cat("chmod ", a), [=](auto& top) {
                  return code_of(::fchmodat(AT_FDCWD, (top + a).c_str(), value & 07777, 0));
                }};
      default:
        return {str_cat("a nameless file becomes ", a), [=](auto& top) { return name_a_nameless(top, a); }};
    }
  }

 private:
  static int write(const std::string& path, int flags, unsigned value) {
    const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW | flags, 0640));
    if (!fd) return errno;
    return code_of(::write(fd.get(), &value, 1 + value % 4));
  }
  static Operation rename(const std::string& a, const std::string& b, unsigned flags) {
    return {str_cat("rename ", a, " ", b, " with ", flags), [=](auto& top) {
              return code_of(::renameat2(AT_FDCWD, (top + a).c_str(), AT_FDCWD, (top + b).c_str(), flags));
            }};
  }
  static int name_a_nameless(const std::string& top, const std::string& name) {
    const UniqueFd fd(::open((top + "/n").c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (!fd) return errno;
    return code_of(::linkat(fd.get(), "", AT_FDCWD, (top + name).c_str(), AT_EMPTY_PATH));
  }
  unsigned below(unsigned bound) { return std::uniform_int_distribution<unsigned>(0, bound - 1)(random_); }
  std::string name() { return str_cat(kDirectories[below(kDirectories.size())], "/", below(kNamesEach)); }

  std::mt19937 random_;
};

std::string describe(const std::string& path) {
  struct stat st{};
  if (::lstat(path.c_str(), &st) != 0) return str_cat("errno ", errno);
  char text[64];
  std::snprintf(text, sizeof text, "%06o", st.st_mode);
  std::string seen = text;
  if (S_ISDIR(st.st_mode))
    return seen;  // how large it is, and how many names it has, each file system counts
  seen += str_cat(" of ", st.st_size, " bytes, ", st.st_nlink, " names");
  std::vector<char> bytes(10'000);
  if (S_ISLNK(st.st_mode)) {
    const ssize_t got = ::readlink(path.c_str(), bytes.data(), bytes.size());
    return seen + " to " + std::string(bytes.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
  }
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  const ssize_t got = ::read(fd.get(), bytes.data(), bytes.size());
  return str_cat(seen, ", content ",
                 std::hash<std::string_view>()({bytes.data(), got > 0 ? static_cast<std::size_t>(got) : 0}));
}

std::set<std::string> list(const std::string& directory) {
  std::set<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(directory.c_str()), &::closedir);
  while (const dirent* const entry = stream ? ::readdir(stream.get()) : nullptr) names.insert(entry->d_name);
  return names;
}

unsigned compare_all(const std::string& directory, const std::string& oracle) {
  unsigned wrong = 0;
  for (const std::string parent : kDirectories) {
    if (list(directory + parent) != list(oracle + parent)) {
      std::printf("names: %s is listed otherwise than in a tmpfs\n", parent.c_str());
      ++wrong;
    }
    for (unsigned i = 0; i < kNamesEach; ++i) {
      const std::string name = str_cat(parent, "/", i);
      const std::string got = describe(directory + name);
      const std::string wanted = describe(oracle + name);
      if (got == wanted) continue;
      std::printf("names: %s is %s; in a tmpfs %s\n", name.c_str(), got.c_str(), wanted.c_str());
      ++wrong;
    }
  }
  return wrong;
}

}  // namespace

unsigned check_names(const std::string& directory, const std::string& oracle, unsigned seed,
                     unsigned operations) {
  std::printf("names: seed %u\n", seed);
  for (const std::string& top : {directory, oracle}) {
    for (const std::string parent : kDirectories) ::mkdir((top + parent).c_str(), 0755);
  }
  constexpr unsigned kBetweenLooks = 10;
  Operations all(seed);
  unsigned wrong = 0;
  for (unsigned i = 0; i < operations && wrong == 0; ++i) {
    const Operation operation = all.next();
    const int got = operation.run(directory);
    const int wanted = operation.run(oracle);
    if (got != wanted) {
      std::printf("names: operation %u, %s: errno %d, in a tmpfs %d\n", i, operation.what.c_str(), got,
                  wanted);
      ++wrong;
    }
    if (i % kBetweenLooks == 0) wrong += compare_all(directory, oracle);
    if (wrong > 0) std::printf("names: after operation %u, %s\n", i, operation.what.c_str());
  }
  std::printf("names: %u operations, %u wrong\n", operations, wrong);
  return wrong;
}

}  // namespace layerboot::caches
