#include "launcher/kernel/appliance_initrd.h"

#include "launcher/host/run_tool.h"
#include "launcher/kernel/initrd.h"

namespace layerboot::launcher {

Result<std::string> appliance_initrd(const Kernel& kernel, const std::filesystem::path& guest_init_binary,
                                     const std::filesystem::path& work) {
  std::string modules;
  if (!kernel.modules_tar.empty()) {
    LB_TRY(run_tool({"tar", "-C", work.string(), "-xf", kernel.modules_tar.string()}));
    const auto directory = work / "usr/lib/modules" / kernel.release;
    LB_ASSIGN(const ModuleTexts texts, read_module_texts(directory));
    LB_ASSIGN(modules, modules_archive(directory, kernel.release, texts, appliance_aliases()));
  }
  LB_ASSIGN(const std::string init, host_init_archive(guest_init_binary));
  return modules + init;
}

}  // namespace layerboot::launcher
