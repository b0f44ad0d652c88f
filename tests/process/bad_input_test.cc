// What a user gets wrong, and what breaks on the way: each ends with one line that names the thing and the
// remedy, an exit status other than 0, and nothing half-made left behind.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "tests/process/bad_input_support.h"
#include "tests/process/vfsd_process.h"
#include "tests/support/fake_guest.h"
#include "tests/support/fake_guest_fuse.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

class BadInputTest : public testing::Test {
 protected:
  void SetUp() override {
    // Short, for the sake of socket paths; all state of the programs goes below it.
    for (const char* name : {"data", "cache", "run"}) fs::create_directories(dir_ / name);
    ImageBuilder builder(dir_ / "image");
    tar_ = TarBuilder()
               .directory("etc")
               .file("etc/hostname", "image\n")
               .file("big", sample_bytes(400'000, 1))
               .finish();
    builder.add_gzip_layer(tar_);
    builder.write("first");
    builder.write("second");
    blob_ = builder.blob_path(sha256_text(gzip(tar_)));
  }
  Ended run(std::vector<std::string> words) const { return run_to_end(words, dir_.path()); }
  std::string image(const std::string& tag = "first") const {
    return "oci:" + (dir_ / "image").string() + ":" + tag;
  }
  std::vector<std::string> vfsd(const std::string& reference) const {
    return {LAYERBOOT_VFSD, "--quiet", "--socket-path", dir_ / "s", "--image",
            reference,      "--upper", dir_ / "upper",  "--quota",  "64M"};
  }
  std::vector<std::string> layerboot(const std::string& reference, const std::string& kernel) const {
    return {LAYERBOOT_LAUNCHER, "run",
            reference,          "--quiet",
            "--name",           "vm",
            "--accel",          "tcg",
            "--kernel",         kernel,
            "--vfsd",           LAYERBOOT_VFSD,
            "--guest-init",     LAYERBOOT_GUEST_INIT};
  }
  /// All names below the state directories, the socket's and the upper's places included.
  std::set<std::string> state() const {
    std::set<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(dir_.path()))
      names.insert(entry.path().string());
    return names;
  }
  /// Runs it; one line on standard error has all `parts`; nothing new is left.
  void expect_refused(const std::vector<std::string>& words, const std::vector<std::string>& parts,
                      int status = 1) {
    const auto before = state();
    const Ended ended = run(words);
    EXPECT_EQ(ended.status, status) << ended.err;
    EXPECT_EQ(std::count(ended.err.begin(), ended.err.end(), '\n'), 1) << ended.err;
    EXPECT_EQ(ended.out, "");
    for (const auto& part : parts)
      EXPECT_NE(ended.err.find(part), std::string::npos) << part << " in: " << ended.err;
    std::set<std::string> left;
    for (const auto& name : state()) {
      // Directories that hold state, and stay for the next run, are not half-made.
      if (!before.contains(name) && !fs::is_directory(name)) left.insert(name);
    }
    EXPECT_EQ(left, std::set<std::string>{}) << ended.err;
  }
  /// The same image problem, met through each program.
  void expect_refused_everywhere(const std::string& reference, const std::vector<std::string>& parts) {
    expect_refused(vfsd(reference), parts);
    expect_refused({LAYERBOOT_OCI_MOUNT, "ls", reference}, parts);
    expect_refused(layerboot(reference, kernel("CONFIG_VIRTIO_FS=y\n")), parts);
    fs::remove_all(dir_ / "upper");
  }
  /// A prepared kernel's directory, good enough to get past its check.
  std::string kernel(const std::string& config) const {
    const fs::path made = dir_ / "kernel";
    fs::create_directories(made);
    write_text(made / "vmlinuz", "not really");
    write_text(made / "release", "6.1.0-test\n");
    write_text(made / "config", config);
    // The initrd is made once and kept: that is no leftover of a failure.
    run({LAYERBOOT_LAUNCHER, "kernel", "--quiet", "--kernel", made, "--guest-init", LAYERBOOT_GUEST_INIT});
    return made;
  }

  TempDir dir_;
  std::string tar_;
  fs::path blob_;
};

TEST_F(BadInputTest, TheImageIsNotThere) {
  const std::string nowhere = (dir_ / "nowhere").string();
  expect_refused_everywhere("oci:" + nowhere, {nowhere});
}

TEST_F(BadInputTest, TheTagIsNotThere) {
  expect_refused_everywhere(image("third"), {"third", "first", "second"});
}

TEST_F(BadInputTest, ABlobCutShort) {
  fs::resize_file(blob_, fs::file_size(blob_) / 2);
  expect_refused_everywhere(image(), {blob_.filename().string()});
}

TEST_F(BadInputTest, ABlobWithOneFlippedByte) {
  std::string bytes = read_text(blob_);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  write_text(blob_, bytes);
  expect_refused_everywhere(image(), {blob_.filename().string()});
}

TEST_F(BadInputTest, ABlobThatIsMissing) {
  fs::remove(blob_);
  expect_refused_everywhere(image(), {blob_.filename().string()});
}

TEST_F(BadInputTest, AManifestOfTheWrongType) {
  ImageBuilder builder(dir_ / "odd");
  const std::string manifest =
      R"({"schemaVersion":1,"mediaType":"application/vnd.docker.distribution.manifest.v1+json","fsLayers":[]})";
  const std::string digest = builder.add_blob(manifest);
  builder.add_to_index(R"({"mediaType":"application/vnd.docker.distribution.manifest.v1+json","digest":")" +
                       digest + R"(","size":)" + std::to_string(manifest.size()) +
                       R"(,"annotations":{"org.opencontainers.image.ref.name":"old"}})");
  ImageBuilder again(dir_ / "other");  // writes the layout's own files
  again.write("x");
  fs::copy_file(dir_ / "other/oci-layout", dir_ / "odd/oci-layout", fs::copy_options::overwrite_existing);
  builder.write("good");
  expect_refused_everywhere("oci:" + (dir_ / "odd").string() + ":old", {"manifest.v1"});
}

