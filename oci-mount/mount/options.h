// What a user may say to oci-mount.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <variant>
#include <vector>

#include "oci-mount/base/io_engine.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/result.h"
#include "oci-mount/store/oci_json.h"
#include "oci-mount/store/platform.h"

namespace layerboot::mount {

struct MountCommand {
  static constexpr std::uint64_t kDefaultQuotaBytes = 4ULL << 30;

  std::string image;
  std::string mountpoint;
  std::filesystem::path upper;  // empty: read-only
  std::uint64_t quota_bytes = kDefaultQuotaBytes;
  bool foreground = false;
  bool allow_other = false;
  bool read_all = false;  // this user reads everything, whatever its mode
  int ready_fd = -1;      // foreground only: gets "ready\n" when the mount is of use
};
struct ListCommand {
  std::string image;
  std::string path = "/";
  bool recursive = false;
  bool details = false;
};
struct CatCommand {
  std::string image;
  std::vector<std::string> paths;
};

struct TarCommand {
  std::string image;
};
struct IndexCommand {
  std::string image;
  bool json = false;
};
struct VerifyCommand {
  std::string image;
};
struct DiffCommand {
  std::string image;
  std::filesystem::path upper;
  bool layer = false;  // as a layer of an image, instead of a list
  store::Compression compression = store::Compression::kNone;
  std::filesystem::path
      output;  // of a layer: a file, which is indexed, and told of in JSON; empty: standard output
  bool keep_identity = false;
  bool drop_identity = false;  // squashed: what the image has of that is left out, too
  bool squash = false;
};

struct Options {
  std::variant<MountCommand, ListCommand, CatCommand, TarCommand, IndexCommand, VerifyCommand, DiffCommand>
      command;
  std::filesystem::path index_dir;                    // empty: the usual one
  store::Platform platform = store::host_platform();  // which of an image for several
  std::vector<std::filesystem::path> add_layers;      // plain tars, on top of the image's layers
  LogLevel log_level = LogLevel::kInfo;
  IoEngine io_engine = IoEngine::kAuto;
};

/// The options; or, when there is nothing more to do than to print `text` and leave with `exit_code`
/// (--help, --version, a wrong option), that.
struct ParsedOptions {
  Options options;
  bool leave = false;
  int exit_code = 0;
  std::string text;
};

ParsedOptions parse_options(int argc, const char* const* argv);

}  // namespace layerboot::mount
