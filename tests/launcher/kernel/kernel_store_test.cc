#include "launcher/kernel/kernel_store.h"

#include "tests/launcher/kernel/scratch.h"

namespace layerboot::launcher {
namespace {

class KernelStore : public ScratchTest {
 protected:
  void make_kernel(std::string_view release, std::string_view config) {
    write(scratch_ / "vmlinuz", "image");
    write(scratch_ / "release", release);
    write(scratch_ / "config", config);
  }
};

TEST_F(KernelStore, OpensAPreparedKernel) {
  make_kernel("6.12.95+deb12-cloud-amd64\n", "CONFIG_FUSE_FS=m\nCONFIG_VIRTIO_FS=m\n");
  auto kernel = open_kernel(scratch_);
  ASSERT_TRUE(kernel) << kernel.error().text;
  EXPECT_EQ(kernel->release, "6.12.95+deb12-cloud-amd64");
  EXPECT_EQ(kernel->vmlinuz(), scratch_ / "vmlinuz");
  EXPECT_FALSE(kernel->has_modules);
  write(scratch_ / "modules.tar", "x");
  EXPECT_TRUE(open_kernel(scratch_)->has_modules);
}

TEST_F(KernelStore, AMissingFileIsNamedWithTheRemedy) {
  for (const char* name : {"vmlinuz", "release", "config"}) {
    make_kernel("6.1\n", "CONFIG_VIRTIO_FS=y\n");
    std::filesystem::remove(scratch_ / name);
    const auto kernel = open_kernel(scratch_);
    ASSERT_FALSE(kernel);
    EXPECT_EQ(kernel.error().code, ENOENT);
    EXPECT_NE(kernel.error().text.find(str_cat(name, " is missing")), std::string::npos)
        << kernel.error().text;
    EXPECT_NE(kernel.error().text.find("--kernel debian"), std::string::npos);
    EXPECT_EQ(kernel.error().text.find('\n'), std::string::npos);
  }
}

TEST_F(KernelStore, AKernelWithoutVirtiofsIsRefusedByName) {
  make_kernel("5.4.0-tiny\n", "CONFIG_FUSE_FS=y\n# CONFIG_VIRTIO_FS is not set\n");
  const auto kernel = open_kernel(scratch_);
  ASSERT_FALSE(kernel);
  EXPECT_NE(kernel.error().text.find("5.4.0-tiny has no virtiofs"), std::string::npos) << kernel.error().text;
  EXPECT_NE(kernel.error().text.find("CONFIG_VIRTIO_FS"), std::string::npos);
  EXPECT_EQ(kernel.error().text.find('\n'), std::string::npos);
}

TEST_F(KernelStore, AReleaseIsNoPath) {
  for (const char* release : {"", "\n", "../../etc", "6.1/x", "a b", ".", "-x"}) {
    make_kernel(release, "CONFIG_VIRTIO_FS=y\n");
    EXPECT_FALSE(open_kernel(scratch_)) << release;
  }
  EXPECT_FALSE(is_release(std::string(65, '6')));
}

TEST(KernelConfig, ReadsWholeLines) {
  EXPECT_TRUE(config_has_virtiofs("CONFIG_VIRTIO_FS=y"));
  EXPECT_TRUE(config_has_virtiofs("A=b\nCONFIG_VIRTIO_FS=m\n"));
  EXPECT_FALSE(config_has_virtiofs("CONFIG_VIRTIO_FS=n\n"));
  EXPECT_FALSE(config_has_virtiofs("# CONFIG_VIRTIO_FS=y\n"));
  EXPECT_FALSE(config_has_virtiofs("CONFIG_VIRTIO_FS="));
  EXPECT_FALSE(config_has_virtiofs(""));
}

TEST(KernelSpec, UnderstandsWhatItSays) {
  EXPECT_EQ(parse_kernel_spec("debian")->store_name(), "debian");
  EXPECT_EQ(parse_kernel_spec("debian:6.12")->store_name(), "debian-6.12");
  EXPECT_EQ(parse_kernel_spec("debian:6.12")->series, "6.12");
  EXPECT_EQ(parse_kernel_spec("./my")->directory, "./my");
  EXPECT_EQ(parse_kernel_spec(".")->kind, KernelSpec::Kind::kDirectory);
  EXPECT_EQ(parse_kernel_spec("custom")->store_name(), "custom");
  EXPECT_TRUE(parse_kernel_spec("host")->store_name().starts_with("host-"));
  const auto image = parse_kernel_spec("image:oci:/i/k:6.1");
  EXPECT_EQ(image->image, "oci:/i/k:6.1");
  EXPECT_EQ(image->store_name(), "image-oci--i-k-6.1");
  EXPECT_EQ(parse_kernel_spec("/proc/self/exe")->kind, KernelSpec::Kind::kFile);
  for (const char* wrong :
       {"", "image:", "debian:", "debian:..", "debian:6.1;x", "debian:.6", "ubuntu", "6.1"}) {
    const auto spec = parse_kernel_spec(wrong);
    ASSERT_FALSE(spec) << wrong;
    EXPECT_NE(spec.error().text.find("debian:6.1"), std::string::npos);
  }
}

TEST(KernelSpec, OfAnotherArchitectureHasANameOfItsOwn) {
  const auto found = std::ranges::find_if(architectures(), is_foreign);
  ASSERT_NE(found, architectures().end());
  const Architecture& foreign = *found;
  const std::string ending = str_cat('-', foreign.name);
  EXPECT_EQ(parse_kernel_spec("debian", foreign)->store_name(), "debian" + ending);
  EXPECT_EQ(parse_kernel_spec("debian:6.12", foreign)->store_name(), "debian-6.12" + ending);
  EXPECT_TRUE(parse_kernel_spec("image:kernels", foreign)->store_name().ends_with(ending));
  for (const char* own : {"host", "custom", "/bin/sh"}) {
    const auto refused = parse_kernel_spec(own, foreign);
    ASSERT_FALSE(refused) << own;
    EXPECT_NE(refused.error().text.find(foreign.name), std::string::npos) << refused.error().text;
  }
}

}  // namespace
}  // namespace layerboot::launcher
