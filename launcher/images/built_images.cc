#include "launcher/images/built_images.h"

#include <system_error>

#include "launcher/host/programs.h"
#include "launcher/host/run_tool.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

namespace {

/// `words` are those that image.sh takes after the directory.
Result<std::string> supply_built(const StateDirs& dirs, const std::vector<std::string>& words,
                                 const char* what) {
  const std::filesystem::path layout = dirs.data / "images" / words.front();
  const std::string reference = str_cat("oci:", layout.string(), ":latest");
  std::error_code ignored;
  if (std::filesystem::exists(layout / "index.json", ignored)) return reference;
  LB_ASSIGN(const auto script, find_image_build());
  log_info("building an image with ", what, ", once");
  ToolSpec tool;
  tool.argv = {script.string(), layout.string()};
  tool.argv.insert(tool.argv.end(), words.begin(), words.end());
  tool.shows_all = true;
  LB_TRY(run_tool(tool));
  return reference;
}

}  // namespace

Result<std::string> supply_docker_image(const StateDirs& dirs) {
  auto built = supply_built(dirs, {"docker"}, "a Docker engine");
  if (!built) return while_doing(built.error(), "no image for --docker: give one that has dockerd");
  return built;
}

Result<std::string> supply_program_image(const StateDirs& dirs,
                                         const std::vector<std::filesystem::path>& programs) {
  std::vector<std::string> words = {"programs"};
  for (const auto& program : programs) words.push_back(program.string());
  auto built = supply_built(dirs, words, "QEMU for containers");
  if (!built) return while_doing(built.error(), "no image to package with: give one that has QEMU by --base");
  return built;
}

}  // namespace layerboot::launcher
