// PidNamespace: processes that end when this one does, whatever has become of their rights.
#pragma once

#include <sys/types.h>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// A death signal is lost by a process that changes its user (prctl(2), PR_SET_PDEATHSIG): one that gives up
/// root's rights would outlive a launcher that is killed. So the first process of a PID namespace is a keeper
/// that changes nothing and keeps its own death signal, and the kernel kills what else is in the namespace
/// when the keeper goes (pid_namespaces(7)). What is inside sees and signals nothing outside. Owns the
/// keeper, which the destructor ends. Not thread-safe, and the thread that makes it is the one whose end
/// counts.
class PidNamespace {
 public:
  /// EPERM without CAP_SYS_ADMIN, and whatever else fork and namespaces are refused with.
  static Result<PidNamespace> make();

  PidNamespace(PidNamespace&& other) noexcept;
  PidNamespace& operator=(PidNamespace&& other) noexcept;
  PidNamespace(const PidNamespace&) = delete;
  PidNamespace& operator=(const PidNamespace&) = delete;
  ~PidNamespace();

  /// As fork(2): 0 in the child, which is in the namespace and whose getppid() is 0 while we live. In us the
  /// child's number as we see it.
  [[nodiscard]] Result<pid_t> fork() const;
  /// Ends it without waiting for that: somebody in it can't be ended.
  void leave();

 private:
  PidNamespace(pid_t keeper, UniqueFd keeper_pidfd, UniqueFd own)
      : keeper_(keeper), keeper_pidfd_(std::move(keeper_pidfd)), own_(std::move(own)) {}

  pid_t keeper_;  // -1 when moved from
  UniqueFd keeper_pidfd_;
  UniqueFd own_;  // the namespace of this process, to come back to
};

}  // namespace layerboot::launcher
