// Which modules that an image has brought the index does not know.
#include "guest-init/modules.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace guest_init {
namespace {

namespace fs = std::filesystem;
using Places = std::vector<std::string>;

class ModulesOfImage : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/var/tmp/layerboot-modules-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
  }
  void TearDown() override {
    if (!dir_.empty()) fs::remove_all(dir_);
  }
  void put(const std::string& name, const std::string& text = "") const {
    fs::create_directories((dir_ / name).parent_path());
    std::ofstream(dir_ / name) << text;
  }
  Places places() const { return places_without_index(dir_.string() + "/"); }

  fs::path dir_;
};

TEST_F(ModulesOfImage, AreLookedForWhereTheyArePut) {
  EXPECT_EQ(places(), Places());
  put("modules.dep", "kernel/fs/ext4.ko: kernel/lib/crc16.ko\nextra/known.ko:\n");
  put("kernel/new.ko");
  put("updates/dkms/readme");
  EXPECT_EQ(places(), Places()) << "nothing that is a module, or is indexed by who made the kernel's";
  put("updates/dkms/mine.ko.xz");
  put("extra/known.ko");
  EXPECT_EQ(places(), Places({"updates"}));
  put("modules.dep", "updates/dkms/mine.ko.xz:\n");
  EXPECT_EQ(places(), Places({"extra"}));
}

}  // namespace
}  // namespace guest_init
