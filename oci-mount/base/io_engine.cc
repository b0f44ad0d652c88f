#include "oci-mount/base/io_engine.h"

#include <cstdlib>

namespace layerboot {

const std::map<std::string, IoEngine>& io_engine_names() {
  static const std::map<std::string, IoEngine> names{
      {"auto", IoEngine::kAuto}, {"uring", IoEngine::kUring}, {"epoll", IoEngine::kEpoll}};
  return names;
}

IoEngine io_engine_from_environment() {
  const char* const name = std::getenv(kIoEngineVariable);
  if (name == nullptr) return IoEngine::kAuto;
  const auto found = io_engine_names().find(name);
  return found == io_engine_names().end() ? IoEngine::kAuto : found->second;
}

}  // namespace layerboot
