#include "oci-mount/base/state_dirs.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "tests/support/temp_dir.h"

namespace layerboot {
namespace {

/// Of one variable, as it was before.
class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) {
    if (const char* const before = std::getenv(name); before != nullptr) before_ = before;
    ::setenv(name, value.c_str(), 1);
  }
  ~Variable() { before_ ? ::setenv(name_, before_->c_str(), 1) : ::unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

TEST(StateDirs, TakesARuntimeDirectoryOfItsOwnUser) {
  const test::TempDir dir;
  for (const auto& given : {dir.path(), dir / "yet to be made"}) {
    const Variable runtime("XDG_RUNTIME_DIR", given.string());
    EXPECT_EQ(StateDirs::from_environment()->runtime, given / "layerboot");
  }
}

TEST(StateDirs, TakesNoOtherUsersRuntimeDirectory) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root gives directories away";
  const test::TempDir dir;
  ASSERT_EQ(::chown(dir.path().c_str(), 12345, 12345), 0);
  const Variable runtime("XDG_RUNTIME_DIR", dir.path().string());
  EXPECT_EQ(StateDirs::from_environment()->runtime, "/run/layerboot") << "as after su";
}

// It goes with root's last login, and a service has none.
TEST(StateDirs, RootTakesNoDirectoryOfALogin) {
  if (::geteuid() != 0) GTEST_SKIP() << "of root";
  const Variable runtime("XDG_RUNTIME_DIR", "/run/user/0");
  EXPECT_EQ(StateDirs::from_environment()->runtime, "/run/layerboot");
}

}  // namespace
}  // namespace layerboot
