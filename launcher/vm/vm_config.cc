#include "launcher/vm/vm_config.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace layerboot::launcher {

namespace {

using nlohmann::json;

constexpr int kRecordVersion = 1;
constexpr std::size_t kMachineIdLength = 32;

constexpr std::array<std::string_view, 4> kPathPrefixes = {"oci:", "oci-archive:", "docker-archive:", "dir:"};

bool is_alphanumeric(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; }

bool is_machine_id(std::string_view text) {
  return text.size() == kMachineIdLength &&
         std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string string_member(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

}  // namespace

std::string record_to_json(const VmRecord& record) {
  json document = {{"version", kRecordVersion},       {"name", record.name},
                   {"image", record.image},           {"quota_bytes", record.quota_bytes},
                   {"machine_id", record.machine_id}, {"run", settings_to_json(record.run)}};
  if (!record.spent_upper.empty()) document["spent_upper"] = record.spent_upper;
  if (record.has_given_password) document["has_given_password"] = true;
  // Foreign bytes in an image's path must not throw here.
  return document.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

Result<VmRecord> record_from_json(std::string_view text) {
  const json document = json::parse(text, nullptr, false);
  if (!document.is_object()) return fail(EINVAL, "not a JSON object");
  const auto version = document.find("version");
  if (version == document.end() || *version != kRecordVersion) {
    return fail(EINVAL, "not of version ", kRecordVersion);
  }
  VmRecord record;
  record.name = string_member(document, "name");
  record.image = string_member(document, "image");
  record.machine_id = string_member(document, "machine_id");
  record.spent_upper = string_member(document, "spent_upper");
  record.has_given_password = document.value("has_given_password", json(false)) == json(true);
  const auto quota = document.find("quota_bytes");
  if (quota == document.end() || !quota->is_number_unsigned()) return fail(EINVAL, "quota_bytes is missing");
  record.quota_bytes = quota->get<std::uint64_t>();
  // A VM of before its runs were kept has none.
  if (const auto run = document.find("run"); run != document.end()) {
    LB_ASSIGN(record.run, settings_from_json(*run));
  }
  if (!is_machine_id(record.machine_id)) return fail(EINVAL, "machine_id is not 32 hexadecimal digits");
  return record;
}

std::string absolute_reference(std::string_view image) {
  for (const std::string_view prefix : kPathPrefixes) {
    if (!image.starts_with(prefix)) continue;
    const std::string_view path = image.substr(prefix.size());
    std::error_code error;
    const auto here = std::filesystem::current_path(error);
    if (path.starts_with('/') || error) break;
    return str_cat(prefix, (here / path).string());
  }
  return std::string(image);
}

std::string name_from_image(std::string_view image) {
  std::string_view rest = image;
  for (const std::string_view prefix :
       {"oci:", "oci-archive:", "docker-archive:", "containerd:", "dir:", "docker://"}) {
    if (rest.starts_with(prefix)) rest.remove_prefix(prefix.size());
  }
  constexpr std::string_view kDigest = "sha256:";
  constexpr std::size_t kShownDigits = 12;
  std::string of_digest;
  if (rest.starts_with(kDigest)) {
    of_digest = str_cat("image-", rest.substr(kDigest.size(), kShownDigits));
    rest = of_digest;
  }
  while (rest.ends_with('/')) rest.remove_suffix(1);
  if (const auto slash = rest.rfind('/'); slash != std::string_view::npos) rest.remove_prefix(slash + 1);
  if (rest.ends_with(":latest")) rest.remove_suffix(std::string_view(":latest").size());
  std::string name;
  for (const char c : rest.substr(0, kMaxNameLength)) {
    const bool kept = is_alphanumeric(c) || c == '.' || c == '_';
    if (kept || !name.empty())
      name += kept ? static_cast<char>(std::tolower(static_cast<unsigned char>(c))) : '-';
  }
  while (!name.empty() && !is_alphanumeric(name.front())) name.erase(name.begin());
  while (!name.empty() && !is_alphanumeric(name.back())) name.pop_back();
  return name.empty() ? "vm" : name;
}

Result<void> check_name(std::string_view name) {
  const bool good = !name.empty() && name.size() <= kMaxNameLength && is_alphanumeric(name.front()) &&
                    std::ranges::all_of(
                        name, [](char c) { return is_alphanumeric(c) || c == '-' || c == '_' || c == '.'; });
  if (good) return {};
  return fail(EINVAL, "'", name, "' can't name a VM: use letters, digits, '-', '_' and '.', at most ",
              kMaxNameLength, ", starting with a letter or digit");
}

std::uint64_t upper_cap_bytes(const RunSettings& settings, std::uint64_t quota_bytes) {
  return settings.upper == UpperKind::kRam ? std::min(quota_bytes, settings.memory_bytes / 2) : quota_bytes;
}

std::string volume_tag(std::size_t number) { return str_cat("volume", number); }

Result<void> check_hostname(std::string_view hostname) {
  constexpr std::size_t kMaxLabelBytes = 63;
  constexpr std::size_t kMaxBytes = 253;
  bool good = hostname.size() <= kMaxBytes;
  for (std::string_view rest = hostname; good;) {
    const auto dot = rest.find('.');
    const std::string_view label = rest.substr(0, dot);
    good = !label.empty() && label.size() <= kMaxLabelBytes && !label.starts_with('-') &&
           !label.ends_with('-') &&
           std::ranges::all_of(label, [](char c) { return is_alphanumeric(c) || c == '-'; });
    if (dot == std::string_view::npos) break;
    rest.remove_prefix(dot + 1);
  }
  if (good) return {};
  return fail(EINVAL, "'", hostname, "' is no host name: letters, digits and '-' within a label, at most ",
              kMaxLabelBytes, " of them, labels with dots between them, at most ", kMaxBytes,
              " bytes in all");
}

std::string kernel_hostname(std::string_view hostname) {
  constexpr std::size_t kMaxKernelBytes = 64;
  return std::string(hostname.size() <= kMaxKernelBytes ? hostname : hostname.substr(0, hostname.find('.')));
}

std::string hostname_for(std::string_view name) {
  std::string hostname(name);
  for (char& c : hostname) {
    if (!is_alphanumeric(c)) c = '-';
  }
  while (hostname.ends_with('-')) hostname.pop_back();
  return hostname.empty() ? "vm" : hostname;
}

std::string mac_address(std::string_view machine_id, std::size_t card) {
  constexpr std::size_t kDigits = 6;
  constexpr std::string_view kDefault = "123456";  // QEMU's, for a VM without a machine-id
  const std::string_view own =
      machine_id.size() < kDigits ? kDefault : machine_id.substr(machine_id.size() - kDigits);
  // Another machine's first card may have the same as a further one's of this: as unlikely as two first ones.
  const auto number = (std::stoul(std::string(own), nullptr, 16) + card) & 0xffffffU;
  std::array<char, kDigits + 1> digits{};
  std::snprintf(digits.data(), digits.size(), "%06lx", number);
  const std::string_view all(digits.data(), kDigits);
  return str_cat("52:54:00:", all.substr(0, 2), ':', all.substr(2, 2), ':', all.substr(4, 2));
}

Result<std::string> make_machine_id() {
  std::array<unsigned char, kMachineIdLength / 2> random{};
  if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) {
    return errno_error("getrandom");
  }
  // machine-id(5): a version 4 UUID's bits, so that it may be used as one.
  random[6] = static_cast<unsigned char>((random[6] & 0x0fU) | 0x40U);
  random[8] = static_cast<unsigned char>((random[8] & 0x3fU) | 0x80U);
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : random) {
    text += kDigits[byte >> 4U];
    text += kDigits[byte & 0x0fU];
  }
  return text;
}

}  // namespace layerboot::launcher
