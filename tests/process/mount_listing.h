// A directory tree as text, to compare two: one line a path, of all that has to be the same.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>

namespace layerboot::test {

using Listing = std::map<std::string, std::string>;

/// Type, mode, owner, mtime, xattrs, and of what is no directory size, link count, names of one inode,
/// target, device number and bytes.
Listing list_tree(const std::filesystem::path& root);

/// Fails the test with the first differences.
void expect_same(const Listing& one, std::string_view one_name, const Listing& other,
                 std::string_view other_name);

}  // namespace layerboot::test
