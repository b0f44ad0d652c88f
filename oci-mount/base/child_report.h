// What a child in walls (walled_child.h) that has one thing to do says of it: how far it is, and how it
// ended. One report is one packet of its socket (SOCK_SEQPACKET). The program believes nothing of it but its
// form.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "oci-mount/base/result.h"
#include "oci-mount/base/walled_child.h"

namespace layerboot {

/// In the child.
class ChildReports {
 public:
  /// `fd`: the child's end, borrowed.
  explicit constexpr ChildReports(int fd) : fd_(fd) {}

  /// So many bytes of what is read are done; 0 where it begins again.
  void progress(std::uint64_t done_bytes) const;
  /// It is done, or has failed. Takes no memory, and any thread may call it.
  void done() const;
  void failed(int code, std::string_view text) const;
  /// Says which of the two it is, and ends the process.
  [[noreturn]] void end(const Result<void>& outcome) const;

 private:
  void say(std::uint32_t kind, std::uint64_t value, std::string_view text = {}) const;
  int fd_;
};

/// In the program: what the child says it came to; nothing where it ended without a word. Hears it to its
/// end. `total_bytes` is the most that `on_progress` is told. `look_up`, if any, is called behind each
/// report, and after a receive timeout of the socket; its error ends the hearing.
Result<std::optional<Result<void>>> hear_reports(const WalledChild& child, std::uint64_t total_bytes,
                                                 const std::function<void(std::uint64_t)>& on_progress,
                                                 const std::function<Result<void>()>& look_up = {});

}  // namespace layerboot
