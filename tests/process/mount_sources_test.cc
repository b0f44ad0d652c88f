// oci-mount's tar, index, verify and diff of images from everywhere: archives, containerd, a directory, zstd.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "oci-mount/base/str_cat.h"
#include "tests/process/mount_support.h"
#include "tests/process/private_containerd.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

struct Source {
  std::string reference;
  fs::path
      blobs;  // the file, or the directory of the files, that its layers lie in; "" for a directory's own
  std::size_t layers = 2;
  bool recut = false;
};

class MountSourcesTest : public testing::Test {
 protected:
  void SetUp() override {
    TarMember odd;
    odd.name = "odd";
    odd.content = "x";
    odd.uid = 1234;
    odd.mode = 04755;
    odd.pax = {{"SCHILY.xattr.user.colour", "blue"}, {"mtime", "1700000000.123456789"}};
    TarBuilder lower;
    lower.directory("./").directory("etc").file("etc/hostname", "lower\n").file("etc/gone", "x").add(odd);
    lower.file("big", sample_bytes(7'000'000, 1)).symlink("conf", "/etc");
    TarBuilder upper;
    upper.file("etc/hostname", "upper\n").whiteout("etc/gone").hard_link("etc/linked", "big");
    upper.file("other", sample_bytes(700'000, 2));
    ImageBuilder image(dir_ / "image");
    image.add_gzip_layer(lower.finish()).add_gzip_layer(upper.finish());
    image.write("v1");
    tar_ = tool({"tar", layout(), "-q"}).out;
    ASSERT_GT(tar_.size(), 7'000'000U);
  }
  std::string layout() const { return str_cat("oci:", path("image"), ":v1"); }
  std::string path(const char* name) const { return (dir_ / name).string(); }
  Outcome tool(std::vector<std::string> words) const {
    words.insert(words.begin(), LAYERBOOT_OCI_MOUNT);
    return run_program(words, dir_ / "cache");
  }
  void copy(std::vector<std::string> words) const {
    words.insert(words.begin(), {"skopeo", "copy", "--quiet"});
    const Outcome copied = run_program(words, dir_ / "cache");
    ASSERT_EQ(copied.exit_code, 0) << copied.err;
  }
  std::vector<std::string> index_files(std::string_view extension) const {
    std::vector<std::string> files;
    for (const auto& entry : fs::directory_iterator(dir_ / "cache/layerboot/index"))
      if (entry.path().extension() == extension) files.push_back(entry.path());
    return files;
  }
  static void flip_middle(const fs::path& file) {
    std::string bytes = read_text(file);
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
    fs::permissions(file, fs::perms::owner_write, fs::perm_options::add);
    write_text(file, bytes);
  }
  /// The file with the largest layer.
  static fs::path largest(const fs::path& blobs) {
    if (!fs::is_directory(blobs)) return blobs;
    fs::path found;
    for (const auto& entry : fs::recursive_directory_iterator(blobs)) {
      if (entry.is_regular_file() && (found.empty() || entry.file_size() > fs::file_size(found)))
        found = entry.path();
    }
    return found;
  }
  void expect_good(const Source& source) const {
    const Outcome good = tool({"verify", source.reference, "-q"});
    EXPECT_EQ(good.exit_code, 0) << good.out << good.err;
    EXPECT_NE(good.out.find("tree good"), std::string::npos) << good.out;
    EXPECT_EQ(std::count(good.out.begin(), good.out.end(), '\n'), static_cast<long>(source.layers) + 1)
        << good.out;
  }
  void expect_diff(const Source& source) const {
    if (::geteuid() != 0 || !why_no_fuse().empty()) return;
    const fs::path upper = dir_ / "upper";
    fs::remove_all(upper);
    fs::create_directories(dir_ / "mnt");
    {
      Mounted mounted({source.reference, "--upper", upper.string()}, dir_ / "cache", dir_ / "mnt");
      ASSERT_TRUE(is_mountpoint(dir_ / "mnt")) << mounted.messages();
      write_text(dir_ / "mnt/etc/new", "n");
      fs::remove(dir_ / "mnt/odd");
      EXPECT_EQ(mounted.stop(SIGTERM), 0) << mounted.messages();
    }
    EXPECT_EQ(tool({"diff", source.reference, upper.string(), "-q"}).out, "C /etc\nA /etc/new\nD /odd\n");
  }
  /// All that a source has to do, and what verify says when it goes bad.
  void try_source(const Source& source) const {
    SCOPED_TRACE(source.reference);
    const Outcome tar = tool({"tar", source.reference, "-q"});
    ASSERT_EQ(tar.exit_code, 0) << tar.err;
    EXPECT_TRUE(tar.out == tar_) << "another tar than the layout's";
    const auto report =
        nlohmann::json::parse(tool({"index", source.reference, "--json", "-q"}).out, nullptr, false);
    ASSERT_EQ(report["layers"].size(), source.layers) << report;
    EXPECT_EQ(report["layers"][0].contains("recut_bytes"), source.recut) << report;
    expect_good(source);
    expect_diff(source);
    if (source.blobs.empty()) return;
    const fs::path blob = largest(source.blobs);
    const std::string whole = read_text(blob);
    if (fs::is_directory(source.blobs)) {
      EXPECT_EQ(report["layers"][0]["blob_bytes"], whole.size()) << report;
    }
    flip_middle(blob);
    const Outcome read = tool({"tar", source.reference, "-q"});
    EXPECT_EQ(read.exit_code == 0, source.recut) << "read as if it were whole: " << read.err;
    const Outcome bad = tool({"verify", source.reference, "-q"});
    EXPECT_EQ(bad.exit_code, 1);
    EXPECT_NE(bad.out.find("is damaged: its bytes hash to"), std::string::npos) << bad.out;
    EXPECT_NE(bad.out.find(source.recut ? "the recut file beside its index is whole" : "  bytes "),
              std::string::npos)
        << bad.out;
    write_text(blob, whole);
    expect_good(source);
  }

  TempDir dir_;
  std::string tar_;
};

TEST_F(MountSourcesTest, AnOciArchive) {
  copy({layout(), str_cat("oci-archive:", path("oci.tar"), ":v1")});
  try_source({str_cat("oci-archive:", path("oci.tar"), ":v1"), dir_ / "oci.tar"});
}

TEST_F(MountSourcesTest, ADockerArchiveOfPlainTars) {
  copy({layout(), str_cat("docker-archive:", path("docker.tar"), ":example.org/one:v1")});
  try_source({str_cat("docker-archive:", path("docker.tar"), ":example.org/one:v1"), dir_ / "docker.tar"});
}

// skopeo makes a layer one zstd frame: what is read is the recut file.
TEST_F(MountSourcesTest, LayersThatAreOneZstdFrame) {
  copy({layout(), str_cat("docker-archive:", path("docker.tar"), ":example.org/one:v1")});
  copy({"--dest-compress", "--dest-compress-format", "zstd",
        str_cat("docker-archive:", path("docker.tar"), ":example.org/one:v1"),
        str_cat("oci:", path("zstd"), ":v1")});
  const Source source{str_cat("oci:", path("zstd"), ":v1"), dir_ / "zstd/blobs", 2, true};
  try_source(source);
  const auto recut = index_files(".zst");
  ASSERT_EQ(recut.size(), 1U);
  flip_middle(recut[0]);
  const Outcome bad = tool({"verify", source.reference, "-q"});
  EXPECT_EQ(bad.exit_code, 1);
  EXPECT_NE(bad.out.find(str_cat("recut file ", recut[0], " is wrong from byte ")), std::string::npos)
      << bad.out;
  EXPECT_NE(bad.out.find("of the recut file do not decode to bytes"), std::string::npos) << bad.out;
}

// Neither can be decoded from anywhere but its beginning.
TEST_F(MountSourcesTest, LayersOfXzAndBzip2) {
  copy({"--dest-decompress", layout(), str_cat("dir:", path("plain"))});
  ImageBuilder image(dir_ / "streams");
  const auto manifest = nlohmann::json::parse(read_text(dir_ / "plain/manifest.json"), nullptr, false);
  const std::string type = "application/vnd.oci.image.layer.v1.tar";
  for (const auto& layer : manifest["layers"]) {
    const std::string digest = layer["digest"];
    const std::string tar = read_text(dir_ / "plain" / digest.substr(digest.find(':') + 1));
    const bool first = image.layers.empty();
    image.add_layer({type + (first ? "+xz" : "+bzip2"), first ? xz(tar) : bzip2(tar), sha256_text(tar)});
  }
  image.write("v1");
  try_source({str_cat("oci:", path("streams"), ":v1"), dir_ / "streams/blobs", 2, true});
}

TEST_F(MountSourcesTest, AnArchiveThatIsCompressedIsUnpackedOnce) {
  copy({layout(), str_cat("docker-archive:", path("docker.tar"), ":example.org/one:v1")});
  const fs::path unpacked = dir_ / "cache/layerboot/unpacked";
  std::ptrdiff_t kept = 0;
  for (const char* const tool_name : {"gzip", "xz", "zstd", "bzip2"}) {
    SCOPED_TRACE(tool_name);
    const Outcome packed = run_program({tool_name, "-c", "-1", path("docker.tar")}, dir_ / "cache");
    ASSERT_EQ(packed.exit_code, 0) << packed.err;
    write_text(dir_ / "docker.tar.packed", packed.out);
    const std::string reference = str_cat("docker-archive:", path("docker.tar.packed"), ":@0");
    const Outcome first = tool({"tar", reference});
    ASSERT_EQ(first.exit_code, 0) << first.err;
    EXPECT_TRUE(first.out == tar_);
    EXPECT_NE(first.err.find(str_cat("is compressed with ", tool_name, ": it is unpacked, once")),
              std::string::npos)
        << first.err;
    const Outcome second = tool({"tar", reference});
    EXPECT_TRUE(second.out == tar_);
    EXPECT_EQ(second.err.find("unpacked"), std::string::npos) << second.err;
    expect_good({reference, {}});
    EXPECT_EQ(std::distance(fs::directory_iterator(unpacked), {}), ++kept);
    write_text(dir_ / "docker.tar.packed", packed.out.substr(0, packed.out.size() - 5));
    const Outcome cut = tool({"ls", reference, "-q"});
    EXPECT_EQ(cut.exit_code, 1);
    EXPECT_NE(cut.err.find("cut short"), std::string::npos) << cut.err;
    EXPECT_EQ(std::distance(fs::directory_iterator(unpacked), {}), kept);
  }
}

TEST_F(MountSourcesTest, AnImageInContainerd) {
  if (::geteuid() != 0) GTEST_SKIP() << "containerd runs as root only";
  PrivateContainerd containerd(dir_ / "ctd");
  if (!containerd.works()) GTEST_SKIP() << containerd.why_not();
  containerd.put_into_environment();
  const auto imported = containerd.import(dir_ / "image", "v1");
  ASSERT_TRUE(imported) << imported.error().text;
  const std::string& name = *imported;
  try_source({"containerd:" + name, containerd.blobs()});
}

// And GNU tar between: what it unpacks is read as a directory, and gives the same tar.
TEST_F(MountSourcesTest, ADirectoryThatGnuTarUnpacked) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can unpack owners to compare with";
  write_text(dir_ / "image.tar", tar_);
  fs::create_directories(dir_ / "root");
  const Outcome unpacked = run_program({"tar", "--numeric-owner", "--xattrs", "--xattrs-include=*",
                                        "--same-owner", "-xpf", path("image.tar"), "-C", path("root")},
                                       dir_ / "cache");
  ASSERT_EQ(unpacked.exit_code, 0) << unpacked.err;
  const Source source{"dir:" + path("root"), {}, 1};
  try_source(source);
  // An index that was damaged, and one of what the directory was before.
  const auto indexes = index_files(".lidx");
  const auto own = std::find_if(indexes.begin(), indexes.end(), [](const std::string& one) {
    return fs::path(one).filename().string().starts_with("dir-");
  });
  ASSERT_NE(own, indexes.end());
  flip_middle(*own);
  const Outcome bad = tool({"verify", source.reference, "-q"});
  EXPECT_EQ(bad.exit_code, 1);
  EXPECT_NE(bad.out.find("remove it, it will be built again"), std::string::npos) << bad.out;
  write_text(dir_ / "root/etc/hostname", "changed");
  expect_good(source);
}

}  // namespace
}  // namespace layerboot::test
