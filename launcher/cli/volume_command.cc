#include "launcher/cli/volume_command.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "launcher/cli/columns.h"
#include "launcher/vm/named_volumes.h"
#include "oci-mount/base/log.h"
#include "oci-mount/store/json_document.h"

namespace layerboot::launcher {

namespace {

using nlohmann::json;

Result<void> list(const StateDirs& dirs, const Options& options) {
  LB_ASSIGN(const auto volumes, list_named_volumes(dirs));
  json document = json::array();
  std::vector<std::vector<std::string>> cells = {{"NAME", "VMS", "DIRECTORY"}};
  std::string names;
  for (const NamedVolume& volume : volumes) {
    std::string vms;
    for (const std::string& vm : volume.vms) vms += str_cat(vms.empty() ? "" : ", ", vm);
    cells.push_back({volume.name, vms, volume.path.string()});
    document.push_back({{"name", volume.name}, {"vms", volume.vms}, {"directory", volume.path.string()}});
    names += volume.name + '\n';
  }
  std::string text = options.names_only ? names : columns(cells);
  if (options.json) text = store::json_text(document, 2) + '\n';
  std::fwrite(text.data(), 1, text.size(), stdout);
  return {};
}

}  // namespace

Result<int> volumes(const StateDirs& dirs, const Options& options) {
  if (options.action == "ls") {
    LB_TRY(list(dirs, options));
    return 0;
  }
  int status = 0;
  for (const std::string& name : options.names) {
    const auto done =
        options.action == "rm" ? remove_named_volume(dirs, name) : create_named_volume(dirs, name);
    if (done) {
      std::printf("%s\n", name.c_str());
      continue;
    }
    log_error(done.error().describe());
    status = 1;
  }
  return status;
}

}  // namespace layerboot::launcher
