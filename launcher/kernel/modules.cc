#include "launcher/kernel/modules.h"

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <set>

#include "guest-init/module_index.h"
#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {

namespace {

// Device numbers of the virtio specification, section 5.
constexpr std::array kVirtioDevices = {
    1U,   // network
    2U,   // block
    3U,   // console
    4U,   // entropy
    5U,   // memory balloon
    8U,   // SCSI host
    19U,  // socket
    26U,  // file system
};

std::string module_name(std::string_view path) {
  path.remove_prefix(path.rfind('/') + 1);
  std::string name(path.substr(0, path.find('.')));
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

template <typename Visit>
void for_each_piece(std::string_view text, char end, Visit visit) {
  while (!text.empty()) {
    const std::size_t length = text.find(end);
    visit(text.substr(0, length));
    text.remove_prefix(length == std::string_view::npos ? text.size() : length + 1);
  }
}

/// modules.builtin.modinfo holds "MODULE.alias=PATTERN".
bool built_in_serves(const ModuleTexts& texts, std::string_view alias) {
  const std::string wanted(alias);
  bool found = false;
  for_each_piece(texts.builtin_modinfo, '\0', [&](std::string_view record) {
    const std::size_t mark = record.find(".alias=");
    if (mark == std::string_view::npos) return;
    const std::string pattern(record.substr(mark + 7));
    found = found || ::fnmatch(pattern.c_str(), wanted.c_str(), 0) == 0;
  });
  // Kernels older than modules.builtin.modinfo: a file system's module bears its name.
  if (alias.starts_with("fs-")) {
    const std::string name = module_name(alias.substr(3));
    for_each_piece(texts.builtin, '\n',
                   [&](std::string_view path) { found = found || module_name(path) == name; });
  }
  return found;
}

}  // namespace

std::vector<std::string> boot_aliases() {
  std::vector<std::string> aliases = {
      "pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00",  // any virtio device on PCI
      "acpi:LNRO0005:",                                         // virtio-mmio, told by ACPI
      "of:NvirtioT(null)Cvirtio,mmio",                          // and by a device tree
      "fs-virtiofs",
      "fs-ext4",
      "fs-overlay",
  };
  for (const unsigned device : kVirtioDevices) {
    char text[40];
    std::snprintf(text, sizeof(text), "virtio:d%08Xv00001AF4", device);
    aliases.emplace_back(text);
  }
  return aliases;
}

std::vector<std::string> appliance_aliases() {
  auto aliases = boot_aliases();
  for (const char* alias : {
           "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01",  // AHCI
           "pci:v00008086d00007010sv00001AF4sd00001100bc01sc01i80",  // IDE of the 440FX
           "scsi:t-0x00",  // a disk, of virtio-scsi and of both of these
           "scsi:t-0x05",  // a CD
           "pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00",  // e1000
           "pci:v00008086d000010D3sv00008086sd00000000bc02sc00i00",  // e1000e
           "pci:v000010ECd00008139sv00001AF4sd00001100bc02sc00i00",  // rtl8139
           "pci:v000015ADd000007B0sv000015ADsd000007B0bc02sc00i00",  // vmxnet3
           "acpi:QEMU0002:",                                         // fw_cfg
       }) {
    aliases.emplace_back(alias);
  }
  return aliases;
}

bool serves(const ModuleTexts& texts, std::string_view alias) {
  return built_in_serves(texts, alias) ||
         !guest_init::ModuleIndex(texts.dep, texts.alias).files_for(alias).empty();
}

std::string_view uncompressed_name(std::string_view file) {
  for (const std::string_view suffix : {".xz", ".zst", ".gz"}) {
    if (file.ends_with(suffix)) file.remove_suffix(suffix.size());
  }
  return file;
}

ModuleSelection select_modules(const ModuleTexts& texts, const std::vector<std::string>& aliases) {
  const guest_init::ModuleIndex index(texts.dep, texts.alias);
  ModuleSelection selection;
  std::set<std::string, std::less<>> files;
  std::set<std::string, std::less<>> names;
  for (const auto& alias : aliases) {
    for (const auto& file : index.files_for(alias)) {
      if (!files.insert(file).second) continue;
      names.insert(module_name(file));
      selection.files.push_back(file);
    }
  }
  for_each_piece(texts.dep, '\n', [&](std::string_view line) {
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || !files.contains(line.substr(0, colon))) return;
    selection.dep += str_cat(uncompressed_name(line.substr(0, colon)), ':');
    for_each_piece(line.substr(colon + 1), ' ', [&](std::string_view file) {
      if (!file.empty()) selection.dep += str_cat(' ', uncompressed_name(file));
    });
    selection.dep += '\n';
  });
  for_each_piece(texts.alias, '\n', [&](std::string_view line) {
    if (line.starts_with("alias ") && names.contains(module_name(line.substr(line.rfind(' ') + 1)))) {
      selection.alias += str_cat(line, '\n');
    }
  });
  return selection;
}

}  // namespace layerboot::launcher
