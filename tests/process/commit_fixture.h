// CommitTest: a VM's directory as layerboot keeps it, whose files were written by the mount of its upper.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "oci-mount/base/str_cat.h"
#include "tests/process/mount_listing.h"
#include "tests/process/mount_support.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class CommitTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_fuse(); !why.empty()) GTEST_SKIP() << why;
    ImageBuilder image(dir_ / "image");
    image.config_more_json = R"("history":[{"created_by":"first"}],"author":"before",)";
    image
        .add_gzip_layer(TarBuilder()
                            .directory("etc")
                            .file("etc/kept", "kept")
                            .file("etc/gone", "gone")
                            .file("etc/hosts", "the image's")
                            .finish())
        .write();
    reference_ = "oci:" + image.layout().string() + ":latest";
    ::setenv("XDG_DATA_HOME", (dir_ / "data").c_str(), 1);  // for mounts of what was committed
    make_vm("web");
    write("web");
  }
  void TearDown() override { ::unsetenv("XDG_DATA_HOME"); }
  void make_vm(const std::string& name) const {
    fs::create_directories(vm(name));
    write_text(
        vm(name) / "config.json",
        str_cat(R"({"image":")", reference_, R"(","machine_id":"0123456789abcdef0123456789abcdef","name":")",
                name, R"(","quota_bytes":1000000000,"run":{},"version":1})"));
    write_text(vm(name) / "vm-layer.tar", TarBuilder().file("etc/hosts", "the VM's").finish());
  }
  /// What the guest does, by the same file system.
  void write(const std::string& name) const {
    fs::create_directories(dir_ / "mnt");
    Mounted mounted({"--upper", (vm(name) / "disk").string(), reference_}, dir_ / "cache", dir_ / "mnt");
    ASSERT_TRUE(is_mountpoint(dir_ / "mnt")) << mounted.messages();
    fs::remove(dir_ / "mnt/etc/gone");
    write_text(dir_ / "mnt/etc/new", sample_bytes(600'000, 3));
    write_text(dir_ / "mnt/etc/hosts", "written by the VM");
    write_text(dir_ / "mnt/etc/machine-id", "the VM's");
    EXPECT_EQ(mounted.stop(SIGTERM), 0);
  }
  std::vector<std::string> words(std::vector<std::string> more) const {
    more.insert(more.begin(), {"env", "XDG_DATA_HOME=" + (dir_ / "data").string(),
                               "XDG_RUNTIME_DIR=" + (dir_ / "run").string(), LAYERBOOT_LAUNCHER});
    return more;
  }
  Outcome layerboot(const std::vector<std::string>& more) const {
    return run_program(words(more), dir_ / "cache");
  }
  Outcome commit(const std::vector<std::string>& more) const {
    std::vector<std::string> all{"commit", "--oci-mount", LAYERBOOT_OCI_MOUNT};
    all.insert(all.end(), more.begin(), more.end());
    return layerboot(all);
  }
  Outcome oci_mount(std::vector<std::string> more) const {
    more.insert(more.begin(),
                {"env", "XDG_DATA_HOME=" + (dir_ / "data").string(), LAYERBOOT_OCI_MOUNT, "-q"});
    return run_program(more, dir_ / "cache");
  }
  /// What the VM shows when it is started: its image, and what it has written if there is anything.
  Listing shown(const std::string& name) const {
    const Json record = Json::parse(read_text(vm(name) / "config.json"), nullptr, false);
    std::vector<std::string> how{record["image"].get<std::string>()};
    if (fs::exists(vm(name) / "disk/image")) how = {"--upper", (vm(name) / "disk").string(), how.front()};
    Mounted mounted(how, dir_ / "cache", dir_ / "mnt");
    EXPECT_TRUE(is_mountpoint(dir_ / "mnt")) << mounted.messages();
    Listing listing = list_tree(dir_ / "mnt");
    EXPECT_EQ(mounted.stop(SIGTERM), 0);
    return listing;
  }
  fs::path vm(const std::string& name) const { return dir_ / "data/layerboot/vms" / name; }
  fs::path store() const { return dir_ / "data/layerboot/store"; }
  Json blob(const std::string& digest) const {
    return Json::parse(read_text(store() / "blobs/sha256" / digest.substr(7)), nullptr, false);
  }
  std::size_t blob_count() const {
    std::error_code ignored;
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : fs::directory_iterator(store() / "blobs/sha256", ignored))
      ++count;
    return count;
  }

  TempDir dir_;
  std::string reference_;
};

inline std::string line_of(const Outcome& outcome) { return outcome.out.substr(0, outcome.out.find('\n')); }

}  // namespace layerboot::test
