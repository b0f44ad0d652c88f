// Random operations in a VM; then its image and the layer of what it wrote must give, to every reader, the
// tree that the VM showed: types, modes, owners, times, attributes, contents, and which names are one file.
//
// LAYERBOOT_TEST_SEED for the first sequence, LAYERBOOT_TEST_SEQUENCES for how many.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "tests/oci-mount/mount/committed_image.h"
#include "tests/oci-mount/vfs/differential_image.h"
#include "tests/oci-mount/vfs/differential_inventor.h"
#include "tests/process/mount_support.h"
#include "tests/process/private_containerd.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kSteps = 300;
constexpr std::uint64_t kOfEachKind = 4;  // sequences for each of the readers that take long

std::uint64_t number_or(const char* variable, std::uint64_t usual) {
  const char* text = std::getenv(variable);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : usual;
}

/// A VM that has done something.
class UsedVm : public ImageFixture {
 public:
  explicit UsedVm(std::uint64_t seed, bool recorded) : ImageFixture(image_of_all_kinds()) {
    record_owners = recorded;
    open_writable();
    OurSide ours(*fs, OurSide::Client::kWarm);
    const std::string top = (directory / "tree").string();
    fs::create_directories(top);
    copy_tree(ours, top);
    HostSide host(top);
    Inventor inventor(host, seed, OurSide::Client::kWarm);
    for (std::int64_t done = 0; done < kSteps;) {
      const auto op = inventor.invent();
      if (!op) continue;
      ++done;
      EXPECT_EQ(ours.run(*op).code, host.run(*op).code) << op->describe();
    }
  }
  ExactTree stop() {
    const ExactTree shown = exact_tree(*fs);
    driver.reset();
    EXPECT_TRUE(fs->stop());
    fs.reset();
    return shown;
  }
  std::string commit(store::Compression compression, bool squash = false) {
    const mount::LayerOptions options{
        .squash = squash, .keep_identity = true, .not_the_images = {}, .newest_mtime_sec = {}};
    auto layout = commit_into_layout(*this, image_of_all_kinds(), options, compression);
    EXPECT_TRUE(layout) << layout.error().describe();
    return layout.value_or("");
  }
  Outcome run(const std::vector<std::string>& words) const { return run_program(words, directory / "cache"); }
};

/// A device 0:0 is a whiteout to some, and left out by others (tree/FORMAT.md).
ExactTree without_zero_devices(ExactTree tree) {
  std::erase_if(tree, [](const auto& entry) {
    return entry.second.starts_with("2") && (entry.second + "\n").find(" rdev 0\n") != std::string::npos;
  });
  return tree;
}

/// Docker's unpacking, which containerd and containers/storage have from it, takes no trusted.*, and gives
/// the top a time of its own.
ExactTree as_docker_keeps(ExactTree tree) {
  tree.erase("");
  return without_xattrs(std::move(tree), "trusted.");
}

/// umoci's gzip reader knows members and flushes; zstd it does not take.
void expect_as_umoci_unpacks(UsedVm& vm, const ExactTree& shown, bool squash) {
  const std::string layout = vm.commit(store::Compression::kGzip, squash);
  const std::string bundle = (vm.directory / (squash ? "squashed" : "bundle")).string();
  const Outcome unpacked = vm.run({"umoci", "unpack", "--image", layout + ":latest", bundle});
  ASSERT_EQ(unpacked.exit_code, 0) << unpacked.err << "\n(umoci is in the Debian package of that name)";
  // It keeps overlayfs's own attributes to itself; and gives one of the image's that our readers drop.
  const auto kept = [](const ExactTree& tree) {
    return without_xattrs(without_xattrs(tree, "trusted.overlay."), "trusted.two");
  };
  EXPECT_EQ(difference_of(kept(shown), kept(exact_tree(bundle + "/rootfs"))), "")
      << "unpacked by umoci, squash " << squash;
}

void expect_as_we_read(UsedVm& vm, const ExactTree& shown, store::Compression compression) {
  vfs::ImageSourceOptions options;
  options.index_dir = vm.directory / "index";
  options.show_progress = false;
  const auto source = vfs::open_image_source("oci:" + vm.commit(compression), options);
  ASSERT_TRUE(source) << source.error().describe();
  const auto read_only = vfs::make_read_only_fs(**source);
  ASSERT_TRUE(read_only);
  EXPECT_EQ(difference_of(without_empty_xattrs(shown), exact_tree(**read_only)), "") << "read by ourselves";
}

