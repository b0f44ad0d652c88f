#include "guest-init/console_hearing.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "guest-init/fd.h"

namespace guest_init {
namespace {

/// A terminal, and a directory that is like /proc.
class ConsoleHearing : public testing::Test {
 protected:
  void SetUp() override {
    int outer = -1;
    int inner = -1;
    ASSERT_EQ(openpty(&outer, &inner, nullptr, nullptr, nullptr), 0);
    person_ = Fd(outer);
    terminal_ = Fd(inner);
    ASSERT_NE(mkdtemp(proc_.data()), nullptr);
    std::filesystem::create_directories(proc_ + "/sys");
    add_process(1, 0, "/dev/null");
  }
  void TearDown() override { std::filesystem::remove_all(proc_); }

  void add_process(int number, unsigned long own_terminal, const std::string& input) {
    const std::string process = proc_ + "/" + std::to_string(number);
    std::filesystem::remove_all(process);
    std::filesystem::create_directories(process + "/fd");
    std::ofstream(process + "/stat") << number << " (a ) b) S 0 " << number << " " << number << " "
                                     << own_terminal << " -1 4194560 1 2";
    std::filesystem::create_symlink(input, process + "/fd/0");
  }
  [[nodiscard]] bool heard() const {
    const Fd proc(open(proc_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    return is_heard(terminal_.get(), proc.get());
  }
  [[nodiscard]] unsigned long number_of_terminal() const {
    struct stat st{};
    fstat(terminal_.get(), &st);
    return major(st.st_rdev) << 8U | (minor(st.st_rdev) & 0xffU) | (minor(st.st_rdev) & ~0xffU) << 12U;
  }
  [[nodiscard]] std::string name_of_terminal() const { return ttyname(terminal_.get()); }

  std::string proc_ = (std::filesystem::temp_directory_path() / "hearing-XXXXXX").string();
  Fd person_;
  Fd terminal_;
};

TEST_F(ConsoleHearing, ByWhoHasItAsItsTerminal) {
  EXPECT_FALSE(heard());
  add_process(70, number_of_terminal() + 1, "/dev/null");
  EXPECT_FALSE(heard());
  add_process(71, number_of_terminal(), "/dev/null");
  EXPECT_TRUE(heard());
}

TEST_F(ConsoleHearing, ByWhoReadsIt) {
  add_process(70, 0, name_of_terminal());
  EXPECT_TRUE(heard());
  add_process(70, 0, "/no/such/input");
  EXPECT_FALSE(heard());
}

TEST_F(ConsoleHearing, NotByTheOneWhoAsks) {
  add_process(getpid(), number_of_terminal(), name_of_terminal());
  EXPECT_FALSE(heard());
}

TEST_F(ConsoleHearing, SomebodyMayWhereNothingIsKnown) {
  std::filesystem::remove_all(proc_ + "/1");
  EXPECT_TRUE(heard());
}

}  // namespace
}  // namespace guest_init
