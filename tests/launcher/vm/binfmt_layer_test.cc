#include "launcher/vm/binfmt_layer.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "oci-mount/base/files.h"
#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

const EmulatedPrograms& programs_for(std::string_view name) {
  return *std::ranges::find(emulated_programs(), name, &EmulatedPrograms::name);
}

// As Debian's qemu-user-static has them in /usr/lib/binfmt.d.
TEST(Binfmt, TheKernelIsToldOfElfHeaders) {
  EXPECT_EQ(
      registration(programs_for("arm64"), "/q"),
      R"(:layerboot-aarch64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00)"
      R"(:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/q:OPF)"
      "\n");
  EXPECT_EQ(
      registration(programs_for("arm"), "/q"),
      R"(:layerboot-arm:M::\x7f\x45\x4c\x46\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x28\x00)"
      R"(:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/q:OPF)"
      "\n");
  EXPECT_EQ(
      registration(programs_for("s390x"), "/q"),
      R"(:layerboot-s390x:M::\x7f\x45\x4c\x46\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x16)"
      R"(:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff:/q:OPF)"
      "\n");
  for (const EmulatedPrograms& programs : emulated_programs())
    EXPECT_LE(registration(programs, "/usr/lib/layerboot/qemu-aarch64").size(), 1920U)
        << "the kernel takes no more";
}

TEST(Binfmt, IsAListOfArchitectures) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(*parse_binfmt("riscv64"), Names{"riscv64"});
  EXPECT_EQ(*parse_binfmt("linux/riscv64,s390x,riscv64"), (Names{"riscv64", "s390x"}));
  for (const std::string_view text : {"", "riscv64,", "vax", "windows/riscv64", "../x"}) {
    const auto wrong = parse_binfmt(text);
    ASSERT_FALSE(wrong) << text;
    EXPECT_NE(wrong.error().text.find("riscv64"), std::string::npos) << "the list of what there is";
  }
  EXPECT_FALSE(parse_binfmt(own_architecture().name)) << "this machine's own need no help";
}

class BinfmtLayer : public testing::Test {
 protected:
  /// An interpreter of the one name that both Debian 12 and 13 would find first.
  void install(const std::filesystem::path& program) const {
    std::filesystem::create_directories(scratch_.path() / "bin");
    std::filesystem::copy_file(program, scratch_.path() / "bin/qemu-riscv64-static",
                               std::filesystem::copy_options::overwrite_existing);
    ::setenv("PATH", (scratch_.path() / "bin").c_str(), 1);
  }
  void TearDown() override { ::setenv("PATH", path_.c_str(), 1); }

  const std::string path_ = ::getenv("PATH");
  const ScratchDir scratch_;
  const StateDirs dirs_{.data = scratch_.path() / "data",
                        .cache = scratch_.path() / "cache",
                        .runtime = scratch_.path() / "run"};
};

TEST_F(BinfmtLayer, HoldsTheInterpreterAndItsLine) {
  install(LAYERBOOT_GUEST_INIT);  // a static program
  const auto layers = binfmt_layers(dirs_, {"riscv64"}, own_architecture());
  ASSERT_TRUE(layers) << layers.error().describe();
  ASSERT_EQ(layers->size(), 1U);
  EXPECT_EQ(layers->front(), binfmt_layer_path(dirs_, "riscv64"));
  const auto tar = read_file(layers->front(), std::size_t{64} << 20);
  ASSERT_TRUE(tar);
  for (const char* part : {"etc/binfmt.d/layerboot-riscv64.conf", "usr/lib/layerboot/qemu-riscv64",
                           ":/usr/lib/layerboot/qemu-riscv64:OPF\n"})
    EXPECT_NE(tar->find(part), std::string::npos) << part;
  const auto made = std::filesystem::last_write_time(layers->front());
  ASSERT_TRUE(binfmt_layers(dirs_, {"riscv64"}, own_architecture()));
  EXPECT_EQ(std::filesystem::last_write_time(layers->front()), made) << "an unchanged file keeps its index";
}

TEST_F(BinfmtLayer, WhatCannotBeAnInterpreterIsNamed) {
  ::setenv("PATH", "/nowhere", 1);
  const auto missing = binfmt_layers(dirs_, {"riscv64"}, own_architecture());
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().describe().find("qemu-user-static"), std::string::npos);
  install("/proc/self/exe");  // not static
  const auto dynamic = binfmt_layers(dirs_, {"riscv64"}, own_architecture());
  ASSERT_FALSE(dynamic);
  EXPECT_EQ(dynamic.error().code, EINVAL);
  EXPECT_FALSE(find_interpreter(programs_for("riscv64"), own_architecture())) << "nor does doctor count it";
  install(LAYERBOOT_GUEST_INIT);
  for (const Architecture& architecture : architectures()) {
    if (!is_foreign(architecture)) continue;
    EXPECT_FALSE(binfmt_layers(dirs_, {"riscv64"}, architecture)) << architecture.name;
  }
  EXPECT_FALSE(std::filesystem::exists(binfmt_layer_path(dirs_, "riscv64")));
}

}  // namespace
}  // namespace layerboot::launcher
