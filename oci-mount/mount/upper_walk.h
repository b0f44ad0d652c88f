// A walk over an upper directory and the image below it: which of a VM's objects are not the image's, and
// what they are made of. Reads, and changes nothing.
#pragma once

#include <string_view>

#include "oci-mount/base/memory_budget.h"
#include "oci-mount/base/result.h"
#include "oci-mount/mount/upper_files.h"
#include "oci-mount/overlay/lower_paths.h"
#include "oci-mount/tree/tree.h"

namespace layerboot::mount {

/// One object of the VM. All is lent for the call.
struct Found {
  std::string_view path;              // "/" at its begin, none at its end; "/" for the top
  std::string_view name;              // the last part
  tree::NodeId base = tree::kNoNode;  // what the image has at this path
  /// What of the image is there now, of this place or of another. Of what is in the upper: the directory that
  /// shows through it, if any.
  tree::NodeId row = tree::kNoNode;
  tree::NodeId directory = tree::kNoNode;  // the image's directory that shows through the one it is in
  const UpperObject* in_upper = nullptr;
  /// A directory, and nothing of the one that the image has at this path shows through, which is not empty.
  bool hides_base = false;
};

class UpperVisitor {
 public:
  virtual ~UpperVisitor() = default;
  /// What the image has at `path` is not there any more.
  virtual Result<void> take_removed(std::string_view path) = 0;
  /// Is there, and is not the image's own of that path, or not it alone.
  virtual Result<void> take(const Found& found) = 0;
  /// Whether what the upper has at `path` does not count, and all below it: it is as the image has it there.
  [[nodiscard]] virtual bool leaves_out(std::string_view) const { return false; }
  /// Whether it does not count either that the upper has removed what the image has at `path`.
  [[nodiscard]] virtual bool leaves_out_removal(std::string_view path) const { return leaves_out(path); }
  /// Whether the image's own object at `path`, and all below it, does not count either.
  [[nodiscard]] virtual bool drops(std::string_view) const { return false; }
  /// Whether the image's own object, unchanged, is to be taken all the same; asked of what is in a directory
  /// that is taken.
  [[nodiscard]] virtual bool wants(std::string_view) const { return false; }
  /// Whether names below a directory that hides the image's (Found::hides_base) are not told as removed, nor
  /// what the image had there.
  [[nodiscard]] virtual bool knows_what_is_hidden() const { return false; }
};

enum class Compared {
  kWithImage,    // what differs from the image
  kWithNothing,  // all that is there
};

/// Visits in the order of names, a directory before what is in it; the top itself only where
/// `includes_top`. A visitor's error ends it. EUCLEAN where a disk has two names for one directory. What is
/// gone by the time it is looked at, in an upper that is in use, is left out.
Result<void> walk_upper(const tree::Tree& tree, const SeenUpper& upper, Compared compared, bool includes_top,
                        UpperVisitor& visitor);

}  // namespace layerboot::mount
