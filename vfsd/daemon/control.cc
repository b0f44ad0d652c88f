#include "vfsd/daemon/control.h"

#include <linux/fuse.h>

#include <optional>

#include "oci-mount/base/log.h"
#include "oci-mount/store/json_document.h"
#include "oci-mount/vfs/image_fs.h"

namespace layerboot::vfsd {

namespace {

using store::Json;

constexpr int kMaxDepth = 4;
constexpr std::string_view kCommands = "quota, resize, stats";

Result<overlay::Quota*> quota_of(const ControlTarget& target) {
  if (target.quota == nullptr) return fail(EROFS, "served read-only: there is no quota");
  return target.quota;
}

Json describe_quota(const overlay::Quota& quota) {
  const auto limits = quota.limits();
  const auto usage = quota.usage();
  const auto available = quota.available();
  return {{"bytes", limits.bytes},
          {"inodes", limits.inodes},
          {"used_bytes", usage.bytes},
          {"used_inodes", usage.inodes},
          {"available_bytes", available.bytes},
          {"available_inodes", available.inodes},
          {"host_floor_bytes", limits.host_floor_bytes}};
}

Json describe_requests(const ControlTarget& target) {
  fuse::RequestCounts counts;
  target.add_counts(counts);
  Json by_name = Json::object();
  for (std::uint32_t opcode = 0; opcode <= FUSE_TMPFILE; ++opcode) {
    if (counts.of(opcode) > 0) by_name[fuse::opcode_name(opcode)] = counts.of(opcode);
  }
  return by_name;
}

Result<std::optional<std::uint64_t>> new_limit(const Json& request, const char* key) {
  if (store::find_member(request, key) == nullptr) return std::nullopt;
  LB_ASSIGN(const std::uint64_t value, store::size_member(request, key, "resize"));
  if (value == 0) return fail(EINVAL, "resize: ", key, " must not be 0");
  return value;
}

Result<Json> resize(const Json& request, const ControlTarget& target) {
  LB_ASSIGN(overlay::Quota* const quota, quota_of(target));
  LB_ASSIGN(const auto bytes, new_limit(request, "bytes"));
  LB_ASSIGN(const auto inodes, new_limit(request, "inodes"));
  if (!bytes && !inodes) return fail(EINVAL, "resize: bytes or inodes is required");
  auto limits = quota->limits();
  if (bytes && target.inodes_follow_bytes) limits.inodes = *bytes / vfs::UpperOptions::kBytesPerInode;
  limits.bytes = bytes.value_or(limits.bytes);
  limits.inodes = inodes.value_or(limits.inodes);
  quota->set_limits(limits);
  log_info("the quota is now ", limits.bytes, " bytes and ", limits.inodes, " inodes");
  return describe_quota(*quota);
}

Result<Json> answer(std::string_view line, const ControlTarget& target) {
  LB_ASSIGN(const Json request, store::parse_json_object(line, kMaxControlLineBytes, kMaxDepth, "request"));
  LB_ASSIGN(const std::string command, store::string_member(request, "command", "request"));
  if (command == "resize") return resize(request, target);
  if (command == "quota") {
    LB_ASSIGN(const overlay::Quota* const quota, quota_of(target));
    return describe_quota(*quota);
  }
  if (command == "stats") {
    Json reply = {{"version", LAYERBOOT_VERSION},
                  {"front_end", target.has_front_end()},
                  {"requests", describe_requests(target)}};
    if (target.memory != nullptr) {
      reply["memory"] = {{"limit_bytes", target.memory->limit_bytes()},
                         {"used_bytes", target.memory->used_bytes()},
                         {"peak_bytes", target.memory->peak_bytes()}};
    }
    if (target.quota != nullptr) reply["quota"] = describe_quota(*target.quota);
    return reply;
  }
  return fail(EINVAL, "request: no such command; there are ", kCommands);
}

}  // namespace

std::string answer_control(std::string_view line, const ControlTarget& target) {
  auto reply = answer(line, target);
  const bool ok = reply.has_value();
  Json json = ok ? *std::move(reply) : Json{{"error", std::move(reply).error().describe()}};
  json["ok"] = ok;
  // Invalid UTF-8 of the line may be in the error's text.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}

}  // namespace layerboot::vfsd
