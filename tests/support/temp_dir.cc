#include "tests/support/temp_dir.h"

#include <cstdio>
#include <cstdlib>
#include <string>
#include <system_error>

namespace layerboot::test {

std::filesystem::path temp_parent() {
  const char* named = std::getenv("TMPDIR");
  return named != nullptr && *named != '\0' ? named : "/var/tmp";
}

TempDir::TempDir(const std::filesystem::path& parent) {
  std::string name = (parent / "layerboot-test-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) {
    std::perror("mkdtemp");
    std::abort();
  }
  path_ = name;
}

TempDir::~TempDir() {
  // vfsd's socket keeper outlives it by a moment, and what it removes from under remove_all() ends that.
  constexpr int kOthersRemovals = 16;
  std::error_code error;
  for (int i = 0; i < kOthersRemovals; ++i) {
    std::filesystem::remove_all(path_, error);
    if (error != std::errc::no_such_file_or_directory) return;
  }
}

}  // namespace layerboot::test
