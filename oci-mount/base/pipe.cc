#include "oci-mount/base/pipe.h"

#include <fcntl.h>
#include <unistd.h>

namespace layerboot {

Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error("pipe");
  return Pipe{.read_end = UniqueFd(ends[0]), .write_end = UniqueFd(ends[1])};
}

}  // namespace layerboot
