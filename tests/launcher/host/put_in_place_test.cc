#include "launcher/host/put_in_place.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

namespace fs = std::filesystem;

class PutInPlace : public testing::Test {
 protected:
  PutInPlace() {
    fs::create_directory(out());
    fs::create_directory(work());
    write(work() / "kernel", "kernel");
    write(work() / "lab.qcow2", "disk");
    write(work() / "lab.gns3a", "description");
  }
  fs::path out() const { return scratch_.path() / "out"; }
  fs::path work() const { return out() / "work"; }
  static void write(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }
  Result<void> put() const {
    return put_in_place(work(), out(), {{"kernel", true}, {"lab.qcow2"}, {"lab.gns3a"}});
  }
  bool is_there(const std::string& name) const { return fs::exists(fs::symlink_status(out() / name)); }

  ScratchDir scratch_;
};

TEST_F(PutInPlace, MovesAll) {
  const auto done = put();
  ASSERT_TRUE(done) << done.error().describe();
  EXPECT_TRUE(fs::is_empty(work()));
  EXPECT_EQ(scratch_.read("out/lab.gns3a"), "description");
}

TEST_F(PutInPlace, TakesTheSameSharedFile) {
  write(out() / "kernel", "kernel");
  EXPECT_TRUE(put());
  EXPECT_EQ(scratch_.read("out/lab.qcow2"), "disk");
}

TEST_F(PutInPlace, TakesNoOtherSharedFile) {
  write(out() / "another", "kernel");
  ASSERT_EQ(::mkfifo((scratch_.path() / "fifo").c_str(), 0600), 0);
  for (const char* what : {"evil!!", "kernel and more", "", "a symlink", "a fifo"}) {
    fs::remove(out() / "kernel");
    if (what == std::string("a symlink")) {
      fs::create_symlink("another", out() / "kernel");
    } else if (what == std::string("a fifo")) {
      fs::rename(scratch_.path() / "fifo", out() / "kernel");
    } else {
      write(out() / "kernel", what);
    }
    const auto done = put();
    ASSERT_FALSE(done) << what;
    EXPECT_EQ(done.error().code, EEXIST);
    EXPECT_NE(done.error().text.find("remove it"), std::string::npos) << done.error().text;
    EXPECT_FALSE(is_there("lab.qcow2")) << "nothing half-made";
  }
}

TEST_F(PutInPlace, ReplacesNothingAndTakesBack) {
  write(out() / "lab.gns3a", "another's");
  const auto done = put();
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, EEXIST);
  EXPECT_EQ(scratch_.read("out/lab.gns3a"), "another's");
  EXPECT_FALSE(is_there("lab.qcow2")) << "or the next export would be refused by it";
  EXPECT_TRUE(is_there("kernel")) << "another export may count on it already";
}

}  // namespace
}  // namespace layerboot::launcher
