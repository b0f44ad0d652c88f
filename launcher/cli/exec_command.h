// `layerboot exec`: runs a program in a running VM.
#pragma once

#include <chrono>
#include <optional>

#include "launcher/agent/session_client.h"
#include "launcher/cli/options.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// Runs the program and gives its exit code: 128 and the signal's number for one that a signal ended, 126 for
/// one that can't be run, 127 for one that is not there, 125 when the VM's agent could not start it. An Error
/// when there is no such VM, or it does not run.
Result<int> exec_in_vm(const StateDirs& dirs, const Options& options);

/// An Error, saying what to do, when there is no VM `name` or it does not run.
Result<void> check_vm_runs(const StateDirs& dirs, const std::string& name);

/// One session of the VM `name` on this process's terminal or streams, to its end. The guest's program gets
/// the signals that come to this process.
Result<int> run_session(const StateDirs& dirs, const std::string& name,
                        const guest_init::SessionRequest& request, SessionStdio stdio);

/// The same for what we ask by ourselves, and for as long as `bound` says: ETIMEDOUT then. Signals end this
/// process as any, or, inside an InterruptScope, the session: EINTR. Why the program did not run goes to
/// `failure`; null: it is logged.
Result<int> run_own_session(const StateDirs& dirs, const std::string& name,
                            const guest_init::SessionRequest& request, SessionStdio stdio,
                            std::optional<std::chrono::seconds> bound = {}, std::string* failure = nullptr);

}  // namespace layerboot::launcher