TEST_F(BadInputTest, TheUpperOfAnotherImage) {
  ImageBuilder builder(dir_ / "other");
  builder.add_gzip_layer(TarBuilder().file("different", "x").finish());
  builder.write("latest");
  {
    VfsdProcess first({"--quiet", "--socket-path", dir_ / "s", "--image", image(), "--upper", dir_ / "upper",
                       "--quota", "64M"},
                      dir_ / "cache");
    ASSERT_TRUE(first.ready()) << first.messages();
    first.signal(SIGTERM);
    EXPECT_EQ(first.wait(), 0);
  }
  const std::string other = "oci:" + (dir_ / "other").string();
  ASSERT_EQ(run({LAYERBOOT_OCI_MOUNT, "ls", other}).status, 0);  // indexed
  expect_refused(vfsd(other), {(dir_ / "upper").string(), "another image", "--upper"}, 3);
}

TEST_F(BadInputTest, AnUpperThatIsSomethingElse) {
  fs::create_directories(dir_ / "upper/work");
  write_text(dir_ / "upper/work/thesis", "precious");
  ASSERT_EQ(run({LAYERBOOT_OCI_MOUNT, "ls", image()}).status, 0);
  expect_refused(vfsd(image()), {(dir_ / "upper").string(), "empty"});
  EXPECT_EQ(read_text(dir_ / "upper/work/thesis"), "precious");
}

TEST_F(BadInputTest, ASocketInUse) {
  VfsdProcess first({"--quiet", "--socket-path", dir_ / "s", "--image", image(), "--upper", dir_ / "upper2",
                     "--quota", "64M"},
                    dir_ / "cache");
  ASSERT_TRUE(first.ready()) << first.messages();
  expect_refused(vfsd(image()), {(dir_ / "s").string(), "in use", "--socket-path"});
  EXPECT_TRUE(FakeGuest::connect(dir_ / "s", {})) << "the first one goes on";
}

