#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "launcher/vm/run_settings.h"
#include "oci-mount/base/utf8.h"

namespace layerboot::launcher {

namespace {

using nlohmann::json;

template <typename Choice>
using Words = std::vector<std::pair<Choice, const char*>>;

const Words<AccelChoice>& accel_words() {
  static const Words<AccelChoice> words = {
      {AccelChoice::kAuto, "auto"}, {AccelChoice::kKvm, "kvm"}, {AccelChoice::kTcg, "tcg"}};
  return words;
}
const Words<MachineChoice>& machine_words() {
  static const Words<MachineChoice> words = {
      {MachineChoice::kAuto, "auto"}, {MachineChoice::kQ35, "q35"}, {MachineChoice::kMicrovm, "microvm"}};
  return words;
}

const Words<DiskFormat>& disk_words() {
  static const Words<DiskFormat> words = {{DiskFormat::kRaw, "raw"}, {DiskFormat::kQcow2, "qcow2"}};
  return words;
}

const Words<UpperKind>& upper_words() {
  static const Words<UpperKind> words = {
      {UpperKind::kHost, "host"}, {UpperKind::kDisk, "disk"}, {UpperKind::kRam, "ram"}};
  return words;
}

const Words<Boot>& boot_words() {
  static const Words<Boot> words = {
      {Boot::kAuto, "auto"}, {Boot::kInit, "init"}, {Boot::kCommand, "command"}};
  return words;
}

const Words<VolumeKind>& volume_words() {
  static const Words<VolumeKind> words = {
      {VolumeKind::kReadOnly, "ro"}, {VolumeKind::kShared, "rw"}, {VolumeKind::kOverlay, "overlay"}};
  return words;
}

template <typename Choice>
const char* word_of(const Words<Choice>& words, Choice choice) {
  const auto it = std::ranges::find(words, choice, &std::pair<Choice, const char*>::first);
  return it == words.end() ? "" : it->second;
}

std::string restart_word(const RunSettings& settings) {
  if (settings.restart == RestartPolicy::kNo) return "no";
  if (settings.restart == RestartPolicy::kAlways) return "always";
  return settings.restart_limit == 0 ? "on-failure" : str_cat("on-failure:", settings.restart_limit);
}

std::string net_word(Net net, const std::string& tap) {
  switch (net) {
    case Net::kUser:
      return "user";
    case Net::kPasst:
      return "passt";
    case Net::kTap:
      return "tap=" + tap;
    case Net::kNone:
      break;
  }
  return "none";
}

/// Reads members into variables; the first that is of the wrong kind is kept as the error.
class Reader {
 public:
  explicit Reader(const json& object) : object_(object) {}

  void text(const char* key, std::string& value) {
    if (const json* found = find(key, &json::is_string)) value = found->get<std::string>();
  }
  void flag(const char* key, bool& value) {
    if (const json* found = find(key, &json::is_boolean)) value = found->get<bool>();
  }
  template <typename Number>
  void number(const char* key, Number& value) {
    const json* found = find(key, &json::is_number_unsigned);
    if (found == nullptr) return;
    const auto wide = found->get<std::uint64_t>();
    if (!std::in_range<Number>(wide)) return wrong(key);
    value = static_cast<Number>(wide);
  }
  template <typename Choice>
  void choice(const char* key, const Words<Choice>& words, Choice& value) {
    std::string word = word_of(words, value);
    text(key, word);
    const auto it = std::ranges::find(words, word, &std::pair<Choice, const char*>::second);
    if (it == words.end()) return wrong(key);
    value = it->first;
  }
  void texts(const char* key, std::vector<std::string>& values) {
    each(key, [&](const json& item) {
      if (!item.is_string()) return wrong(key);
      values.push_back(item.get<std::string>());
    });
  }
  template <typename Use>
  void each(const char* key, Use use) {
    const json* found = find(key, &json::is_array);
    if (found == nullptr) return;
    for (const json& item : *found) use(item);
  }
  /// Each is an object, whose members `read` takes by a Reader of its own into a new Item.
  template <typename Item, typename Read>
  void objects(const char* key, std::vector<Item>& items, Read read) {
    each(key, [&](const json& object) {
      if (!object.is_object()) return wrong(key);
      Item item;
      Reader member(object);
      read(member, item);
      if (!member.done()) return wrong(key);
      items.push_back(std::move(item));
    });
  }
  void wrong(const char* key) {
    if (wrong_.empty()) wrong_ = key;
  }
  [[nodiscard]] Result<void> done() const {
    if (wrong_.empty()) return {};
    return fail(EINVAL, wrong_, " is not what it should be");
  }

 private:
  const json* find(const char* key, bool (json::*is_kind)() const noexcept) {
    const auto it = object_.find(key);
    if (it == object_.end()) return nullptr;
    if ((*it.*is_kind)()) return &*it;
    wrong(key);
    return nullptr;
  }

