#include "oci-mount/mount/changes.h"

#include "oci-mount/mount/upper_walk.h"

namespace layerboot::mount {

namespace {

class ChangeList final : public UpperVisitor {
 public:
  explicit ChangeList(const TakeChange& take) : take_(take) {}

  Result<void> take_removed(std::string_view path) override { return take_(Change::kDeleted, path); }
  Result<void> take(const Found& found) override {
    return take_(found.base == tree::kNoNode ? Change::kAdded : Change::kChanged, found.path);
  }

 private:
  const TakeChange& take_;
};

}  // namespace

Result<void> list_changes(const tree::Tree& tree, std::string_view image_identity,
                          const std::filesystem::path& upper, const TakeChange& take) {
  LB_ASSIGN(const SeenUpper seen, see_upper(upper, image_identity));
  ChangeList list(take);
  return walk_upper(tree, seen, Compared::kWithImage, false, list);
}

}  // namespace layerboot::mount
