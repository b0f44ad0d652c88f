#include "bench/growth_load.h"

#include <sys/stat.h>

namespace layerboot::bench {

namespace {

constexpr unsigned kDepth = 32;

class RandomGetattr final : public Workload {
 public:
  explicit RandomGetattr(const WholeTree& whole) : whole_(whole) {}
  void begin(Slot& slot) override {
    slot.number = sequence_.below(whole_.files.size());
    slot.begin(FUSE_GETATTR, whole_.files[slot.number].node,
               {.args_bytes = sizeof(fuse_getattr_in), .reply_args_bytes = sizeof(fuse_attr_out)});
    slot.put(fuse_getattr_in{});
  }
  Reply finish(Slot& slot) override {
    if (slot.out().error != 0) return {.wrong = "GETATTR failed"};
    const auto attr = slot.reply_args<fuse_attr_out>();
    return {.wrong =
                attr.attr.ino == whole_.files[slot.number].node ? nullptr : "attributes of another file"};
  }

 private:
  const WholeTree& whole_;
  Sequence sequence_{1};
};

class RandomLookup final : public Workload {
 public:
  explicit RandomLookup(const WholeTree& whole) : whole_(whole) {}
  void begin(Slot& slot) override {
    slot.number = sequence_.below(whole_.files.size());
    const auto& file = whole_.files[slot.number];
    slot.begin(FUSE_LOOKUP, file.parent,
               {.args_bytes = static_cast<std::uint32_t>(file.name.size() + 1),
                .reply_args_bytes = sizeof(fuse_entry_out)});
    slot.put_name(file.name, 0);
  }
  Reply finish(Slot& slot) override {
    if (slot.out().error != 0) return {.wrong = "LOOKUP failed"};
    const auto entry = slot.reply_args<fuse_entry_out>();
    return {.wrong = entry.nodeid == whole_.files[slot.number].node ? nullptr : "a wrong node"};
  }

 private:
  const WholeTree& whole_;
  Sequence sequence_{2};
};

}  // namespace

Result<WholeTree> list_all(test::FuseClient& client) {
  WholeTree whole;
  std::vector<std::uint64_t> directories{FUSE_ROOT_ID};
  while (!directories.empty()) {
    const auto directory = directories.back();
    directories.pop_back();
    LB_ASSIGN(const auto entries, client.readdirplus(directory));
    for (const auto& entry : entries) {
      if (entry.name == "." || entry.name == "..") continue;
      if (S_ISDIR(entry.entry.attr.mode)) {
        directories.push_back(entry.entry.nodeid);
      } else {
        whole.files.push_back({directory, entry.entry.nodeid, entry.name});
      }
    }
  }
  if (whole.files.empty()) return fail(ENOENT, "the tree has no files");
  return whole;
}

std::vector<WorkloadSpec> growth_workloads(const WholeTree& whole) {
  return {{"getattr-any", kDepth, 0, false,
           [&whole](const ServedTree&, unsigned) { return std::make_unique<RandomGetattr>(whole); }},
          {"lookup-any", kDepth, 0, false,
           [&whole](const ServedTree&, unsigned) { return std::make_unique<RandomLookup>(whole); }}};
}

}  // namespace layerboot::bench
