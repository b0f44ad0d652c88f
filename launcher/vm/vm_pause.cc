#include "launcher/vm/vm_pause.h"

namespace layerboot::launcher {

Result<VmPause> VmPause::begin(const std::filesystem::path& control_socket) {
  LB_ASSIGN(auto client, ControlClient::connect(control_socket));
  LB_TRY(client.ask({.verb = ControlVerb::kPause, .timeout_seconds = {}}));
  LB_ASSIGN(const auto said, client.hear(kPatience));
  if (said.value("state", "") != "paused") return fail(EPROTO, "the VM's supervisor did not pause it");
  return VmPause(std::move(client));
}

Result<void> VmPause::end() {
  LB_TRY(client_.end_input());
  LB_ASSIGN(const auto said, client_.hear(kPatience));
  if (said.value("state", "") == "running") return {};
  return fail(EPROTO, "the VM's supervisor did not let it go on");
}

}  // namespace layerboot::launcher
