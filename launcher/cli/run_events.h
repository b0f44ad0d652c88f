// What `layerboot events` shows of VMs that are run and changed here.
#pragma once

#include <string>
#include <string_view>

#include "launcher/cli/options.h"
#include "launcher/vm/event_log.h"
#include "launcher/vm/vm_directory.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// Of a VM that is there, with what config.json has of it.
VmEvent event_of(std::string_view action, const std::string& name, const VmPaths& paths);

/// In the words of last-run.json. Without text a child has said why, where the launcher's own lines go.
std::string end_text(const Error& error);

/// Notes the runs of one VM by this process, one after the other.
class RunEvents {
 public:
  /// `directory` is lent, and outlives this.
  RunEvents(const Options& options, const VmDirectory& directory);

  /// QEMU runs; `is_new`: for the first time.
  void started(bool is_new);
  void rebooted() const { note("reboot"); }
  /// Of a run that never started it is no event.
  void ended(const Result<int>& outcome);
  /// By its own run, as --rm asks.
  void removed() const { note("remove"); }
  /// What the end of a run is whose launcher was killed.
  [[nodiscard]] VmEvent killed() const;

 private:
  [[nodiscard]] VmEvent event(std::string_view action) const;
  void note(std::string_view action) const { note_event(directory_.paths().event_log, event(action)); }

  const VmDirectory& directory_;
  VmEvent vm_;  // what all have in common
  bool is_up_ = false;
};

}  // namespace layerboot::launcher
