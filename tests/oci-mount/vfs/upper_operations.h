// What a guest may do to its file system, one operation of each kind, with what makes it durable: the rows of
// the table "What a power cut shows" of oci-mount/overlay/DESIGN.md.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "oci-mount/vfs/image_fs.h"
#include "tests/oci-mount/vfs/fs_driver.h"

namespace layerboot::test {

using Act = std::function<int(FsDriver&)>;  // 0 or an errno

struct Operation {
  std::string name;
  std::vector<Act> before;  // made, and durable, beforehand
  std::vector<Act> acts;    // one after another
  Act sync;                 // after this, all of them must be durable
  /// What a cut may also show, as what these make of the state before: the table of DESIGN.md names it.
  std::vector<std::vector<Act>> between = {};
  std::vector<Act> end = {};  // when all has been looked at
};

/// Over the image of make_operations_image().
std::vector<Operation> all_operations();

/// An OCI layout at `directory`, of what the operations need.
void make_operations_image(const std::filesystem::path& directory);

/// A writable file system of its own, for a process of its own.
struct OpenUpper {
  std::unique_ptr<vfs::ImageSource> source;
  std::unique_ptr<vfs::FileSystem> fs;
  std::unique_ptr<FsDriver> driver;

  struct Options {
    std::filesystem::path image;  // OCI layout
    std::filesystem::path index;
    bool recorded = false;
  };
  static Result<OpenUpper> open(const Options& options, const std::filesystem::path& upper);

  int sync_all();
  /// In order. "", or what has gone wrong; as of all that follow.
  std::string stop();
  /// All of the tree as text, a line for each name.
  std::string look();
  /// Whether what is booked is another figure than what `upper` takes. After look(), which books what the
  /// host has allocated late.
  std::string miscounted(const std::filesystem::path& upper);
};

/// One act after the other, to the first that fails.
std::string do_all(OpenUpper& open, const std::vector<Act>& acts);

/// What look() has given: lines that are missing, and lines that are new.
std::string difference(const std::string& expected, const std::string& seen);

/// The tree before the acts, and after each of them.
std::vector<std::string> states_of(const Operation& operation, const OpenUpper::Options& options,
                                   const std::filesystem::path& upper);
/// What a cut may show besides (Operation::between). Uppers are made at `upper`-0 and so on.
std::vector<std::string> states_between(const Operation& operation, const OpenUpper::Options& options,
                                        const std::filesystem::path& upper);

}  // namespace layerboot::test
