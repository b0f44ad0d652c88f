// Removal: taking names away, and the whiteouts that they leave. Under the Overlay's lock.
#pragma once

#include <string>
#include <string_view>

#include "oci-mount/overlay/parts.h"

namespace layerboot::overlay {

class Removal {
 public:
  explicit Removal(Parts& parts) : parts_(parts) {}

  /// unlink(2) and rmdir(2).
  Result<void> remove(NodeId parent, std::string_view name, bool is_directory);

  /// A directory of the upper has lost its name on the host.
  void drop_directory(const NodePtr& node);

 private:
  Result<void> remove_name(const NodePtr& directory, const std::string& name, const Found& found);
  Result<bool> remove_orphaned(const NodePtr& directory, const std::string& name, const NodePtr& node);
  Result<void> remove_row_name(const NodePtr& directory, const std::string& name, tree::NodeId row);
  Result<void> remove_directory(const NodePtr& directory, const std::string& name, const Found& found);
  Result<void> swap_for_whiteout(Place place, Place work);

  Parts& parts_;
};

}  // namespace layerboot::overlay