/// Tells a sequence's seed with a failure.
template <typename Check>
void each_sequence(std::uint64_t usual, Check check) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can unpack owners and devices to compare with";
  const std::uint64_t first = number_or("LAYERBOOT_TEST_SEED", 70'000);
  const std::uint64_t count = number_or("LAYERBOOT_TEST_SEQUENCES", usual);
  std::cout << "LAYERBOOT_TEST_SEED=" << first << ", " << count << " sequences\n";
  for (std::uint64_t i = 0; i < count && !testing::Test::HasFailure(); ++i) {
    SCOPED_TRACE("LAYERBOOT_TEST_SEED=" + std::to_string(first + i));
    UsedVm vm(first + i, i % 2 == 1);
    const ExactTree shown = vm.stop();
    check(vm, shown, i);
  }
}

TEST(LayerDifferentialTest, AnImageAndItsLayerAreWhatTheVmShowed) {
  each_sequence(24, [](UsedVm& vm, const ExactTree& shown, std::uint64_t i) {
    expect_as_umoci_unpacks(vm, shown, i % 4 == 3);
    expect_as_we_read(vm, shown, i % 4 < 2 ? store::Compression::kGzip : store::Compression::kZstd);
  });
}

/// Where the driver "vfs" keeps the highest layer, and all below it, of the one image in a storage.
std::string highest_layer(const std::string& storage) {
  const auto images = nlohmann::json::parse(read_text(storage + "/vfs-images/images.json"), nullptr, false);
  return storage + "/vfs/dir/" + images.at(0).at("layer").get<std::string>();
}

/// Whose unpacking is Docker's (containers/storage); and what it gives back is the very layer.
TEST(LayerDifferentialTest, ContainersStorageTakesItAndGivesItBack) {
  each_sequence(kOfEachKind, [](UsedVm& vm, const ExactTree& shown, std::uint64_t) {
    const std::string layout = vm.commit(store::Compression::kNone);
    const std::string storage = (vm.directory / "storage").string();
    const std::string name = "containers-storage:[vfs@" + storage + "+" + storage + "-run]app:1";
    const Outcome taken =
        vm.run({"skopeo", "--insecure-policy", "copy", "-q", "oci:" + layout + ":latest", name});
    ASSERT_EQ(taken.exit_code, 0) << taken.err;
    EXPECT_EQ(difference_of(as_docker_keeps(shown), as_docker_keeps(exact_tree(highest_layer(storage)))), "");
    const Outcome given = vm.run({"skopeo", "--insecure-policy", "copy", "-q", name,
                                  "oci:" + (vm.directory / "back").string() + ":1"});
    EXPECT_EQ(given.exit_code, 0) << given.err;
  });
}

TEST(LayerDifferentialTest, ContainerdUnpacksIt) {
  if (::geteuid() != 0) GTEST_SKIP() << "containerd mounts";
  const TempDir home;
  PrivateContainerd containerd(home / "containerd");
  if (!containerd.works()) GTEST_SKIP() << containerd.why_not();
  each_sequence(kOfEachKind, [&](UsedVm& vm, const ExactTree& shown, std::uint64_t i) {
    const fs::path layout = vm.commit(i % 2 == 0 ? store::Compression::kGzip : store::Compression::kZstd);
    const std::string tag = "v" + std::to_string(i);
    // import() wants the tag to tell images from each other.
    const Outcome tagged = vm.run({"umoci", "tag", "--image", layout.string() + ":latest", tag});
    ASSERT_EQ(tagged.exit_code, 0) << tagged.err;
    const auto mounted = containerd.mount(layout, tag);
    ASSERT_TRUE(mounted) << mounted.error().describe();
    // Below it is overlayfs, to which a device 0:0 is a whiteout.
    EXPECT_EQ(difference_of(as_docker_keeps(without_zero_devices(shown)),
                            as_docker_keeps(exact_tree(mounted->string()))),
              "");
  });
}

}  // namespace
}  // namespace layerboot::test
