// Random small images, merged by Merge and by a slow, obvious model over whole paths.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "oci-mount/tree/merge.h"
#include "tests/oci-mount/tree/built_tree.h"

namespace layerboot::tree {
namespace {

using layer::EntryType;
using layer::EntryView;

// ---- the model: a map from path to a shared file; no tree, no order, no cleverness
// ---------------------------

struct ModelFile {
  EntryType type = EntryType::kDirectory;
  std::uint32_t mode = 0755;
  std::uint32_t uid = 0;
  std::size_t layer = 0;
  std::string target;  // of a symlink
};
using Model = std::map<std::string, std::shared_ptr<ModelFile>>;

bool is_below(const std::string& path, const std::string& directory) {
  return directory.empty() ? !path.empty() : path.starts_with(directory + "/");
}
std::string up(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}
void erase_below(Model& model, const std::string& path) {
  std::erase_if(model, [&](const auto& item) { return is_below(item.first, path); });
}
void erase(Model& model, const std::string& path) {
  erase_below(model, path);
  model.erase(path);
}
void make_directory(Model& model, const std::string& path) {
  if (!path.empty()) make_directory(model, up(path));
  const auto found = model.find(path);
  if (found != model.end() && found->second->type == EntryType::kDirectory) return;
  model[path] = std::make_shared<ModelFile>();
}

/// What a hard link to `path` finds: directories through symlinks, the last part as it is.
std::shared_ptr<ModelFile> find(const Model& model, const std::string& path, int symlinks = 0) {
  if (symlinks > 20) return nullptr;  // the random ones are too few to need more without a circle
  std::string walked;
  for (std::size_t begin = 0;;) {
    const auto end = path.find('/', begin);
    walked += (walked.empty() ? "" : "/") + path.substr(begin, end - begin);
    const auto found = model.find(walked);
    if (found == model.end()) return nullptr;
    if (end == std::string::npos) return found->second;
    begin = end + 1;
    if (found->second->type == EntryType::kDirectory) continue;
    if (found->second->type != EntryType::kSymlink) return nullptr;
    const std::string above = up(walked);
    return find(model,
                str_cat(above, above.empty() ? "" : "/", found->second->target, "/", path.substr(begin)),
                symlinks + 1);
  }
}

void model_mark_directory(Model& model, const EntryView& mark, std::size_t number,
                          const std::vector<EntryView>& entries,
                          const std::map<std::string, std::string>& links) {
  const std::string directory =
      mark.type == EntryType::kOpaque ? std::string(mark.path) : up(std::string(mark.path));
  for (std::string path = directory; !path.empty(); path = up(path)) {
    const auto found = model.find(path);
    const bool is_directory = found != model.end() && found->second->type == EntryType::kDirectory;
    if (is_directory) break;
    if (links.contains(path) || (found != model.end() && found->second->layer == number)) return;
    const bool lower_ends_here = path.find('/') == std::string::npos || model.contains(up(path));
    for (const EntryView& e : entries) {
      if (lower_ends_here && e.type == EntryType::kWhiteout && e.path == path) return;
    }
  }
  if (!directory.empty()) make_directory(model, directory);
}

bool model_apply(Model& model, std::size_t number, const std::vector<EntryView>& entries) {
  const auto is_mark = [](const EntryView& e) {
    return e.type == EntryType::kWhiteout || e.type == EntryType::kOpaque;
  };
  const auto is_left_out = [](const EntryView& e) {
    return e.type == EntryType::kCharDevice && e.rdev_major == 0 && e.rdev_minor == 0;
  };
  std::vector<EntryView> things;
  for (const EntryView& e : entries) {
    if (!is_mark(e) && !is_left_out(e)) things.push_back(e);
  }
  for (const EntryView& a : things) {
    for (const EntryView& b : things) {
      if (a.type != EntryType::kDirectory && is_below(std::string(b.path), std::string(a.path))) return false;
    }
  }
  std::map<std::string, std::shared_ptr<ModelFile>> below;
  for (const EntryView& e : entries) {
    if (e.type == EntryType::kLinkBelow) below[std::string(e.path)] = find(model, std::string(e.link));
  }
  for (const EntryView& e : entries) {
    const std::string path(e.path);
    if (e.type == EntryType::kWhiteout) erase(model, path);
    if (e.type == EntryType::kOpaque && model.contains(path) && model[path]->type == EntryType::kDirectory) {
      erase_below(model, path);
    }
  }
  std::map<std::string, std::string> links;
  for (const EntryView& e : things) {
    const std::string path(e.path);
    if (!path.empty()) make_directory(model, up(path));
    if (e.type == EntryType::kLinkBelow) {
      erase(model, path);
      links[path] = std::string(e.link);
      continue;
    }
    const bool stays =
        e.type == EntryType::kDirectory && model.contains(path) && model[path]->type == EntryType::kDirectory;
    if (!stays) erase(model, path);
    model[path] = std::make_shared<ModelFile>(ModelFile{e.type, e.mode, e.uid, number, std::string(e.link)});
  }
  for (const EntryView& e : entries) {
    if (is_mark(e)) model_mark_directory(model, e, number, entries, links);
  }
  std::set<std::string> left_out;
  for (const EntryView& e : entries) {
    if (is_left_out(e)) left_out.insert(std::string(e.path));
  }
  for (bool moved = true; moved;) {
    moved = false;
    for (auto link = links.begin(); link != links.end();) {
      auto target = below[link->first];
      if (!target && !links.contains(link->second)) target = find(model, link->second);
      if (!target && left_out.contains(link->second)) {
        left_out.insert(link->first);
        link = links.erase(link);
        moved = true;
        continue;
      }
      if (!target) {
        ++link;
        continue;
      }
      if (target->type == EntryType::kDirectory) return false;
      model[link->first] = target;
      link = links.erase(link);
      moved = true;
    }
  }
  return links.empty();
}

// ---- comparing
// ------------------------------------------------------------------------------------------------

// One line a path: what it is, and the first of all names of the same file.
using Listing = std::map<std::string, std::string>;

std::string line(EntryType type, std::uint32_t mode, std::uint32_t uid, const std::string& first_name) {
  return str_cat(static_cast<int>(type), " mode ", mode, " uid ", uid, " same as ", first_name);
}

Listing list(const Model& model) {
  std::map<const ModelFile*, std::string> first;
  Listing listing;
  for (const auto& [path, file] : model) {
    const std::string& name = first.emplace(file.get(), path).first->second;
    listing[path] = line(file->type, file->mode, file->uid, name);
  }
  return listing;
}

EntryType type_of(std::uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return EntryType::kDirectory;
    case S_IFLNK:
      return EntryType::kSymlink;
    case S_IFCHR:
      return EntryType::kCharDevice;
    default:
      return EntryType::kFile;
  }
}

void walk(const Tree& tree, NodeId id, const std::string& path, std::map<std::string, NodeId>& paths) {
  paths[path] = id;
  for (const DirentRecord& entry : tree.entries(id)) {
    walk(tree, entry.node, str_cat(path, path.empty() ? "" : "/", tree.name(entry)), paths);
  }
}

Listing list(const Tree& tree) {
  std::map<std::string, NodeId> paths;
  walk(tree, kRoot, "", paths);
  std::map<NodeId, std::string> first;
  std::map<NodeId, std::uint32_t> names;
  Listing listing;
  for (const auto& [path, id] : paths) {
    const std::string& name = first.emplace(id, path).first->second;
    ++names[id];
    const NodeRecord& node = tree.node(id);
    listing[path] = line(type_of(node.mode), node.mode & 07777, node.uid, name);
  }
  for (const auto& [id, count] : names) {
    if (S_ISDIR(tree.node(id).mode)) continue;
    EXPECT_EQ(tree.node(id).nlink, count);
  }
  return listing;
}

// ---- random images
// ----------------------------------------------------------------------------------------------

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  /// 0 to `bound` - 1.
  unsigned below(unsigned bound) { return static_cast<unsigned>(engine_() % bound); }

