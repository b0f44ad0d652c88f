#include "guest-init/tmpfs_options.h"

#include <sys/mount.h>

#include <array>

namespace guest_init {

namespace {

struct FlagWord {
  std::string_view word;
  unsigned long flag;
  bool set;
};

constexpr std::array kFlagWords = {FlagWord{"ro", MS_RDONLY, true},      FlagWord{"rw", MS_RDONLY, false},
                                   FlagWord{"noexec", MS_NOEXEC, true},  FlagWord{"exec", MS_NOEXEC, false},
                                   FlagWord{"nosuid", MS_NOSUID, true},  FlagWord{"suid", MS_NOSUID, false},
                                   FlagWord{"nodev", MS_NODEV, true},    FlagWord{"dev", MS_NODEV, false},
                                   FlagWord{"noatime", MS_NOATIME, true}};

bool take_flag(std::string_view word, unsigned long& flags) {
  for (const FlagWord& known : kFlagWords) {
    if (known.word != word) continue;
    flags = known.set ? flags | known.flag : flags & ~known.flag;
    return true;
  }
  return false;
}

}  // namespace

TmpfsOptions parse_tmpfs_options(std::string_view text) {
  TmpfsOptions options{.flags = MS_NOEXEC | MS_NOSUID | MS_NODEV, .data = {}};
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(','));
    text.remove_prefix(word.size() < text.size() ? word.size() + 1 : text.size());
    if (!word.empty() && !take_flag(word, options.flags)) options.data += "," + std::string(word);
  }
  if (options.data.find(",mode=") == std::string::npos) options.data += ",mode=1777";
  options.data.erase(0, 1);
  return options;
}

}  // namespace guest_init
