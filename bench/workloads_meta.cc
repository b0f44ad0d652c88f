// GETATTR, LOOKUP, and the walk of a tree by READDIRPLUS.
#include <fcntl.h>

#include "bench/sample_tree.h"
#include "bench/workload.h"

namespace layerboot::bench {

namespace {

constexpr std::uint32_t kReaddirBytes = 4096;  // Linux 6.1 and 6.12 ask for one page

class Getattr final : public Workload {
 public:
  explicit Getattr(const ServedTree& tree) : tree_(tree) {}
  void begin(Slot& slot) override {
    slot.number = next_++ % tree_.small.size();
    slot.begin(FUSE_GETATTR, tree_.small[slot.number].node,
               {.args_bytes = sizeof(fuse_getattr_in), .reply_args_bytes = sizeof(fuse_attr_out)});
    slot.put(fuse_getattr_in{});
  }
  Reply finish(Slot& slot) override {
    if (slot.out().error != 0) return {.wrong = "GETATTR failed"};
    const auto attr = slot.reply_args<fuse_attr_out>();
    if (tree_.verify && attr.attr.size != tree_.small[slot.number].size_bytes)
      return {.wrong = "a wrong size"};
    return {};
  }

 private:
  const ServedTree& tree_;
  std::size_t next_ = 0;
};

class Lookup final : public Workload {
 public:
  Lookup(const ServedTree& tree, bool hit) : tree_(tree), hit_(hit) {
    for (unsigned i = 0; i < kSmallFiles; ++i)
      names_.push_back(hit ? small_file_name(i) : str_cat("none-", i));
  }
  void begin(Slot& slot) override {
    slot.number = next_++ % names_.size();
    const std::string& name = names_[slot.number];
    slot.begin(FUSE_LOOKUP, tree_.small_directory,
               {.args_bytes = static_cast<std::uint32_t>(name.size() + 1),
                .reply_args_bytes = sizeof(fuse_entry_out)});
    slot.put_name(name, 0);
  }
  Reply finish(Slot& slot) override {
    if (!hit_) {
      // A server says so by ENOENT, or by an entry that the guest may keep: node 0.
      const bool missing = slot.out().error == -ENOENT ||
                           (slot.out().error == 0 && slot.reply_args<fuse_entry_out>().nodeid == 0);
      return {.wrong = missing || !tree_.verify ? nullptr : "LOOKUP found what is not there"};
    }
    if (slot.out().error != 0) return {.wrong = "LOOKUP failed"};
    const auto node = slot.reply_args<fuse_entry_out>().nodeid;
    return {.wrong = node == tree_.small[slot.number].node || !tree_.verify ? nullptr : "a wrong node"};
  }

 private:
  const ServedTree& tree_;
  const bool hit_;
  std::vector<std::string> names_;
  std::size_t next_ = 0;
};

/// Directory after directory, each page by page to its end.
class Walk final : public Workload {
 public:
  explicit Walk(const ServedTree& tree) : tree_(tree) {}
  void begin(Slot& slot) override {
    slot.node = tree_.directories[next_++ % tree_.directories.size()];
    slot.cookie = slot.handle = slot.number = 0;
    if (!tree_.sends_opendir) return ask_page(slot);
    slot.step = FUSE_OPENDIR;
    slot.begin(FUSE_OPENDIR, slot.node,
               {.args_bytes = sizeof(fuse_open_in), .reply_args_bytes = sizeof(fuse_open_out)});
    slot.put(fuse_open_in{O_RDONLY | O_DIRECTORY, 0});
  }
  Reply finish(Slot& slot) override {
    if (slot.out().error != 0) return {.wrong = "a directory could not be listed"};
    if (slot.step == FUSE_RELEASEDIR) return {.operation_done = true, .operations = 0};
    if (slot.step == FUSE_OPENDIR) {
      slot.handle = slot.reply_args<fuse_open_out>().fh;
      ask_page(slot);
      return {.operation_done = false, .operations = 0};
    }
    const std::uint32_t entries = count_entries(slot);
    slot.number += entries;
    if (entries > 0) {
      ask_page(slot);
      return {.operation_done = false, .operations = entries};
    }
    if (tree_.verify && slot.number != kWalkFiles + 2)
      return {.wrong = "a directory with too few or too many entries"};
    if (!tree_.sends_opendir) return {.operation_done = true, .operations = 0};
    slot.step = FUSE_RELEASEDIR;
    slot.begin(FUSE_RELEASEDIR, slot.node, {.args_bytes = sizeof(fuse_release_in)});
    fuse_release_in in{};
    in.fh = slot.handle;
    slot.put(in);
    return {.operation_done = false, .operations = 0};
  }

 private:
  static void ask_page(Slot& slot) {
    slot.step = FUSE_READDIRPLUS;
    slot.begin(FUSE_READDIRPLUS, slot.node,
               {.args_bytes = sizeof(fuse_read_in), .data_out_bytes = kReaddirBytes});
    fuse_read_in in{};
    in.fh = slot.handle;
    in.offset = slot.cookie;
    in.size = kReaddirBytes;
    slot.put(in);
  }
  static std::uint32_t count_entries(Slot& slot) {
    std::uint32_t count = 0;
    const std::byte* const page = slot.data_page(0);
    for (std::size_t at = 0; at + sizeof(fuse_direntplus) <= slot.payload_bytes(); ++count) {
      fuse_dirent entry;
      std::memcpy(&entry, page + at + sizeof(fuse_entry_out), sizeof(entry));
      slot.cookie = entry.off;
      at += FUSE_DIRENT_ALIGN(sizeof(fuse_direntplus) + entry.namelen);
    }
    return count;
  }

  const ServedTree& tree_;
  std::size_t next_ = 0;
};

}  // namespace

std::vector<WorkloadSpec> metadata_workloads() {
  std::vector<WorkloadSpec> specs;
  for (const unsigned depth : {1U, 8U, 32U}) {
    specs.push_back({"getattr", depth, 0, false,
                     [](const ServedTree& tree, unsigned) { return std::make_unique<Getattr>(tree); }});
    specs.push_back({"lookup-hit", depth, 0, false,
                     [](const ServedTree& tree, unsigned) { return std::make_unique<Lookup>(tree, true); }});
    specs.push_back({"lookup-miss", depth, 0, false,
                     [](const ServedTree& tree, unsigned) { return std::make_unique<Lookup>(tree, false); }});
  }
  for (const unsigned depth : {1U, 8U}) {
    specs.push_back({"walk-entry", depth, kReaddirBytes, false,
                     [](const ServedTree& tree, unsigned) { return std::make_unique<Walk>(tree); }});
  }
  return specs;
}

}  // namespace layerboot::bench