 private:
  std::mt19937 engine_;
};

std::string random_path(Random& random) {
  const std::size_t depth = 1 + random.below(3);
  std::string path;
  for (std::size_t i = 0; i < depth; ++i) path += str_cat(i ? "/" : "", "abc"[random.below(3)]);
  return path;
}

std::unique_ptr<FakeLayer> random_layer(Random& random, std::size_t number) {
  auto layer = std::make_unique<FakeLayer>(str_cat("layer-", number));
  std::set<std::string> taken;
  std::set<std::string> marked;
  const std::size_t count = random.below(7);
  for (std::size_t i = 0; i < count; ++i) {
    const std::string path = random.below(40) == 0 ? "" : random_path(random);
    const unsigned kind = random.below(12);
    if (kind < 2 || (kind == 2 && !path.empty())) {
      if (!marked.insert(path).second) continue;
      layer->add(kind < 2 ? EntryType::kOpaque : EntryType::kWhiteout, path);
      continue;
    }
    if (!taken.insert(path).second) continue;
    if (path.empty() || kind < 6) {
      layer->directory(path, 0700 + random.below(64)).uid = random.below(5);
    } else if (kind < 8) {
      layer->file(path).uid = random.below(1000);
    } else if (kind == 8) {
      layer->symlink(path, random_path(random));
    } else if (kind == 9) {
      layer->add(EntryType::kCharDevice, path).rdev_major = random.below(2);
    } else if (kind == 10) {
      layer->hard_link(path, random_path(random));
    } else {
      if (marked.insert(path).second) layer->whiteout(path);
      layer->file(path);
    }
  }
  layer->sort();
  return layer;
}

TEST(MergeProperty, AgreesWithAModelOverWholePaths) {
  const unsigned seed = std::random_device{}();
  std::printf("seed %u\n", seed);
  Random random(seed);
  int accepted = 0;
  for (int round = 0; round < 6000; ++round) {
    SCOPED_TRACE(str_cat("seed ", seed, " round ", round));
    std::vector<std::unique_ptr<FakeLayer>> layers;
    Model model;
    make_directory(model, "");
    bool model_accepts = true;
    const std::size_t count = 1 + random.below(4);
    for (std::size_t i = 0; i < count; ++i) {
      layers.push_back(random_layer(random, i));
      std::vector<EntryView> entries;
      for (std::uint32_t e = 0; e < layers[i]->entry_count(); ++e) entries.push_back(layers[i]->entry(e));
      model_accepts = model_accepts && model_apply(model, i, entries);
    }
    const auto tree = build_and_open(pointers(layers));
    ASSERT_EQ(tree.has_value(), model_accepts) << (tree ? "accepted" : tree.error().describe());
    if (!tree) continue;
    ++accepted;
    ASSERT_EQ(list(**tree), list(model));
  }
  EXPECT_GT(accepted, 1000) << "too few of the random images are sound to say anything";
}

}  // namespace
}  // namespace layerboot::tree
