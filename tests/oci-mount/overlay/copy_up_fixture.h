// CopyUpTest: copies of a small image's objects, each counted, and none left half-made.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "oci-mount/overlay/copy_up.h"
#include "tests/oci-mount/overlay/small_image.h"

namespace layerboot::overlay {

class CopyUpTest : public PartsTest {
 protected:
  void TearDown() override {
    image.blob->release();
    EXPECT_TRUE(work_names().empty()) << work_names().front() << " stays in the work directory";
    PartsTest::TearDown();
  }
  [[nodiscard]] CopyUp& copy_up() { return parts->copy_up; }
  /// As a request of a client that holds the object.
  Result<NodePtr> copy(std::string_view path, std::optional<std::uint64_t> data_bytes) {
    hold(path);
    auto pin = reactor->block_on(copy_up().copy_up(*reactor, row(path), data_bytes));
    if (!pin) return std::unexpected(pin.error());
    return pin->node();
  }
  void hold(std::string_view path) { parts->nodes.add_row_reference(row(path)); }
  [[nodiscard]] std::string content(const std::string& path) const { return test::read_text(on_host(path)); }
  [[nodiscard]] struct stat host(const std::string& path) const {
    struct stat st{};
    EXPECT_EQ(::lstat(on_host(path).c_str(), &st), 0) << path;
    return st;
  }
  [[nodiscard]] bool is_on_host(const std::string& path) const {
    return std::filesystem::exists(std::filesystem::symlink_status(on_host(path)));
  }
  /// What was booked is what a walk finds.
  void expect_counted() {
    for (const auto& [id, node] : parts->nodes.all()) {
      node->known.valid = node->known.valid && !node->is_directory();
      EXPECT_TRUE(parts->objects.attr_of(*node));
    }
    const auto survey = parts->places.upper().survey();
    ASSERT_TRUE(survey);
    EXPECT_EQ(parts->ledger.quota().usage().bytes, survey->usage.bytes);
    EXPECT_EQ(parts->ledger.quota().usage().inodes, survey->usage.inodes);
  }
  /// Another name for the image's, as a client's unlink leaves it.
  void remove_name(std::string_view directory, const std::string& name) {
    const NodePtr node = *copy_up().directory_of(row(directory));
    ASSERT_TRUE(parts->directories.listing_of(node));
    ASSERT_TRUE(parts->places.make_whiteout(parts->places.place_in(node, name)->get()));
    parts->directories.put(*node, name, whiteout_child());
  }
  Result<void> finish(std::string_view path) {
    return copy_up().finish(row(path),
                            [this](tree::NodeId directory) { return parts->lost_names.is_shown(directory); });
  }

  std::unique_ptr<Reactor> reactor = *Reactor::create();
};

}  // namespace layerboot::overlay
