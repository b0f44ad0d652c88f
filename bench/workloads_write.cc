// WRITE over existing data, with and without FSYNC; and the life of a small file: CREATE, WRITE, RELEASE,
// UNLINK.
#include <fcntl.h>

#include <unistd.h>

#include "bench/sample_tree.h"
#include "bench/workload.h"

namespace layerboot::bench {

namespace {

constexpr std::uint32_t kKiB = 1024;

void ask_write(Slot& slot, std::uint64_t node, std::uint64_t handle, std::uint64_t offset,
               std::uint32_t size) {
  slot.begin(FUSE_WRITE, node,
             {.args_bytes = sizeof(fuse_write_in),
              .reply_args_bytes = sizeof(fuse_write_out),
              .data_in_bytes = size});
  fuse_write_in in{};
  in.fh = handle;
  in.offset = offset;
  in.size = size;
  slot.put(in);
}

struct WriteKind {
  std::uint32_t size_bytes = 0;
  bool sync = false;        // FSYNC after each
  bool sequential = false;  // from start to end over and over; else anywhere
};

/// What was there is written again, so that a read may check it at any time.
class Overwrite final : public Workload {
 public:
  Overwrite(const ServedTree& tree, unsigned lane, WriteKind kind)
      : file_(tree.targets.at(lane)), kind_(kind), sequence_(lane + 1) {}
  void begin(Slot& slot) override {
    slot.step = FUSE_WRITE;
    const std::uint64_t pieces = file_.size_bytes / kind_.size_bytes;
    slot.number = (kind_.sequential ? next_++ % pieces : sequence_.below(pieces)) * kind_.size_bytes;
    ask_write(slot, file_.node, file_.handle, slot.number, kind_.size_bytes);
    for (std::uint32_t at = 0; at < kind_.size_bytes; at += kPageBytes) {
      fill_expected(file_.seed, slot.number + at, {slot.data_page(at / kPageBytes), 64});
    }
  }
  Reply finish(Slot& slot) override {
    if (slot.out().error != 0) return {.wrong = "WRITE or FSYNC failed"};
    if (slot.step == FUSE_FSYNC) return {.data_bytes = kind_.size_bytes};
    if (slot.reply_args<fuse_write_out>().size != kind_.size_bytes) return {.wrong = "WRITE was short"};
    if (!kind_.sync) return {.data_bytes = kind_.size_bytes};
    slot.step = FUSE_FSYNC;
    slot.begin(FUSE_FSYNC, file_.node, {.args_bytes = sizeof(fuse_fsync_in)});
    fuse_fsync_in in{};
    in.fh = file_.handle;
    slot.put(in);
    return {.operation_done = false, .operations = 0};
  }

 private:
  const ServedTree::File file_;
  const WriteKind kind_;
  Sequence sequence_;
  std::uint64_t next_ = 0;
};

class ShortLife final : public Workload {
 public:
  ShortLife(const ServedTree& tree, unsigned lane)
      : sends_release_(tree.sends_open), directory_(tree.scratch.at(lane)) {}
  void begin(Slot& slot) override {
    slot.number = next_++;
    slot.step = FUSE_CREATE;
    const std::string name = name_of(slot);
    slot.begin(FUSE_CREATE, directory_,
               {.args_bytes = static_cast<std::uint32_t>(sizeof(fuse_create_in) + name.size() + 1),
                .reply_args_bytes = sizeof(fuse_entry_out) + sizeof(fuse_open_out)});
    slot.put(fuse_create_in{O_WRONLY | O_CREAT | O_EXCL, 0100644, 022, 0});
    slot.put_name(name, sizeof(fuse_create_in));
  }
  Reply finish(Slot& slot) override {
    // FORGET has no reply; it goes on the request queue here, which every server takes.
    if (slot.step == FUSE_FORGET) return {.data_bytes = kPageBytes};
    if (slot.out().error != 0) return {.wrong = "the life of a small file was cut short"};
    const std::uint32_t done = slot.step;
    if (done == FUSE_CREATE) {
      struct Created {
        fuse_entry_out entry;
        fuse_open_out open;
      };
      const auto created = slot.reply_args<Created>();
      slot.node = created.entry.nodeid;
      slot.handle = created.open.fh;
      slot.step = FUSE_WRITE;
      ask_write(slot, slot.node, slot.handle, 0, kPageBytes);
    } else if (done == FUSE_WRITE && sends_release_) {
      slot.step = FUSE_RELEASE;
      slot.begin(FUSE_RELEASE, slot.node, {.args_bytes = sizeof(fuse_release_in)});
      fuse_release_in in{};
      in.fh = slot.handle;
      slot.put(in);
    } else if (done == FUSE_WRITE || done == FUSE_RELEASE) {
      slot.step = FUSE_UNLINK;
      const std::string name = name_of(slot);
      slot.begin(FUSE_UNLINK, directory_, {.args_bytes = static_cast<std::uint32_t>(name.size() + 1)});
      slot.put_name(name, 0);
    } else {
      slot.step = FUSE_FORGET;
      slot.begin(FUSE_FORGET, slot.node, {.args_bytes = sizeof(fuse_forget_in), .no_reply = true});
      slot.put(fuse_forget_in{1});
    }
    return {.operation_done = false, .operations = 0};
  }

 private:
  [[nodiscard]] static std::string name_of(const Slot& slot) { return str_cat("life-", slot.number); }

  const bool sends_release_;
  const std::uint64_t directory_;
  std::uint64_t next_ = 0;
};

WorkloadSpec overwrite_spec(const char* name, unsigned depth, WriteKind kind) {
  return {name, depth, kind.size_bytes, true, [kind](const ServedTree& tree, unsigned lane) {
            return std::make_unique<Overwrite>(tree, lane, kind);
          }};
}

}  // namespace

std::vector<WorkloadSpec> write_workloads() {
  std::vector<WorkloadSpec> specs;
  for (const unsigned depth : {1U, 8U}) {
    specs.push_back(
        {"create-write-unlink", depth, kPageBytes, true,
         [](const ServedTree& tree, unsigned lane) { return std::make_unique<ShortLife>(tree, lane); }});
  }
  for (const unsigned depth : {1U, 8U}) specs.push_back(overwrite_spec("write-4k", depth, {4 * kKiB}));
  for (const unsigned depth : {1U, 4U}) specs.push_back(overwrite_spec("write-128k", depth, {128 * kKiB}));
  specs.push_back(overwrite_spec("write-128k-sequential", 4, {.size_bytes = 128 * kKiB, .sequential = true}));
  specs.push_back(overwrite_spec("write-4k-fsync", 8, {.size_bytes = 4 * kKiB, .sync = true}));
  specs.push_back(overwrite_spec("write-128k-fsync", 4, {.size_bytes = 128 * kKiB, .sync = true}));
  return specs;
}

}  // namespace layerboot::bench
