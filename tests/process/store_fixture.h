// A registry and a local store of the test's own, and layerboot on them.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "oci-mount/base/str_cat.h"
#include "tests/process/mount_support.h"
#include "tests/process/private_registry.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {

class StoreFixture : public testing::Test {
 protected:
  void SetUp() override {
    if (!registry_.works()) GTEST_SKIP() << registry_.why_not();
  }
  /// An image of a layer that all have, and one of its own.
  void push(const std::string& tag, const std::string& own) {
    ImageBuilder image(dir_ / ("source-" + tag));
    image.add_gzip_layer(TarBuilder().file("shared", sample_bytes(300'000, 1)).finish());
    image.add_gzip_layer(TarBuilder().file("own", own).finish()).write();
    push_layout(image.layout(), name(tag));
  }
  void push_layout(const std::filesystem::path& layout, const std::string& image) {
    const Outcome pushed = run_program({"skopeo", "copy", "--quiet", "--dest-tls-verify=false",
                                        "oci:" + layout.string() + ":latest", "docker://" + image},
                                       dir_ / "cache");
    ASSERT_EQ(pushed.exit_code, 0) << pushed.err;
  }
  /// One for each of `architectures`, which its file `own` tells, in an index. With `labels` an entry says
  /// for what it is.
  void push_for_several(const std::string& tag, const std::vector<std::string>& architectures,
                        bool labels = true) {
    ImageBuilder image(dir_ / ("several-" + tag));
    std::vector<std::pair<std::string, std::string>> entries;
    for (const std::string& architecture : architectures) {
      image.layers.clear();
      image.architecture = architecture;
      image.add_gzip_layer(TarBuilder().file("own", architecture).finish()).write(architecture);
      entries.emplace_back(image.last_descriptor, labels ? architecture : "");
    }
    push_index(image, entries, tag);
  }
  /// An index of these: a descriptor, and for which architecture its entry says that it is; "": nothing.
  void push_index(ImageBuilder& image, const std::vector<std::pair<std::string, std::string>>& described,
                  const std::string& tag) {
    write_index(image, described);
    const Outcome pushed =
        run_program({"skopeo", "copy", "--quiet", "--all", "--dest-tls-verify=false",
                     "oci:" + image.layout().string() + ":latest", "docker://" + name(tag)},
                    dir_ / "cache");
    ASSERT_EQ(pushed.exit_code, 0) << pushed.err;
  }
  /// The same, as "latest" of the layout.
  static void write_index(ImageBuilder& image,
                          const std::vector<std::pair<std::string, std::string>>& described) {
    std::string entries;
    for (auto [entry, architecture] : described) {
      if (!architecture.empty())
        entry.insert(entry.size() - 1,
                     str_cat(R"(,"platform":{"os":"linux","architecture":")", architecture, R"("})"));
      entries += str_cat(entries.empty() ? "" : ",", entry);
    }
    const std::string index =
        str_cat(R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[)",
                entries, "]}");
    image.add_to_index(str_cat(R"({"mediaType":"application/vnd.oci.image.index.v1+json","digest":")",
                               image.add_blob(index), R"(","size":)", index.size(),
                               R"(,"annotations":{"org.opencontainers.image.ref.name":"latest"}})"));
  }
  std::string name(const std::string& tag) const { return name(tag, registry_.port()); }
  static std::string name(const std::string& tag, int port) {
    return str_cat("localhost:", port, "/team/app:", tag);
  }
  std::filesystem::path store() const { return dir_ / "data/layerboot/store"; }
  std::vector<std::string> layerboot_words(std::vector<std::string> words) const {
    words.insert(words.begin(), {"env", "XDG_DATA_HOME=" + (dir_ / "data").string(), LAYERBOOT_LAUNCHER});
    return words;
  }
  Outcome layerboot(const std::vector<std::string>& words) const {
    return run_program(layerboot_words(words), dir_ / "cache");
  }
  Outcome cat(const std::string& image, const char* path) const {
    return run_program(
        {"env", "XDG_DATA_HOME=" + (dir_ / "data").string(), LAYERBOOT_OCI_MOUNT, "cat", "-q", image, path},
        dir_ / "cache");
  }
  std::size_t blob_count() const {
    std::size_t count = 0;
    for (const auto& blob : std::filesystem::directory_iterator(store() / "blobs/sha256"))
      count += blob.is_regular_file() ? 1U : 0U;
    return count;
  }
  /// What skopeo is writing at this moment, or was.
  std::vector<std::filesystem::path> leftovers() const {
    std::vector<std::filesystem::path> found;
    std::error_code ignored;
    const auto end = std::filesystem::recursive_directory_iterator();
    for (std::filesystem::recursive_directory_iterator at(store(), ignored); !ignored && at != end;
         at.increment(ignored)) {
      if (at->path().filename().string().starts_with("oci-put-blob")) found.push_back(at->path());
    }
    return found;
  }

  TempDir dir_;
  PrivateRegistry registry_{dir_.path()};
};

}  // namespace layerboot::test
