#include "oci-mount/overlay/upper_calls.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "oci-mount/base/files.h"
#include "tests/support/image_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::overlay {
namespace {

class DirectoryTest : public testing::Test {
 protected:
  test::TempDir top_;
  UniqueFd fd_ = *open_path(top_.path(), O_RDONLY | O_DIRECTORY);
};

TEST_F(DirectoryTest, EachNameIsGivenOnce) {
  std::set<std::string> names;
  for (int i = 0; i < 3000; ++i) {
    const std::string name = "name" + std::to_string(i);
    ASSERT_TRUE(create_regular_at({fd_.get(), name.c_str()}, 0600));
    names.insert(name);
  }
  std::set<std::string> told;
  ASSERT_TRUE(each_in_directory(fd_.get(), [&told](const HostDirent& entry) -> Result<void> {
    EXPECT_TRUE(told.insert(entry.name).second) << entry.name;
    return {};
  }));
  EXPECT_EQ(told, names);
  EXPECT_EQ(list_directory(fd_.get())->size(), names.size()) << "from its begin once more";
}

TEST_F(DirectoryTest, AnErrorOfWhoTakesThemEndsIt) {
  for (const char* name : {"a", "b"}) ASSERT_TRUE(create_regular_at({fd_.get(), name}, 0600));
  int taken = 0;
  const auto ended = each_in_directory(fd_.get(), [&taken](const HostDirent&) -> Result<void> {
    ++taken;
    return fail(ENOMEM);
  });
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code, ENOMEM);
  EXPECT_EQ(taken, 1);
}

TEST_F(DirectoryTest, WhatIsNoDirectoryIsAnError) {
  const UniqueFd file = *create_regular_at({fd_.get(), "file"}, 0600);
  EXPECT_FALSE(list_directory(file.get()));
}

}  // namespace
}  // namespace layerboot::overlay
