// Any bytes as the answer of a guest's Docker engine.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "launcher/agent/docker_answer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size_bytes) {
  const auto ports = layerboot::launcher::published_ports({reinterpret_cast<const char*>(data), size_bytes});
  if (ports ? ports->contains(0) : ports.error().code != EBADMSG) std::abort();
  return 0;
}
