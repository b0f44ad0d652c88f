#include "launcher/vm/binfmt_layer.h"

#include <elf.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "launcher/host/programs.h"
#include "launcher/kernel/initrd.h"
#include "launcher/vm/split_off.h"
#include "launcher/vm/tar_writer.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/store/platform.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxInterpreterBytes = std::size_t{64} << 20;
constexpr std::string_view kFolder = "usr/lib/layerboot/";
constexpr std::array kEmulated = {
    EmulatedPrograms{"arm64", "aarch64", true, false, EM_AARCH64},
    EmulatedPrograms{"arm", "arm", false, false, EM_ARM},
    EmulatedPrograms{"riscv64", "riscv64", true, false, EM_RISCV},
    EmulatedPrograms{"amd64", "x86_64", true, false, EM_X86_64},
    EmulatedPrograms{"ppc64le", "ppc64le", true, false, EM_PPC64},
    EmulatedPrograms{"s390x", "s390x", true, true, EM_S390},
};

const EmulatedPrograms* find_programs(std::string_view name) {
  const auto* const found = std::ranges::find(kEmulated, name, &EmulatedPrograms::name);
  return found == kEmulated.end() ? nullptr : found;
}

/// "\x7f\x45…", as the kernel unescapes it.
std::string escaped(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    char code[5];
    std::snprintf(code, sizeof(code), "\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
    text += code;
  }
  return text;
}

/// The beginning of an ELF header up to e_machine.
std::string header_of(const EmulatedPrograms& programs) {
  std::string bytes(20, '\0');
  bytes.replace(0, 4, ELFMAG);
  bytes[EI_CLASS] = programs.wide ? ELFCLASS64 : ELFCLASS32;
  bytes[EI_DATA] = programs.big_endian ? ELFDATA2MSB : ELFDATA2LSB;
  bytes[EI_VERSION] = EV_CURRENT;
  const auto put = [&](std::size_t at, std::uint16_t value) {
    bytes[programs.big_endian ? at + 1 : at] = static_cast<char>(value & 0xffU);
    bytes[programs.big_endian ? at : at + 1] = static_cast<char>(value >> 8U);
  };
  put(16, ET_EXEC);
  put(18, programs.elf_machine);
  return bytes;
}

/// Of that, what counts: neither EI_OSABI nor what tells ET_EXEC and ET_DYN apart.
std::string mask_of(const EmulatedPrograms& programs) {
  std::string bytes(20, '\xff');
  bytes[EI_OSABI] = 0;
  bytes[programs.big_endian ? 17 : 16] = '\xfe';
  return bytes;
}

}  // namespace

std::span<const EmulatedPrograms> emulated_programs() { return kEmulated; }

Result<std::vector<std::string>> parse_binfmt(std::string_view text) {
  std::vector<std::string> names;
  for (bool more = true; more;) {
    more = text.find(',') != std::string_view::npos;
    const std::string_view word = split_off(text, ',');
    const auto platform =
        store::parse_platform(word.find('/') == word.npos ? str_cat("linux/", word) : std::string(word));
    const bool known =
        platform && platform->os == "linux" && find_programs(platform->architecture) != nullptr;
    if (!known || platform->architecture == own_architecture().name) {
      std::string list;
      for (const EmulatedPrograms& programs : kEmulated) {
        if (programs.name != own_architecture().name)
          list += str_cat(list.empty() ? "" : ", ", programs.name);
      }
      return fail(EINVAL, "'", word, "': programs can be emulated for ", list);
    }
    if (std::ranges::find(names, platform->architecture) == names.end())
      names.push_back(platform->architecture);
  }
  return names;
}

std::string registration(const EmulatedPrograms& programs, std::string_view interpreter) {
  return str_cat(":layerboot-", programs.qemu, ":M::", escaped(header_of(programs)), ':',
                 escaped(mask_of(programs)), ':', interpreter, ":OPF\n");
}

Result<fs::path> find_interpreter(const EmulatedPrograms& programs, const Architecture& guest) {
  fs::path unfit;
  // Since Debian 13 qemu-user has them, static and without the ending; before, its are dynamic.
  for (const char* const ending : {"-static", ""}) {
    auto found = find_in_path(str_cat("qemu-", programs.qemu, ending));
    if (!found) continue;
    const auto program = read_file(*found, kMaxInterpreterBytes);
    if (program && is_static_program(*program) && is_program_for(*program, guest)) return found;
    unfit = *std::move(found);
  }
  if (!unfit.empty())
    return fail(EINVAL, unfit.string(), " is not a static program for ", guest.name,
                ", as qemu-user-static has it: apt install qemu-user-static");
  return fail(ENOENT, "qemu-", programs.qemu, "-static is not installed: apt install qemu-user-static");
}

fs::path binfmt_layer_path(const StateDirs& dirs, std::string_view name) {
  return dirs.data / "binfmt" / str_cat(name, ".tar");
}

namespace {

Result<fs::path> binfmt_layer(const StateDirs& dirs, const EmulatedPrograms& programs,
                              const Architecture& guest) {
  LB_ASSIGN(const fs::path interpreter, find_interpreter(programs, guest));
  LB_ASSIGN(const std::string program, read_file(interpreter, kMaxInterpreterBytes));
  const std::string path = str_cat(kFolder, "qemu-", programs.qemu);
  TarWriter tar;
  LB_TRY(tar.add_file(str_cat("etc/binfmt.d/layerboot-", programs.qemu, ".conf"),
                      registration(programs, str_cat('/', path))));
  LB_TRY(tar.add_file(path, program, 0755));
  const std::string bytes = tar.finish();
  const fs::path layer = binfmt_layer_path(dirs, programs.name);
  if (const auto present = read_file(layer, 2 * kMaxInterpreterBytes); present && *present == bytes)
    return layer;
  LB_TRY(make_directories(layer.parent_path()));
  LB_ASSIGN(auto file, AtomicFile::create(layer));
  LB_TRY(file.append(as_bytes(bytes)));
  LB_TRY(file.commit());
  return layer;
}

}  // namespace

Result<std::vector<fs::path>> binfmt_layers(const StateDirs& dirs, const std::vector<std::string>& names,
                                            const Architecture& guest) {
  std::vector<fs::path> layers;
  for (const std::string& name : names) {
    const EmulatedPrograms* const programs = find_programs(name);
    if (programs == nullptr) return fail(EINVAL, "no programs for ", name, " can be emulated");
    auto layer = binfmt_layer(dirs, *programs, guest);
    if (!layer) return while_doing(layer.error(), "--binfmt ", name);
    layers.push_back(*std::move(layer));
  }
  return layers;
}

}  // namespace layerboot::launcher
