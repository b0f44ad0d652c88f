#include "launcher/images/built_images.h"

#include <algorithm>
#include <chrono>
#include <system_error>

#include "launcher/host/programs.h"
#include "launcher/host/run_tool.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/store/digest.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxScriptBytes = std::size_t{1} << 20;
/// Of the hash in a name: many more than there will be images.
constexpr std::size_t kNameDigits = 12;

/// In DATA/images, by its `name`. `words` are those that image.sh takes after the directory.
Result<std::string> supply_built(const StateDirs& dirs, const std::string& name,
                                 const std::vector<std::string>& words, const char* what) {
  const fs::path layout = dirs.data / "images" / name;
  const std::string reference = str_cat("oci:", layout.string(), ":latest");
  std::error_code ignored;
  if (fs::exists(layout / "index.json", ignored)) return reference;
  LB_ASSIGN(const auto script, find_image_build());
  log_info("building an image with ", what, ", once");
  ToolSpec tool;
  tool.argv = {script.string(), layout.string()};
  tool.argv.insert(tool.argv.end(), words.begin(), words.end());
  tool.shows_all = true;
  tool.patience = std::chrono::seconds(15);  // for its mounts and its directory
  LB_TRY(run_tool(tool));
  return reference;
}

/// Other programs, or a newer image.sh, are not served by what was built for these.
Result<std::string> name_for_programs(const std::vector<fs::path>& programs) {
  LB_ASSIGN(const auto script, find_image_build());
  std::string all;
  for (const char* part : {"image.sh", "image_layers.sh"}) {
    LB_ASSIGN(const std::string text, read_file(script.parent_path() / part, kMaxScriptBytes));
    all += text;
  }
  ToolSpec tool;
  tool.argv = {"ldd", "-v"};
  for (const fs::path& program : programs) tool.argv.push_back(program.string());
  LB_ASSIGN(const std::string said, run_tool(tool));
  for (const std::string& need : needed_libraries(said, programs)) all += str_cat(need, '\n');
  LB_ASSIGN(const auto digest, store::digest_of(store::HashAlgorithm::kSha256, as_bytes(all)));
  return str_cat("programs-", digest.hex().substr(0, kNameDigits));
}

}  // namespace

Result<std::string> supply_docker_image(const StateDirs& dirs) {
  auto built = supply_built(dirs, "docker", {"docker"}, "a Docker engine");
  if (!built) return while_doing(built.error(), "no image for --docker: give one that has dockerd");
  return built;
}

std::set<std::string> needed_libraries(std::string_view said, const std::vector<fs::path>& programs) {
  std::set<std::string> needs;
  bool is_of_program = true;
  while (!said.empty()) {
    std::string_view line = said.substr(0, said.find('\n'));
    said.remove_prefix(std::min(said.size(), line.size() + 1));
    line.remove_prefix(std::min(line.size(), line.find_first_not_of(" \t")));
    if (const auto arrow = line.find(" => "); arrow != std::string_view::npos) {
      if (is_of_program) needs.emplace(line.substr(0, arrow));
    } else if (line.ends_with(':')) {
      // What a library needs itself is its package's to bring.
      line.remove_suffix(1);
      is_of_program = std::ranges::find(programs, fs::path(line)) != programs.end();
    }
  }
  return needs;
}

Result<std::string> supply_program_image(const StateDirs& dirs, const std::vector<fs::path>& programs) {
  std::vector<std::string> words = {"programs"};
  for (const auto& program : programs) words.push_back(program.string());
  const auto name = name_for_programs(programs);
  auto built = name ? supply_built(dirs, *name, words, "QEMU for containers")
                    : Result<std::string>(std::unexpected(name.error()));
  if (!built) return while_doing(built.error(), "no image to package with: give one that has QEMU by --base");
  return built;
}

}  // namespace layerboot::launcher
