#include "guest-init/cmdline.h"

namespace guest_init {

namespace {

/// One parameter without its quotes; `line` moves past it.
std::string next_word(std::string_view& line) {
  std::string word;
  bool quoted = false;
  std::size_t at = 0;
  for (; at < line.size(); ++at) {
    const char c = line[at];
    if (c == '"') {
      quoted = !quoted;
      continue;
    }
    if (!quoted && (c == ' ' || c == '\t' || c == '\n')) break;
    word += c;
  }
  line.remove_prefix(at);
  return word;
}

bool names_disk(std::string_view root) {
  return root.starts_with("/dev/") || root.starts_with("UUID=") || root.starts_with("LABEL=");
}

void skip_blanks(std::string_view& line) {
  while (!line.empty() && (line.front() == ' ' || line.front() == '\t' || line.front() == '\n'))
    line.remove_prefix(1);
}

/// Nothing happens to what names no tag or no absolute path.
void add_share(BootOptions& options, std::string value) {
  Share share;
  for (const std::string_view mode : {":ro", ":rw"}) {
    if (!value.ends_with(mode)) continue;
    share.read_only = mode == ":ro";
    value.resize(value.size() - mode.size());
    break;
  }
  const std::size_t colon = value.find(':');
  if (colon == std::string::npos || colon == 0 || value.substr(colon + 1, 1) != "/") return;
  share.tag = value.substr(0, colon);
  share.path = value.substr(colon + 1);
  options.shares.push_back(std::move(share));
}

void take_upper(BootOptions& options, std::string_view value) {
  GuestUpper upper;
  const std::string_view kind = value.substr(0, value.find(','));
  if (kind != "ram" && !kind.starts_with("/dev/")) return;
  if (kind != "ram") upper.device = kind;
  while (value.find(',') != std::string_view::npos) {
    value.remove_prefix(value.find(',') + 1);
    const std::string_view word = value.substr(0, value.find(','));
    constexpr std::string_view kSize = "size=";
    if (word == "volatile") upper.is_volatile = true;
    if (word.starts_with(kSize)) upper.size = word.substr(kSize.size());
  }
  options.upper = std::move(upper);
}

NetChoice net_choice(std::string_view word) {
  if (word == "user") return NetChoice::kStatic;
  if (word == "dhcp") return NetChoice::kDhcp;
  return word == "up" ? NetChoice::kUp : NetChoice::kLeave;
}

void take_networks(BootOptions& options, std::string_view words) {
  options.net = net_choice(words.substr(0, words.find(',')));
  options.more_nets.clear();
  for (auto comma = words.find(','); comma != std::string_view::npos; comma = words.find(',')) {
    words.remove_prefix(comma + 1);
    options.more_nets.push_back(net_choice(words.substr(0, words.find(','))));
  }
}

void apply_ours(BootOptions& options, std::string_view name, const std::string& value) {
  if (name == "mount") add_share(options, value);
  if (name == "shell") options.shell_once = value == "once";
  if (name == "cgroup") options.cgroup_v1 = value == "1";
  if (name == "resolver") options.keep_resolver = value == "image";
  if (name == "net") take_networks(options, value);
  if (name == "upper") take_upper(options, value);
  if (name == "modules") options.modules = value;
  if (name == "swap") options.swap = value;
  if (name == "run" && value == "init") options.run = RunChoice::kInit;
  if (name == "run" && value == "command") options.run = RunChoice::kCommand;
}

void apply(BootOptions& options, bool& type_given, std::string_view word) {
  const std::size_t equals = word.find('=');
  const std::string_view name = word.substr(0, equals);
  const std::string value(equals == std::string_view::npos ? std::string_view() : word.substr(equals + 1));
  if (equals == std::string_view::npos) {
    if (name == "ro") options.read_only = true;
    if (name == "rw") options.read_only = false;
    if (name == "single") options.single = true;
    if (name == "layerboot.probe") options.probe = true;
    if (name == "layerboot.timing") options.timing = true;
    if (name == "layerboot.agent") options.agent = true;
    return;
  }
  if (value.empty()) return;
  constexpr std::string_view kOurs = "layerboot.";
  if (name.starts_with(kOurs)) apply_ours(options, name.substr(kOurs.size()), value);
  if (name == "root") options.root = value;
  if (name == "rootflags") options.root_flags = value;
  if (name == "init") options.init = value;
  if (name == "rootfstype") {
    options.root_type = value;
    type_given = true;
  }
}

}  // namespace

NetChoice net_of_card(const BootOptions& options, std::size_t before) {
  if (before == 0) return options.net;
  const auto& more = options.more_nets;
  if (before <= more.size()) return more[before - 1];
  const NetChoice last = more.empty() ? options.net : more.back();
  return last == NetChoice::kUp ? last : NetChoice::kLeave;
}

BootOptions parse_command_line(std::string_view line) {
  BootOptions options;
  bool type_given = false;
  bool for_init = false;
  for (skip_blanks(line); !line.empty(); skip_blanks(line)) {
    std::string word = next_word(line);
    if (for_init) {
      options.init_arguments.push_back(std::move(word));
    } else if (word == "--") {
      for_init = true;
    } else {
      apply(options, type_given, word);
    }
  }
  if (!type_given && names_disk(options.root)) options.root_type = "ext4";
  return options;
}

}  // namespace guest_init
