#include <fcntl.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <vector>

#include "oci-mount/base/str_cat.h"
#include "oci-mount/base/unique_fd.h"
#include "tests/vm/caches/changes.h"
#include "tests/vm/caches/checks.h"

namespace layerboot::caches {

namespace {

constexpr unsigned kRegularModes[] = {04777, 02777, 06777, 06666, 02666, 01777, 0777};
constexpr unsigned kSpecialTypes[] = {S_IFIFO, S_IFSOCK, S_IFCHR};
constexpr std::size_t kFileBytes = 10'000;
constexpr const char* kCapability = "security.capability";

/// All a caller sees; equal on both file systems.
struct Seen {
  int code = 0;
  unsigned at_once = 0;  // statx() for the mode alone, which asks for nothing that is kept
  unsigned later = 0;
  bool has_capability = false;
  friend bool operator==(const Seen&, const Seen&) = default;
};

unsigned mode_now(const std::string& path, unsigned mask) {
  struct statx st{};
  return ::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, mask, &st) == 0 ? st.stx_mode & 07777U : ~0U;
}

bool make(const std::string& path, unsigned type, unsigned mode) {
  ::unlink(path.c_str());
  if (::mknod(path.c_str(), type | 0600, type == S_IFCHR ? makedev(1, 3) : 0) != 0) return false;
  if (type == S_IFREG) {
    const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    const std::vector<char> bytes(kFileBytes, 'x');
    if (::write(fd.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) return false;
  }
  if (::chown(path.c_str(), kOwner.uid, kMember.gid) != 0 || ::chmod(path.c_str(), mode) != 0) return false;
  return mode_now(path, STATX_BASIC_STATS) == mode;  // and so it is in the guest's cache
}

bool set_capability(const std::string& path) {
  vfs_cap_data data{};
  data.magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE;
  data.data[0].permitted = 1U << CAP_NET_RAW;
  return ::setxattr(path.c_str(), kCapability, &data, XATTR_CAPS_SZ_2, 0) == 0;
}

/// Where the group may not execute, S_ISGID gives nobody a right. Linux leaves it to members of the group and
/// to root, and from 6.12 on tells a server neither who it is: then it goes, and by chown(2) it stays.
bool sgid_is_unsure(unsigned mode, Change change, const Person& person) {
  if ((mode & (S_ISGID | S_IXGRP)) != S_ISGID) return false;
  if (change == Change::kChown) return person.uid == kOwner.uid;
  return person.gid == kMember.gid || (person.uid == 0 && change == Change::kChownNothing);
}

Seen look(const std::string& path, int code) {
  const unsigned at_once = mode_now(path, STATX_MODE);
  return {.code = code,
          .at_once = at_once,
          .later = mode_now(path, STATX_BASIC_STATS),
          .has_capability = ::getxattr(path.c_str(), kCapability, nullptr, 0) > 0};
}

/// Where Linux tells less than it knows. chown(-1, -1) it sends whoever calls it, and from 6.12 on it does
/// not say who: then it changes nothing. A mapping's pages come as any other write, and a host takes
/// capabilities away with it.
void allow_for_linux(Change change, unsigned mode, const Seen& got, Seen& wanted) {
  if (change == Change::kMap) wanted.has_capability = got.has_capability;
  if (change != Change::kChownNothing) return;
  wanted.code = got.code;
  if (got.at_once == mode) wanted.at_once = wanted.later = mode;
}

unsigned compare(const std::string& what, Seen got, Seen wanted, unsigned unsure) {
  for (Seen* const seen : {&got, &wanted}) {
    seen->at_once &= ~unsure;
    seen->later &= ~unsure;
  }
  if (got == wanted) return 0;
  std::printf(
      "privileges: %s: code %d, mode %04o and later %04o%s; a tmpfs has code %d, mode %04o and later "
      "%04o%s\n",
      what.c_str(), got.code, got.at_once, got.later, got.has_capability ? " with capabilities" : "",
      wanted.code, wanted.at_once, wanted.later, wanted.has_capability ? " with capabilities" : "");
  return 1;
}

struct Object {
  unsigned type;
  unsigned mode;
  bool with_capability;
};

unsigned check_one(const std::string (&paths)[2], const Object& object, Change change, const Person& person) {
  char mode[8];
  std::snprintf(mode, sizeof mode, "%04o", object.mode);
  const std::string what = str_cat(name_of(change), " by ", person.name, ", mode ", mode, ", type ",
                                   object.type >> 12U, object.with_capability ? ", with capabilities" : "");
  Seen seen[2];
  for (int i = 0; i < 2; ++i) {
    if (!make(paths[i], object.type, object.mode) || (object.with_capability && !set_capability(paths[i]))) {
      std::printf("privileges: %s: cannot be made in %s: %s\n", what.c_str(), paths[i].c_str(),
                  std::strerror(errno));
      return 1;
    }
    seen[i] = look(paths[i], change_as(person, change, paths[i]));
  }
  allow_for_linux(change, object.mode, seen[0], seen[1]);
  unsigned unsure = 0;
  if (sgid_is_unsure(object.mode, change, person)) unsure = S_ISGID;
  return compare(what, seen[0], seen[1], unsure);
}

/// What is kept of the guest's inodes goes, so that each is asked for anew.
void forget_inodes() {
  const UniqueFd fd(::open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC));
  if (::write(fd.get(), "2", 1) != 1) std::printf("privileges: drop_caches: %s\n", std::strerror(errno));
}

}  // namespace

