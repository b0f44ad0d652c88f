#include "launcher/cli/commit_source.h"

#include <utility>

#include "launcher/cli/written_content.h"
#include "launcher/vm/vm_list.h"

namespace layerboot::launcher {

Result<CommitSource> CommitSource::open(const StateDirs& dirs, const std::string& name, bool pause,
                                        CommitOptions& commit) {
  CommitSource source(VmPaths(dirs, name));
  auto directory = VmDirectory::open_existing(dirs, name);
  if (directory) {
    source.stopped_.emplace(*std::move(directory));
    LB_ASSIGN(source.identity_, written_content(dirs, *source.stopped_, commit));
    return source;
  }
  if (directory.error().code != EBUSY) return std::unexpected(directory.error());
  LB_ASSIGN(const VmView vm, look_at_vm(dirs, name));
  if (!vm.is_live())
    return fail(EBUSY, "VM ", name,
                " does not run, but another command works on it: try again when that is done");
  if (!pause) {
    return fail(EBUSY, "VM ", name,
                " is running: commit --pause holds it still meanwhile, or stop it first (", "layerboot stop ",
                name, ")");
  }
  LB_TRY(source.open_running(dirs, name, commit));
  return source;
}

Result<void> CommitSource::open_running(const StateDirs& dirs, const std::string& name,
                                        CommitOptions& commit) {
  LB_ASSIGN(const VmView vm, look_at_vm(dirs, name));
  if (vm.state() != "running")
    return fail(EAGAIN, "VM ", name, " is ", vm.state(), ": it can be committed when it runs or is stopped");
  LB_ASSIGN(const VmRecord record, load_vm_record(paths_));
  const RunSettings& run = record.run;
  if (run.disk_root)
    return fail(ENOTSUP, "VM ", name, " has its root on a disk, of which no layer can be made yet");
  if (run.upper == UpperKind::kRam) {
    return fail(ENOTSUP, "VM ", name,
                " keeps what it writes in its memory (--upper ram): layerboot cp takes files out of it");
  }
  has_disk_ = run.upper == UpperKind::kDisk;
  if (has_disk_ && run.ephemeral) {
    return fail(ENOTSUP, "VM ", name,
                " keeps nothing that could be read (--ephemeral --upper disk): layerboot cp takes files out");
  }
  commit.upper = run.ephemeral ? paths_.ephemeral_upper() : paths_.upper();
  if (has_disk_) commit.upper = paths_.upper_disk();
  LB_ASSIGN(identity_,
            identity_of_upper(has_disk_ ? paths_.upper_disk_image() : commit.upper / kUpperIdentityName));
  return content_below(dirs, paths_, record, identity_, commit);
}

Result<void> CommitSource::hold_still() {
  if (stopped_) return {};
  LB_ASSIGN(guest_, GuestStill::begin(paths_.agent_socket()));
  if (guest_->is_frozen() != has_disk_)
    return fail(EPROTO, "the guest does not keep what it writes where its record says");
  if (guest_->is_frozen()) return {};
  // What it writes between the two reaches the daemon as it always does: the image is the moment of the stop.
  LB_TRY(guest_->end());
  guest_.reset();
  LB_ASSIGN(pause_, VmPause::begin(paths_.control_socket()));
  return {};
}

Result<void> CommitSource::let_go() {
  if (guest_) LB_TRY(guest_->end());
  guest_.reset();
  if (pause_) LB_TRY(pause_->end());
  pause_.reset();
  return {};
}

}  // namespace layerboot::launcher
