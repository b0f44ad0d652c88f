// open_tree(): the door from the floor below.
#include <string>
#include <utility>
#include <vector>

#include "oci-mount/layer/layer.h"
#include "oci-mount/tree/tree_builder.h"

namespace layerboot::tree {

namespace {

class IndexedLayer final : public LayerEntries {
 public:
  IndexedLayer(std::string identity, layer::EntryTable table)
      : identity_(std::move(identity)), table_(std::move(table)) {}

  [[nodiscard]] std::uint32_t entry_count() const override { return table_.entry_count(); }
  [[nodiscard]] layer::EntryView entry(std::uint32_t index) const override { return table_.entry(index); }
  [[nodiscard]] std::string_view identity() const override { return identity_; }

 private:
  std::string identity_;
  layer::EntryTable table_;
};

}  // namespace

Result<std::unique_ptr<const Tree>> open_tree(std::span<const std::shared_ptr<const layer::Layer>> layers,
                                              const std::filesystem::path& index_dir) {
  const std::string key = layer::layers_key(layers);
  return open_or_build_tree(key, index_dir, [&]() -> Result<TreeImage> {
    std::vector<std::unique_ptr<const LayerEntries>> loaded;
    std::vector<const LayerEntries*> list;
    for (const auto& layer : layers) {
      LB_ASSIGN(layer::EntryTable table, layer->index().load_entries());
      loaded.push_back(std::make_unique<IndexedLayer>(layer->identity().text(), std::move(table)));
      list.push_back(loaded.back().get());
    }
    return build_tree(list, key);
  });
}

}  // namespace layerboot::tree
