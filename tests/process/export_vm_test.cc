// layerboot export gns3 of a VM: its disk has what the VM wrote, and nothing of what is one machine's own.
#include <sys/file.h>

#include "oci-mount/base/unique_fd.h"
#include "tests/process/commit_fixture.h"

namespace layerboot::test {
namespace {

class ExportVmTest : public CommitTest {
 protected:
  void SetUp() override {
    CommitTest::SetUp();
    if (IsSkipped()) return;
    // A kernel with all built in, as far as anybody looks here: the header of a bzImage.
    fs::create_directories(dir_ / "kernel");
    std::string image(4096, '\0');
    image.replace(0x202, 4, "HdrS");
    write_text(dir_ / "kernel/vmlinuz", image);
    write_text(dir_ / "kernel/release", "6.12.0-test\n");
    write_text(dir_ / "kernel/config", "CONFIG_VIRTIO_FS=y\n");
  }
  Outcome export_gns3(const std::vector<std::string>& more) const {
    std::vector<std::string> all{"export",       "gns3",
                                 "--oci-mount",  LAYERBOOT_OCI_MOUNT,
                                 "--guest-init", LAYERBOOT_GUEST_INIT,
                                 "--kernel",     (dir_ / "kernel").string(),
                                 "--size",       "256M",
                                 "-o",           (dir_ / "out").string()};
    all.insert(all.end(), more.begin(), more.end());
    return layerboot(all);
  }
  /// The name of the appliance's disk.
  std::string disk_of(const std::string& name) const {
    const Json made = Json::parse(read_text(dir_ / "out" / (name + ".gns3a")), nullptr, false);
    return made.is_object() ? made["versions"][0]["images"]["hda_disk_image"].get<std::string>() : "none";
  }
  /// What debugfs says of the appliance's disk.
  std::string ask(const std::string& name, const std::string& request) const {
    const std::string raw = (dir_ / "root.raw").string();
    const Outcome converted = run_program(
        {"qemu-img", "convert", "-O", "raw", (dir_ / "out" / disk_of(name)).string(), raw}, dir_ / "cache");
    EXPECT_EQ(converted.exit_code, 0) << converted.err;
    return run_program({"debugfs", "-R", request, raw}, dir_ / "cache").out;
  }
};

TEST_F(ExportVmTest, WhatTheVmWroteIsOnTheDisk) {
  const Outcome made = export_gns3({"web"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_EQ(ask("web", "cat /etc/new"), sample_bytes(600'000, 3));
  EXPECT_EQ(ask("web", "cat /etc/kept"), "kept");
  EXPECT_EQ(ask("web", "cat /etc/gone"), "") << "the VM removed it";
  EXPECT_EQ(ask("web", "cat /etc/machine-id"), "") << "each node has its own";
  const Json appliance = Json::parse(read_text(dir_ / "out/web.gns3a"), nullptr, false);
  ASSERT_TRUE(appliance.is_object());
  EXPECT_EQ(appliance["name"], "web");
  EXPECT_NE(appliance["description"].get<std::string>().find(reference_), std::string::npos);
  EXPECT_EQ(line_of(layerboot({"ps", "-a", "--names"})), "web") << "the VM is as it was";
  EXPECT_NE(export_gns3({"web"}).exit_code, 0) << "nothing is overwritten";
}

TEST_F(ExportVmTest, TakesNoFileForSharedByItsName) {
  ASSERT_EQ(export_gns3({reference_, "--name", "first"}).exit_code, 0);
  fs::path kernel;
  for (const auto& entry : fs::directory_iterator(dir_ / "out")) {
    if (entry.path().filename().string().starts_with("layerboot-vmlinuz-")) kernel = entry.path();
  }
  ASSERT_FALSE(kernel.empty());
  std::string bytes = read_text(kernel);
  bytes.back() = 'x';
  write_text(kernel, bytes);
  const Outcome refused = export_gns3({reference_, "--name", "second"});
  EXPECT_NE(refused.exit_code, 0);
  EXPECT_NE(refused.err.find("is not what its name says"), std::string::npos) << refused.err;
  for (const auto& entry : fs::directory_iterator(dir_ / "out"))
    EXPECT_FALSE(entry.path().filename().string().starts_with("second")) << entry.path();
  fs::remove(kernel);
  const Outcome made = export_gns3({reference_, "--name", "second"});
  EXPECT_EQ(made.exit_code, 0) << made.err;
}

TEST_F(ExportVmTest, ANewerOneLeavesTheOldersDiskToItsNodes) {
  ASSERT_EQ(export_gns3({"web", "--name", "lab"}).exit_code, 0);
  const std::string older = disk_of("lab");
  EXPECT_TRUE(older.starts_with("lab-") && older.ends_with(".qcow2")) << older;
  const std::string bytes = read_text(dir_ / "out" / older);
  fs::remove(dir_ / "out/lab.gns3a");
  const Outcome made = export_gns3({reference_, "--name", "lab"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_NE(disk_of("lab"), older);
  EXPECT_EQ(read_text(dir_ / "out" / older), bytes);
}

TEST_F(ExportVmTest, AnImageHasNothingOfTheVm) {
  const Outcome made = export_gns3({reference_, "--name", "plain"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_EQ(ask("plain", "cat /etc/new"), "");
  EXPECT_EQ(ask("plain", "cat /etc/gone"), "gone");
}

TEST_F(ExportVmTest, IsForWhatRunsOnX86AndNothingElse) {
  const auto image_for = [this](const std::string& architecture) {
    ImageBuilder image(dir_ / architecture);
    image.architecture = architecture;
    image.add_plain_layer(TarBuilder().file("name", architecture).finish()).write();
    return "oci:" + image.layout().string() + ":latest";
  };
  const std::string arm = image_for("arm64");
  const Outcome refused = export_gns3({arm, "--name", "arm"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("is for linux/arm64: an appliance is made for x86-64 alone"), std::string::npos)
      << refused.err;
  EXPECT_EQ(refused.err.find("--platform"), std::string::npos) << "there is no such option";
  EXPECT_FALSE(fs::exists(dir_ / "out"));
  const auto make_vm_for = [this](const std::string& name, const std::string& image,
                                  const std::string& platform) {
    make_vm(name);
    Json kept = Json::parse(read_text(vm(name) / "config.json"), nullptr, false);
    kept["image"] = image;
    kept["run"] = {{"platform", platform}};
    write_text(vm(name) / "config.json", kept.dump());
    fs::create_directories(dir_ / "mnt");
    Mounted mounted({"--platform", platform, "--upper", (vm(name) / "disk").string(), image}, dir_ / "cache",
                    dir_ / "mnt");
    ASSERT_TRUE(is_mountpoint(dir_ / "mnt")) << mounted.messages();
    write_text(dir_ / "mnt/written", platform);
    EXPECT_EQ(mounted.stop(SIGTERM), 0);
  };
  make_vm_for("small", image_for("386"), "linux/386");
  const Outcome made = export_gns3({"small"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_EQ(ask("small", "cat /written"), "linux/386");
  EXPECT_EQ(ask("small", "cat /name"), "386");
  make_vm_for("foreign", arm, "linux/arm64");
  EXPECT_NE(export_gns3({"foreign"}).err.find("VM foreign is for linux/arm64"), std::string::npos);
}

TEST_F(ExportVmTest, AFailureLeavesNoDirectoryOfItsOwn) {
  write_text(dir_ / "kernel/vmlinuz", "no kernel");
  EXPECT_EQ(export_gns3({reference_}).exit_code, 1);
  EXPECT_FALSE(fs::exists(dir_ / "out"));
  fs::create_directories(dir_ / "out");
  EXPECT_EQ(export_gns3({reference_}).exit_code, 1);
  EXPECT_TRUE(fs::is_empty(dir_ / "out")) << "the person's own stays";
}

TEST_F(ExportVmTest, ServesAVmAsItIs) {
  // What is kept of a VM is not served's to change, nor what its guest writes by itself.
  constexpr const char* kUntilServed =
      "\"$@\" & pid=$!; for i in $(seq 600); do [ -S \"$SOCKET\" ] && break; sleep 0.05; done\n"
      "[ -S \"$SOCKET\" ] && tr '\\0' ' ' < /proc/$(pgrep -P $pid -x vfsd)/cmdline; kill -TERM $pid; wait "
      "$pid";
  const std::string socket = dir_ / "served.sock";
  for (const char* upper : {"disk", "ram", "host"}) {
    SCOPED_TRACE(upper);
    const std::string name = str_cat("of-", upper);
    make_vm(name);
    const auto record = vm(name) / "config.json";
    Json kept = Json::parse(read_text(record), nullptr, false);
    kept["run"] = {{"upper", upper}, {"ephemeral", std::string(upper) == "host"}};
    write_text(record, kept.dump());
    if (std::string(upper) == "disk") write_text(vm(name) / "upper.raw", std::string(4096, '\0'));
    std::vector<std::string> serve{"serve",         reference_,
                                   "--name",        name,
                                   "--kernel",      (dir_ / "kernel").string(),
                                   "--vfsd",        LAYERBOOT_VFSD,
                                   "--guest-init",  LAYERBOOT_GUEST_INIT,
                                   "--socket-path", socket};
    serve = words(serve);
    serve.insert(serve.begin(), {"env", "SOCKET=" + socket, "sh", "-c", kUntilServed, "sh"});
    const Outcome served = run_program(serve, dir_ / "cache");
    EXPECT_EQ(served.exit_code, 0) << served.err;
    const bool writable = served.out.find("--upper ") != std::string::npos;
    EXPECT_EQ(writable, std::string(upper) == "host") << served.out;
    EXPECT_EQ(served.out.find("--read-only") != std::string::npos, !writable) << served.out;
    const Json now = Json::parse(read_text(record), nullptr, false);
    EXPECT_EQ(now["run"]["upper"], upper);
    EXPECT_EQ(now["run"]["ephemeral"], kept["run"]["ephemeral"]);
    fs::remove(socket);
  }
}

TEST_F(ExportVmTest, ARunningOrEmptyVmIsNamed) {
  make_vm("new");
  const Outcome fresh = export_gns3({"new"});
  EXPECT_EQ(fresh.exit_code, 1);
  EXPECT_NE(fresh.err.find("has not run yet"), std::string::npos) << fresh.err;
  const UniqueFd lock(::open((vm("web") / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(::flock(lock.get(), LOCK_EX | LOCK_NB), 0);
  const Outcome busy = export_gns3({"web"});
  EXPECT_EQ(busy.exit_code, 1);
  EXPECT_NE(busy.err.find("layerboot stop web"), std::string::npos) << busy.err;
  EXPECT_FALSE(fs::exists(dir_ / "out/web.gns3a"));
}

}  // namespace
}  // namespace layerboot::test