TEST_F(BadInputTest, PathsThatAreTooLong) {
  auto words = vfsd(image());
  words[3] = dir_ / std::string(150, 's');
  expect_refused(words, {"socket", "107"});
  ASSERT_EQ(run({LAYERBOOT_OCI_MOUNT, "ls", image()}).status, 0);
  words = vfsd(image());
  words[7] = dir_ / std::string(300, 'u');
  expect_refused(words, {std::string(300, 'u'), "too long"});
  expect_refused_everywhere("oci:" + (dir_ / std::string(300, 'i')).string(), {std::string(300, 'i')});
}

TEST_F(BadInputTest, AnIndexDirectoryThatCannotBeWritten) {
  write_text(dir_ / "a-file", "");  // not even root can write below it
  auto words = vfsd(image());
  words.insert(words.end(), {"--index-dir", dir_ / "a-file/index"});
  expect_refused(words, {(dir_ / "a-file").string()});
  words.back() = "/proc/layerboot-index";
  expect_refused(words, {"/proc/layerboot-index"});
}

TEST_F(BadInputTest, AMissingKernel) {
  expect_refused(layerboot(image(), "/nonexistent"), {"/nonexistent", "--kernel"});
  expect_refused(layerboot(image(), "gentoo"), {"gentoo", "debian"});
}

TEST_F(BadInputTest, AKernelWithoutVirtiofs) {
  expect_refused(layerboot(image(), kernel("CONFIG_FUSE_FS=y\n# CONFIG_VIRTIO_FS is not set\n")),
                 {"6.1.0-test", "virtiofs", "--kernel debian"});
}

TEST_F(BadInputTest, WrongUsage) {
  expect_refused({LAYERBOOT_VFSD, "--image", image()}, {"--socket-path"}, 2);
  expect_refused({LAYERBOOT_VFSD, "--nonsense"}, {"--nonsense"}, 2);
  expect_refused({LAYERBOOT_VFSD, "--socket-path", "s", "--image", "x", "--upper", "u", "--quota", "lots"},
                 {"lots"}, 2);
  for (const std::string zero : {"0", "0M"}) {
    expect_refused({LAYERBOOT_VFSD, "--socket-path", "s", "--image", "x", "--upper", "u", "--quota", zero},
                   {zero, "leaves nothing", "4G"}, 2);
    expect_refused({LAYERBOOT_OCI_MOUNT, "mount", image(), "mnt", "--upper", "u", "--quota", zero},
                   {"--quota", zero, "leaves nothing", "4G"}, 2);
    expect_refused({LAYERBOOT_LAUNCHER, "run", image(), "--quota", zero}, {zero, "leaves nothing", "4G"}, 2);
    expect_refused({LAYERBOOT_LAUNCHER, "serve", image(), "--quota", zero}, {zero, "leaves nothing"}, 2);
    expect_refused({LAYERBOOT_LAUNCHER, "resize", "vm", zero}, {zero, "leaves nothing", "4G"}, 2);
  }
  expect_refused({LAYERBOOT_LAUNCHER, "run"}, {"IMAGE"}, 2);
  expect_refused({LAYERBOOT_LAUNCHER, "run", image(), "--nonsense"}, {"--nonsense"}, 2);
  expect_refused({LAYERBOOT_OCI_MOUNT, "ls"}, {"oci-mount"}, 2);
}

