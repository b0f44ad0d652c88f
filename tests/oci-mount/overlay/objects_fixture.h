// ObjectsTest: objects as a client makes, holds, removes and forgets them.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "oci-mount/overlay/objects.h"
#include "tests/oci-mount/overlay/small_image.h"

namespace layerboot::overlay {

class ObjectsTest : public PartsTest {
 protected:
  [[nodiscard]] Objects& objects() { return parts->objects; }
  /// A file that the client has just made and holds, open as after a write.
  NodePtr made(const std::string& name, std::uint64_t allocated_bytes = 0) {
    const Place place{root_fd(), name.c_str()};
    make(name, S_IFREG | 0644);
    if (allocated_bytes > 0) {
      const UniqueFd fd = *open_regular_at(place);
      EXPECT_EQ(::fallocate(fd.get(), 0, 0, static_cast<off_t>(allocated_bytes)), 0);
    }
    const auto st = stat_at(place);
    const Nature nature{.mode = S_IFREG | 0644, .uid = ::geteuid(), .gid = ::getegid(), .rdev = 0};
    NodePtr node = objects().make_node(nature, *st);
    node->parent = root();
    node->name = name;
    parts->nodes.add(node);
    EXPECT_TRUE(parts->directories.listing_of(root()));
    parts->directories.put(*root(), name, child_of(node));
    parts->nodes.add_reference(*node);
    return node;
  }
  /// As an unlink of what the client holds does it.
  void move_to_work(const NodePtr& node) {
    const HeldPlace work = parts->places.work_place();
    ASSERT_TRUE(rename_at(parts->places.place_of(node)->get(), work.get(), 0));
    parts->directories.erase(*root(), node->name);
    node->standing = Standing::kInWork;
    node->known.valid = false;
    parts->nodes.move(node, nullptr, work.name);
  }
  void forget(const NodePtr& node) {
    parts->nodes.take_references(*node, 100);
    objects().release_if_unused(node);
  }
  [[nodiscard]] Quota::Usage usage() const { return parts->ledger.quota().usage(); }
};

}  // namespace layerboot::overlay
