// Defaults of a person's own for the options of commands.
#pragma once

#include <string>

#include "oci-mount/base/result.h"

namespace CLI {
class App;
}

namespace layerboot::launcher {

struct ConfigFile {
  std::string path;  // for messages
  std::string text;  // empty: there is none
};

/// The file that LAYERBOOT_CONFIG names, or layerboot/config.json below XDG_CONFIG_HOME (~/.config), for root
/// /etc/layerboot/config.json. Without such a file a ConfigFile without text; with LAYERBOOT_CONFIG set to
/// nothing none is looked for.
Result<ConfigFile> read_config_file();

/// Gives the options of the command that `app` has parsed, and that the command line left out, what the file
/// has for them: one JSON object, in it an object for each command, in it options by their long names
/// without dashes; values are texts, numbers, true or false, or arrays of these for options that may be
/// repeated. What is typed counts, also before what excludes it; an option that needs another counts where
/// that is given. EINVAL names the file and what is wrong.
Result<void> apply_config_file(const CLI::App& app, const ConfigFile& file);

}  // namespace layerboot::launcher