  const json& object_;
  std::string wrong_;
};

json volume_json(const Volume& volume) {
  return {{"host", volume.host},
          {"guest", volume.guest},
          {"kind", word_of(volume_words(), volume.kind)},
          {"quota_bytes", volume.quota_bytes},
          {"id_map", volume.id_map},
          {"name", volume.name}};
}

json port_json(const PublishedPort& port) {
  return {{"address", port.address},
          {"host", port.host},
          {"guest", port.guest},
          {"protocol", port.udp ? "udp" : "tcp"},
          {"random", port.random}};
}

void read_mounts(Reader& reader, RunSettings& settings) {
  reader.objects("volumes", settings.volumes, [](Reader& member, Volume& volume) {
    // The host's directory is not written to on the word of a file that does not say so.
    volume.kind = VolumeKind::kReadOnly;
    member.text("host", volume.host);
    member.text("guest", volume.guest);
    member.choice("kind", volume_words(), volume.kind);
    member.number("quota_bytes", volume.quota_bytes);
    member.text("id_map", volume.id_map);
    member.text("name", volume.name);
  });
  reader.objects("tmpfs", settings.tmpfs, [](Reader& member, TmpfsMount& mount) {
    member.text("guest", mount.guest);
    member.text("options", mount.options);
  });
}

void read_network(Reader& reader, RunSettings& settings) {
  reader.objects("published", settings.published, [](Reader& member, PublishedPort& port) {
    std::string protocol = "tcp";
    member.text("address", port.address);
    member.number("host", port.host);
    member.number("guest", port.guest);
    member.text("protocol", protocol);
    member.flag("random", port.random);
    port.udp = protocol == "udp";
  });
  reader.flag("publish_all", settings.publish_all);
  reader.objects("hosts", settings.hosts, [](Reader& member, HostEntry& entry) {
    member.text("name", entry.name);
    member.text("address", entry.address);
  });
  reader.texts("dns", settings.dns);
}

}  // namespace

const char* upper_word(UpperKind kind) { return word_of(upper_words(), kind); }

json settings_to_json(const RunSettings& settings) {
  json volumes = json::array();
  for (const Volume& volume : settings.volumes) volumes.push_back(volume_json(volume));
  json published = json::array();
  for (const PublishedPort& port : settings.published) published.push_back(port_json(port));
  json more_nets = json::array();
  for (const NetCard& card : settings.more_nets) more_nets.push_back(net_word(card.kind, card.tap));
  json sockets = json::array();
  for (const SharedSocket& socket : settings.sockets) {
    sockets.push_back({{"host", socket.host}, {"guest", socket.guest}});
  }
  json tmpfs = json::array();
  for (const TmpfsMount& mount : settings.tmpfs) {
    tmpfs.push_back({{"guest", mount.guest}, {"options", mount.options}});
  }
  json hosts = json::array();
  for (const HostEntry& entry : settings.hosts) {
    hosts.push_back({{"name", entry.name}, {"address", entry.address}});
  }
  json entrypoint;
  if (settings.entrypoint) entrypoint = *settings.entrypoint;
  return {{"cpus", settings.cpus},
          {"memory_bytes", settings.memory_bytes},
          {"kernel", settings.kernel},
          {"platform", settings.platform},
          {"binfmt", settings.binfmt},
          {"append", settings.append},
          {"accel", word_of(accel_words(), settings.accel_choice)},
          {"require_kvm", settings.require_kvm},
          {"machine", word_of(machine_words(), settings.machine_choice)},
          {"net", net_word(settings.net, settings.tap)},
          {"more_nets", std::move(more_nets)},
          {"hostname", settings.hostname},
          {"boot", word_of(boot_words(), settings.boot)},
          {"cgroup_v1", settings.cgroup_v1},
          {"entrypoint", std::move(entrypoint)},
          {"environment", settings.environment},
          {"user", settings.user},
          {"workdir", settings.workdir},
          {"command", settings.guest_command},
          {"ssh_keys", settings.ssh_keys},
          {"volumes", volumes},
          {"tmpfs", std::move(tmpfs)},
          {"published", published},
          {"publish_all", settings.publish_all},
          {"hosts", std::move(hosts)},
          {"dns", settings.dns},
          {"labels", settings.labels},
          {"disk_root", settings.disk_root},
          {"sockets", std::move(sockets)},
          {"no_initrd", settings.no_initrd},
          {"disk_format", word_of(disk_words(), settings.disk_format)},
          {"restart", restart_word(settings)},
          {"remove_at_end", settings.remove_at_end},
          {"root_password_hash", settings.root_password_hash},
          {"autologin", settings.autologin},
          {"docker", settings.docker},
          {"ephemeral", settings.ephemeral},
          {"writeback", settings.writeback},
          {"upper", upper_word(settings.upper)},
          {"swap_bytes", settings.swap_bytes}};
}

Result<RunSettings> settings_from_json(const json& object) {
  if (!object.is_object()) return fail(EINVAL, "run is not an object");
  RunSettings settings;
  Reader reader(object);
  reader.number("cpus", settings.cpus);
  reader.number("memory_bytes", settings.memory_bytes);
  reader.text("kernel", settings.kernel);
  reader.text("platform", settings.platform);
  if (!settings.platform.empty()) {
    const auto platform = store::parse_platform(settings.platform);
    if (!platform || !architecture_for(*platform)) reader.wrong("platform");
  }
  reader.texts("binfmt", settings.binfmt);
  reader.text("append", settings.append);
  reader.choice("accel", accel_words(), settings.accel_choice);
  reader.flag("require_kvm", settings.require_kvm);
  reader.choice("machine", machine_words(), settings.machine_choice);
  std::vector<std::string> nets;
  reader.texts("more_nets", nets);
  std::string net = "user";
  reader.text("net", net);
  nets.insert(nets.begin(), net);
  if (!parse_nets(nets, settings)) reader.wrong("net");
  reader.text("hostname", settings.hostname);
  reader.choice("boot", boot_words(), settings.boot);
  reader.flag("cgroup_v1", settings.cgroup_v1);
  if (const auto entrypoint = object.find("entrypoint");
      entrypoint != object.end() && !entrypoint->is_null()) {
    settings.entrypoint.emplace();
    reader.texts("entrypoint", *settings.entrypoint);
  }
  reader.texts("environment", settings.environment);
  reader.text("user", settings.user);
  reader.text("workdir", settings.workdir);
  reader.texts("command", settings.guest_command);
  reader.texts("ssh_keys", settings.ssh_keys);
  reader.texts("labels", settings.labels);
  reader.flag("disk_root", settings.disk_root);
  reader.flag("no_initrd", settings.no_initrd);
  reader.choice("disk_format", disk_words(), settings.disk_format);
  std::string restart = "no";
  reader.text("restart", restart);
  if (!parse_restart(restart, settings)) reader.wrong("restart");
  reader.flag("remove_at_end", settings.remove_at_end);
  reader.text("root_password_hash", settings.root_password_hash);
  reader.flag("autologin", settings.autologin);
  reader.flag("docker", settings.docker);
  reader.flag("ephemeral", settings.ephemeral);
  reader.flag("writeback", settings.writeback);
  reader.choice("upper", upper_words(), settings.upper);
  reader.number("swap_bytes", settings.swap_bytes);
  read_network(reader, settings);
  read_mounts(reader, settings);
  reader.objects("sockets", settings.sockets, [](Reader& member, SharedSocket& socket) {
    member.text("host", socket.host);
    member.text("guest", socket.guest);
  });
  LB_TRY(reader.done());
  return settings;
}

std::string option_of_member(std::string_view member) {
  constexpr auto kOthers = std::to_array<std::pair<std::string_view, std::string_view>>({
      {"memory_bytes", "--memory"},
      {"more_nets", "--net"},
      {"cgroup_v1", "--cgroup"},
      {"environment", "--env"},
      {"command", "COMMAND"},
      {"ssh_keys", "--ssh-key"},
      {"volumes", "--volume"},
      {"published", "--publish"},
      {"hosts", "--add-host"},
      {"labels", "--label"},
      {"disk_root", "--disk-image"},
      {"sockets", "--socket"},
      {"swap_bytes", "--swap"},
      {"remove_at_end", "--rm"},
      {"root_password_hash", "--password"},
  });
  const auto* const other =
      std::ranges::find(kOthers, member, &std::pair<std::string_view, std::string_view>::first);
  if (other != kOthers.end()) return std::string(other->second);
  std::string option = str_cat("--", member);
  std::ranges::replace(option, '_', '-');
  return option;
}

Result<void> check_can_be_kept(const RunSettings& settings) {
  const json said = settings_to_json(settings);
  for (const auto& [member, value] : said.items()) {
    const json leaves = value.flatten();
    for (const auto& [path, leaf] : leaves.items()) {
      const std::string text = leaf.is_string() ? leaf.get<std::string>() : "";
      if (!is_utf8(text) || !is_utf8(path))
        return fail(EINVAL, option_of_member(member), " ", text.empty() ? path : text,
                    ": is not UTF-8, and can't be kept for the VM's next start: give it another name");
    }
  }
  return {};
}

std::vector<std::string> settings_beside(const RunSettings& settings,
                                         std::span<const std::string_view> known) {
  const json plain = settings_to_json({});
  const json said = settings_to_json(settings);
  std::vector<std::string> beside;
  for (const auto& [member, value] : said.items()) {
    const std::string option = option_of_member(member);
    const bool is_known = std::ranges::find(known, member) != known.end();
    if (!is_known && value != plain.at(member) && std::ranges::find(beside, option) == beside.end())
      beside.push_back(option);
  }
  return beside;
}

}  // namespace layerboot::launcher
