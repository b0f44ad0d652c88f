// make_pipe(): pipe(2), closed at exec.
#pragma once

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot {

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};

Result<Pipe> make_pipe();

}  // namespace layerboot
