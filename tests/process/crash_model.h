// What one directory of a guest's file system must hold, kept beside the real one: for a load that may be cut
// off at any point.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "tests/process/vfsd_door.h"

namespace layerboot::test {

/// Names and objects of a small tree; hard links share an object.
class CrashModel {
 public:
  enum class Kind { kFile, kDirectory, kSymlink };
  struct Object {
    Kind kind = Kind::kFile;
    std::uint32_t mode = 0;
    std::string content;  // of a symlink: its target
    std::string xattr;    // user.test; empty: none
    friend bool operator==(const Object&, const Object&) = default;
  };

  /// The tree below `top` as it is there.
  static CrashModel read(Door& door, const std::string& top);

  int add(const std::string& path, Object object);
  void link(const std::string& path, const std::string& new_path) { names_[new_path] = names_.at(path); }
  void erase(const std::string& path) { names_.erase(path); }
  /// With all below it; what had the new name is replaced.
  void rename(const std::string& path, const std::string& new_path);
  Object& at(const std::string& path) { return objects_.at(names_.at(path)); }
  [[nodiscard]] bool has(const std::string& path) const { return names_.contains(path); }
  [[nodiscard]] bool is_empty_directory(const std::string& path) const;
  [[nodiscard]] std::vector<std::string> paths(Kind kind) const;

  /// One line for each name: everything that is to be seen of it, contents by their hash, links by their
  /// first name.
  [[nodiscard]] std::map<std::string, std::string> describe() const;
  /// This, but with `path` holding `content`.
  [[nodiscard]] CrashModel with_content(const std::string& path, std::string content) const;
  [[nodiscard]] const Object* find(const std::string& path) const;

 private:
  std::map<std::string, int> names_;
  std::map<int, Object> objects_;
  int next_ = 0;
};

/// One change: what it does to the model, and how it is asked of the file system.
struct CrashStep {
  std::string text;
  std::function<void(CrashModel&)> expect;
  std::function<int(Door&)> run;  // 0 or an errno
  std::string written;            // a write: its path; cut off, it may be there in part
};

/// A change that must succeed in this state, in the tree below `top`.
CrashStep random_step(const CrashModel& model, const std::string& top, std::mt19937& random);

}  // namespace layerboot::test
