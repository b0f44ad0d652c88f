#include "launcher/kernel/initrd.h"

#include <elf.h>
#include <fcntl.h>

#include <set>

#include "launcher/host/run_tool.h"
#include "launcher/kernel/cpio.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"

namespace layerboot::launcher {

namespace {

constexpr std::size_t kMaxTextBytes = std::size_t{16} << 20;
constexpr std::size_t kMaxModuleBytes = std::size_t{64} << 20;
constexpr std::size_t kMaxGuestInitBytes = std::size_t{64} << 20;
constexpr std::size_t kMaxProgramBytes = std::size_t{16} << 20;

Result<std::string> read_optional(const std::filesystem::path& path) {
  auto text = read_file(path, kMaxTextBytes);
  if (!text && text.error().code == ENOENT) return std::string();
  return text;
}

Result<std::string> read_module(const std::filesystem::path& file) {
  const std::string suffix = file.extension().string();
  if (suffix == ".xz") return run_tool({"xz", "-dc", "--", file.string()});
  if (suffix == ".zst") return run_tool({"zstd", "-qdc", "--", file.string()});
  if (suffix == ".gz") return run_tool({"gzip", "-dc", "--", file.string()});
  return read_file(file, kMaxModuleBytes);
}

std::string first_static_program(std::initializer_list<const char*> paths) {
  for (const char* path : paths) {
    auto bytes = read_file(path, kMaxProgramBytes);
    if (bytes && is_static_program(*bytes)) return *std::move(bytes);
  }
  return {};
}

/// Adds the directories on the way to `path` that are not there yet.
Result<void> add_parents(CpioWriter& archive, std::set<std::string>& made, std::string_view path) {
  for (std::size_t slash = path.find('/'); slash != std::string_view::npos;
       slash = path.find('/', slash + 1)) {
    const std::string parent(path.substr(0, slash));
    if (made.insert(parent).second) LB_TRY(archive.add_directory(parent));
  }
  return {};
}

}  // namespace

Result<ModuleTexts> read_module_texts(const std::filesystem::path& modules_directory) {
  ModuleTexts texts;
  LB_ASSIGN(texts.dep, read_file(modules_directory / "modules.dep", kMaxTextBytes));
  LB_ASSIGN(texts.alias, read_file(modules_directory / "modules.alias", kMaxTextBytes));
  LB_ASSIGN(texts.builtin, read_optional(modules_directory / "modules.builtin"));
  LB_ASSIGN(texts.builtin_modinfo, read_optional(modules_directory / "modules.builtin.modinfo"));
  return texts;
}

Result<std::string> modules_archive(const std::filesystem::path& modules_directory,
                                    const std::string& release, const ModuleTexts& texts,
                                    const std::vector<std::string>& aliases) {
  const ModuleSelection selection = select_modules(texts, aliases);
  const std::string base = str_cat("lib/modules/", release, '/');
  CpioWriter archive;
  std::set<std::string> made;
  LB_TRY(add_parents(archive, made, base));
  LB_TRY(archive.add_file(base + "modules.dep", selection.dep));
  LB_TRY(archive.add_file(base + "modules.alias", selection.alias));
  for (const auto& file : selection.files) {
    auto content = read_module(modules_directory / file);
    if (!content) return while_doing(content.error(), "module ", file);
    const std::string path = str_cat(base, uncompressed_name(file));
    LB_TRY(add_parents(archive, made, path));
    LB_TRY(archive.add_file(path, *content));
  }
  return archive.finish();
}

Result<std::string> init_archive(std::string_view guest_init, std::string_view busybox,
                                 std::string_view e2fsck) {
  CpioWriter archive;
  for (const char* directory : {"bin", "dev", "newroot", "proc", "run", "sys"}) {
    LB_TRY(archive.add_directory(directory));
  }
  LB_TRY(archive.add_file("init", guest_init, 0755));
  if (!busybox.empty()) LB_TRY(archive.add_file("bin/busybox", busybox, 0755));
  if (!e2fsck.empty()) LB_TRY(archive.add_file("bin/e2fsck", e2fsck, 0755));
  return archive.finish();
}

Result<std::string> host_init_archive(const std::filesystem::path& guest_init_binary) {
  LB_ASSIGN(const std::string guest_init, read_guest_init(guest_init_binary));
  return init_archive(guest_init, read_static_busybox(), read_static_e2fsck());
}

Result<std::string> read_guest_init(const std::filesystem::path& binary, const Architecture& architecture) {
  auto guest_init = read_file(binary, kMaxGuestInitBytes);
  if (!guest_init) return while_doing(guest_init.error(), "guest-init is missing: build or install it");
  if (!is_static_program(*guest_init)) return fail(EINVAL, binary.string(), " is not a static program");
  if (!is_program_for(*guest_init, architecture))
    return fail(EINVAL, binary.string(), " is not for ", architecture.name);
  return guest_init;
}

bool is_program_for(std::string_view bytes, const Architecture& architecture) {
  ByteReader reader(as_bytes(bytes));
  const auto header = reader.read<Elf64_Ehdr>();
  return reader.ok() && bytes.starts_with(ELFMAG) && header.e_machine == architecture.elf_machine;
}

bool is_static_program(std::string_view bytes) {
  ByteReader reader(as_bytes(bytes));
  const auto header = reader.read<Elf64_Ehdr>();
  if (!reader.ok() || !bytes.starts_with(ELFMAG) || header.e_ident[EI_CLASS] != ELFCLASS64) return false;
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phoff > bytes.size()) return false;
  ByteReader segments(as_bytes(bytes.substr(header.e_phoff)));
  bool loadable = false;
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    const auto segment = segments.read<Elf64_Phdr>();
    if (!segments.ok() || segment.p_type == PT_INTERP) return false;
    loadable = loadable || segment.p_type == PT_LOAD;
  }
  return loadable;
}

std::string read_static_busybox() {
  return first_static_program({"/bin/busybox", "/usr/bin/busybox", "/usr/local/bin/busybox"});
}

std::string read_static_e2fsck() {
  return first_static_program({"/sbin/e2fsck.static", "/usr/sbin/e2fsck.static", "/sbin/e2fsck"});
}

}  // namespace layerboot::launcher