TEST_F(BadInputTest, OutputThatDoesNotArriveIsAnError) {
  const std::vector<std::vector<std::string>> all = {{LAYERBOOT_LAUNCHER, "ps"},
                                                     {LAYERBOOT_LAUNCHER, "--help"},
                                                     {LAYERBOOT_LAUNCHER, "completion", "bash"},
                                                     {LAYERBOOT_LAUNCHER, "volume", "ls"},
                                                     {LAYERBOOT_LAUNCHER, "images"},
                                                     {LAYERBOOT_OCI_MOUNT, "--help"},
                                                     {LAYERBOOT_OCI_MOUNT, "ls", image()},
                                                     {LAYERBOOT_VFSD, "--print-capabilities"}};
  ASSERT_EQ(run({LAYERBOOT_OCI_MOUNT, "ls", image()}).status, 0);  // indexed
  for (const auto& words : all) {
    std::vector<std::string> to_full = {"/bin/sh", "-c", "exec \"$@\" > /dev/full", "sh"};
    to_full.insert(to_full.end(), words.begin(), words.end());
    expect_refused(to_full, {"cannot write", "output"});
    if (words.front() != LAYERBOOT_LAUNCHER) continue;  // the others end by SIGPIPE
    std::vector<std::string> to_nobody = {"/bin/bash", "-c", "\"$@\" | true; exit ${PIPESTATUS[0]}", "bash"};
    to_nobody.insert(to_nobody.end(), words.begin(), words.end());
    const Ended unread = run(to_nobody);
    EXPECT_EQ(unread.status, 0) << words[1];
    EXPECT_EQ(unread.err, "") << words[1];
  }
}

TEST_F(BadInputTest, PathsThatLeadNowhere) {
  ASSERT_EQ(run({LAYERBOOT_OCI_MOUNT, "ls", image()}).status, 0);  // indexed
  expect_refused({LAYERBOOT_LAUNCHER, "disk", image(), ""}, {"an empty path"});
  expect_refused({LAYERBOOT_LAUNCHER, "export", "gns3", image(), "-o", ""}, {"an empty path"});
  const auto in_no_directory = [&](const std::vector<std::string>& words) {
    std::vector<std::string> all = {"/bin/sh", "-c", "mkdir gone && cd gone && rmdir ../gone && exec \"$@\"",
                                    "sh"};
    all.insert(all.end(), words.begin(), words.end());
    return all;
  };
  expect_refused(in_no_directory({LAYERBOOT_LAUNCHER, "disk", image(), "out.raw"}),
                 {"out.raw", "working directory"});
  expect_refused(in_no_directory({LAYERBOOT_LAUNCHER, "export", "gns3", image(), "-o", "out"}),
                 {"out", "working directory"});
  expect_refused(in_no_directory({LAYERBOOT_LAUNCHER, "run", image(), "-v", "./x:/x"}),
                 {"./x", "working directory"}, 2);
}

TEST_F(BadInputTest, AFullQuotaIsTheGuestsToSeeAndTheDaemonLives) {
  VfsdProcess daemon({"--quiet", "--socket-path", dir_ / "s", "--image", image(), "--upper", dir_ / "upper",
                      "--quota", "1M"},
                     dir_ / "cache");
  ASSERT_TRUE(daemon.ready()) << daemon.messages();
  auto guest = FakeGuest::connect(dir_ / "s", {});
  ASSERT_TRUE(guest);
  ASSERT_TRUE((*guest)->boot());
  FuseClient client(**guest, 1);
  ASSERT_TRUE(client.init());
  const auto hog = client.create(1, "hog", 0644, 0);
  ASSERT_TRUE(hog);
  int code = 0;
  const std::string piece(64 * 1024, 'x');
  for (std::uint64_t at = 0; code == 0 && at < (4U << 20); at += piece.size()) {
    const auto put = client.write(hog->nodeid, at, piece);
    if (!put) code = put.error().code;
  }
  EXPECT_EQ(code, ENOSPC);
  EXPECT_TRUE(client.unlink(1, "hog"));
  EXPECT_TRUE(client.getattr(1));
  EXPECT_EQ(daemon.messages(), "") << "a guest's own doing is nothing for the log";
}

}  // namespace
}  // namespace layerboot::test
