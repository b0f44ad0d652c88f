// READ at several sizes, and small files as programs read them: OPEN, READ, RELEASE.
#include <fcntl.h>

#include <algorithm>

#include "bench/sample_tree.h"
#include "bench/workload.h"

namespace layerboot::bench {

namespace {

/// Of each page the first and the last bytes are compared; of one reply in this many, all.
constexpr std::uint64_t kCompareWholeEvery = 64;
constexpr std::size_t kProbeBytes = 16;

bool pages_are_right(const Slot& slot, std::uint64_t seed, std::uint64_t offset, std::uint32_t size,
                     bool whole) {
  for (std::uint32_t done = 0; done < size; done += kPageBytes) {
    const std::span<const std::byte> page(slot.data_page(done / kPageBytes),
                                          std::min<std::size_t>(kPageBytes, size - done));
    if (whole || page.size() < kPageBytes) {
      if (!is_expected(seed, offset + done, page)) return false;
    } else if (!is_expected(seed, offset + done, page.first(kProbeBytes)) ||
               !is_expected(seed, offset + done + kPageBytes - kProbeBytes, page.last(kProbeBytes))) {
      return false;
    }
  }
  return true;
}

void ask_read(Slot& slot, std::uint64_t node, std::uint64_t handle, std::uint64_t offset, std::uint32_t size,
              bool scattered) {
  slot.begin(FUSE_READ, node,
             {.args_bytes = sizeof(fuse_read_in), .data_out_bytes = size, .scattered = scattered});
  fuse_read_in in{};
  in.fh = handle;
  in.offset = offset;
  in.size = size;
  slot.put(in);
}

struct ReadKind {
  std::uint32_t size_bytes = 0;
  bool scattered = false;   // no two of the guest's pages are neighbours
  bool sequential = false;  // from start to end over and over; else anywhere
};

class Read final : public Workload {
 public:
  Read(const ServedTree& tree, ReadKind kind, unsigned lane)
      : tree_(tree),
        size_bytes_(kind.size_bytes),
        scattered_(kind.scattered),
        sequential_(kind.sequential),
        sequence_(lane + 1) {}
  void begin(Slot& slot) override {
    const std::uint64_t pieces = tree_.big.size_bytes / size_bytes_;
    slot.number = (sequential_ ? next_++ % pieces : sequence_.below(pieces)) * size_bytes_;
    ask_read(slot, tree_.big.node, tree_.big.handle, slot.number, size_bytes_, scattered_);
  }
  Reply finish(Slot& slot) override {
    if (slot.out().error != 0 || slot.payload_bytes() != size_bytes_)
      return {.wrong = "READ failed or was short"};
    const bool whole = ++count_ % kCompareWholeEvery == 0;
    if (tree_.verify && !pages_are_right(slot, tree_.big.seed, slot.number, size_bytes_, whole)) {
      return {.wrong = "READ gave wrong bytes"};
    }
    return {.data_bytes = size_bytes_};
  }

 private:
  const ServedTree& tree_;
  const std::uint32_t size_bytes_;
  const bool scattered_;
  const bool sequential_;
  Sequence sequence_;
  std::uint64_t next_ = 0;
  std::uint64_t count_ = 0;
};

class SmallFiles final : public Workload {
 public:
  SmallFiles(const ServedTree& tree, unsigned lane) : tree_(tree), next_(lane * 250) {}
  void begin(Slot& slot) override {
    slot.number = next_++ % tree_.small.size();
    slot.handle = 0;
    if (!tree_.sends_open) return ask(slot);
    slot.step = FUSE_OPEN;
    slot.begin(FUSE_OPEN, file(slot).node,
               {.args_bytes = sizeof(fuse_open_in), .reply_args_bytes = sizeof(fuse_open_out)});
    slot.put(fuse_open_in{O_RDONLY, 0});
  }
  Reply finish(Slot& slot) override {
    if (slot.out().error != 0) return {.wrong = "a small file could not be read"};
    if (slot.step == FUSE_RELEASE) return {.data_bytes = file(slot).size_bytes};
    if (slot.step == FUSE_OPEN) {
      slot.handle = slot.reply_args<fuse_open_out>().fh;
      ask(slot);
      return {.operation_done = false, .operations = 0};
    }
    if (tree_.verify && (slot.payload_bytes() != file(slot).size_bytes ||
                         !pages_are_right(slot, file(slot).seed, 0, file(slot).size_bytes, false))) {
      return {.wrong = "a small file's bytes are wrong"};
    }
    if (!tree_.sends_open) return {.data_bytes = file(slot).size_bytes};
    slot.step = FUSE_RELEASE;
    slot.begin(FUSE_RELEASE, file(slot).node, {.args_bytes = sizeof(fuse_release_in)});
    fuse_release_in in{};
    in.fh = slot.handle;
    slot.put(in);
    return {.operation_done = false, .operations = 0};
  }

 private:
  [[nodiscard]] const ServedTree::File& file(const Slot& slot) const { return tree_.small[slot.number]; }
  void ask(Slot& slot) const {
    slot.step = FUSE_READ;
    // Whole pages, as the guest's page cache asks.
    const std::uint32_t size = (file(slot).size_bytes + 4095U) / 4096U * 4096U;
    ask_read(slot, file(slot).node, slot.handle, 0, size, false);
  }

  const ServedTree& tree_;
  std::size_t next_;
};

WorkloadSpec read_spec(const char* name, unsigned depth, ReadKind kind) {
  return {name, depth, kind.size_bytes, false,
          [=](const ServedTree& tree, unsigned lane) { return std::make_unique<Read>(tree, kind, lane); }};
}

}  // namespace

std::vector<WorkloadSpec> data_workloads() {
  constexpr std::uint32_t kKiB = 1024;
  std::vector<WorkloadSpec> specs;
  for (const unsigned depth : {1U, 8U, 32U}) specs.push_back(read_spec("read-4k", depth, {4 * kKiB}));
  for (const unsigned depth : {1U, 4U}) {
    specs.push_back(read_spec("read-128k", depth, {128 * kKiB}));
    specs.push_back(read_spec("read-128k-scattered", depth, {.size_bytes = 128 * kKiB, .scattered = true}));
    specs.push_back(read_spec("read-128k-sequential", depth, {.size_bytes = 128 * kKiB, .sequential = true}));
    specs.push_back(read_spec("read-1m", depth, {1024 * kKiB}));
  }
  for (const unsigned depth : {1U, 8U}) {
    specs.push_back({"small-file", depth, 8 * kKiB, false, [](const ServedTree& tree, unsigned lane) {
                       return std::make_unique<SmallFiles>(tree, lane);
                     }});
  }
  return specs;
}

}  // namespace layerboot::bench
