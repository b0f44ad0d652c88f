// GuestLines: what a helper in the guest complains of, told on standard error.
#pragma once

#include <memory>
#include <thread>

#include "oci-mount/base/pipe.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// A pipe for a session's standard error. Each line that comes out of it is told as an error of the guest's
/// (guest_words.h); a line that is too long is told in pieces. For what the launcher has in the guest for its
/// own ends; the words of a program that somebody asked for are the program's.
class GuestLines {
 public:
  static Result<std::unique_ptr<GuestLines>> begin();
  GuestLines(const GuestLines&) = delete;
  GuestLines& operator=(const GuestLines&) = delete;
  /// When all is told that was said.
  ~GuestLines();

  [[nodiscard]] int fd() const { return pipe_.write_end.get(); }

 private:
  explicit GuestLines(Pipe pipe);
  void tell() const;

  Pipe pipe_;
  std::thread telling_;
};

}  // namespace layerboot::launcher