unsigned check_privileges(const std::string& directory, const std::string& oracle) {
  unsigned wrong = 0;
  int number = 0;
  std::vector<std::pair<std::string, unsigned>> known;
  const auto check = [&](const Object& object, Change change, const Person& person) {
    const std::string name = str_cat("/p", number++);
    wrong += check_one({directory + name, oracle + name}, object, change, person);
    known.emplace_back(directory + name, mode_now(directory + name, STATX_BASIC_STATS));
  };
  for (const Person& person : kPersons) {
    for (const unsigned mode : kRegularModes) {
      for (const Change change : kChangesOfData) check({S_IFREG, mode, false}, change, person);
    }
    for (const Change change : kChangesOfData) check({S_IFREG, 0777, true}, change, person);
    for (const Change change : {Change::kChown, Change::kChownNothing}) {
      for (const unsigned mode : kRegularModes) check({S_IFREG, mode, false}, change, person);
      for (const unsigned type : kSpecialTypes) check({type, 06555, false}, change, person);
      check({S_IFREG, 0777, true}, change, person);
    }
  }
  forget_inodes();
  for (const auto& [path, mode] : known) {
    const unsigned anew = mode_now(path, STATX_BASIC_STATS);
    if (anew == mode) continue;
    std::printf("privileges: %s: mode %04o, and %04o when asked anew\n", path.c_str(), mode, anew);
    ++wrong;
  }
  std::printf("privileges: %zu changes, %u wrong\n", known.size(), wrong);
  return wrong;
}

unsigned check_programs(const std::string& directory) {
  unsigned wrong = 0;
  const std::string path = directory + "/program";
  for (const Change change : kChangesOfData) {
    if (change == Change::kOpenTruncating || change == Change::kMap)
      continue;  // it ends, or no file system cares
    std::filesystem::copy_file("/proc/self/exe", path, std::filesystem::copy_options::overwrite_existing);
    const bool made = ::chown(path.c_str(), 0, 0) == 0 && ::chmod(path.c_str(), 06777) == 0;
    const int code = made ? change_as(kOther, change, path) : errno;
    const pid_t child = ::fork();
    if (child == 0) {
      if (::setresgid(1004, 1004, 1004) == 0 && ::setresuid(1004, 1004, 1004) == 0) {
        ::execl(path.c_str(), path.c_str(), "--has-no-rights", nullptr);
      }
      ::_exit(9);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (code == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
    std::printf("programs: %s (code %d): somebody else's run of it ended with %x\n", name_of(change), code,
                static_cast<unsigned>(status));
    ++wrong;
  }
  std::printf("programs: %u wrong\n", wrong);
  return wrong;
}

}  // namespace layerboot::caches
