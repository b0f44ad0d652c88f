#include "launcher/supervise/vfsd_args.h"

#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {

namespace {

void add_socket_group(const VfsdPaths& paths, std::vector<std::string>& args) {
  if (!paths.socket.empty() && !paths.socket_group.empty())
    args.insert(args.end(), {"--socket-group", paths.socket_group});
}

}  // namespace

std::vector<std::string> vfsd_args(const VmConfig& config, const VfsdPaths& paths, bool once) {
  const bool connected = paths.socket.empty();
  std::vector<std::string> args = {paths.vfsd.string(),
                                   connected ? "--fd" : "--socket-path",
                                   connected ? str_cat(kVfsdSocketFd) : paths.socket.string(),
                                   "--image",
                                   config.image,
                                   "--index-dir",
                                   paths.index.string()};
  add_socket_group(paths, args);
  if (!config.platform.empty()) args.insert(args.end(), {"--platform", config.platform});
  if (config.upper == UpperKind::kHost) {
    args.insert(args.end(), {"--upper", paths.upper.string(), "--quota", str_cat(config.quota_bytes)});
  } else {
    args.emplace_back("--read-only");
  }
  for (const auto& layer : paths.added_layers) {
    args.emplace_back("--add-layer");
    args.push_back(layer.string());
  }
  args.insert(args.end(),
              {"--request-queues", str_cat(config.request_queues), "--ready-fd", str_cat(kVfsdReadyFd)});
  if (!paths.control.empty()) args.insert(args.end(), {"--control-socket", paths.control.string()});
  if (config.writeback) args.emplace_back("--writeback");
  if (once) args.emplace_back("--once");
  if (config.quiet) args.emplace_back("--quiet");
  if (config.debug) args.emplace_back("--debug");
  return args;
}

std::vector<std::string> volume_vfsd_args(const VmConfig& config, const Volume& volume,
                                          const VfsdPaths& paths) {
  const bool connected = paths.socket.empty();
  std::vector<std::string> args = {paths.vfsd.string(),
                                   connected ? "--fd" : "--socket-path",
                                   connected ? str_cat(kVfsdSocketFd) : paths.socket.string(),
                                   "--ready-fd",
                                   str_cat(kVfsdReadyFd),
                                   "--request-queues",
                                   "1"};
  add_socket_group(paths, args);
  if (volume.kind == VolumeKind::kOverlay) {
    const std::uint64_t quota_bytes = volume.quota_bytes == 0 ? kDefaultQuotaBytes : volume.quota_bytes;
    args.insert(args.end(), {"--image", str_cat("dir:", volume.host), "--index-dir", paths.index.string(),
                             "--upper", paths.upper.string(), "--quota", str_cat(quota_bytes)});
  } else {
    args.insert(args.end(), {"--share", volume.host});
    if (volume.kind == VolumeKind::kReadOnly) args.emplace_back("--read-only");
    if (!volume.id_map.empty()) args.insert(args.end(), {"--idmap", volume.id_map});
  }
  if (config.quiet) args.emplace_back("--quiet");
  if (config.debug) args.emplace_back("--debug");
  return args;
}

}  // namespace layerboot::launcher
