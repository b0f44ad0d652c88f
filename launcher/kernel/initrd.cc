#include "launcher/kernel/initrd.h"

#include <elf.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>

#include <set>

#include "launcher/host/run_tool.h"
#include "launcher/kernel/cpio.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/printable.h"

namespace layerboot::launcher {

namespace {

constexpr std::size_t kMaxTextBytes = std::size_t{16} << 20;
constexpr std::size_t kMaxModuleBytes = std::size_t{64} << 20;
constexpr std::size_t kMaxGuestInitBytes = std::size_t{64} << 20;
constexpr std::size_t kMaxProgramBytes = std::size_t{16} << 20;

/// A file of a module tree, which names its files itself (modules.dep): by no way out of the tree.
Result<UniqueFd> open_in_tree(const UniqueFd& tree, const std::string& name) {
  auto fd = open_resolving(tree.get(), name.c_str(), O_RDONLY | O_NONBLOCK,
                           RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
  struct stat st{};
  if (fd && (::fstat(fd->get(), &st) != 0 || !S_ISREG(st.st_mode))) return fail(EINVAL, "no file");
  return fd;
}

Result<std::string> read_in_tree(const UniqueFd& tree, const std::string& name, std::size_t max_bytes) {
  LB_ASSIGN(const UniqueFd fd, open_in_tree(tree, name));
  return read_all(fd.get(), max_bytes);
}

Result<std::string> read_text(const UniqueFd& tree, const std::string& name) {
  auto text = read_in_tree(tree, name, kMaxTextBytes);
  if (!text) return while_doing(text.error(), name);
  return text;
}

Result<std::string> read_optional(const UniqueFd& tree, const std::string& name) {
  auto text = read_text(tree, name);
  if (!text && text.error().code == ENOENT) return std::string();
  return text;
}

Result<std::string> read_module(const UniqueFd& tree, const std::string& name, unsigned user) {
  const std::string suffix = std::filesystem::path(name).extension().string();
  ToolSpec tool;
  if (suffix == ".xz") tool.argv = {"xz", "-dc"};
  if (suffix == ".zst") tool.argv = {"zstd", "-qdc"};
  if (suffix == ".gz") tool.argv = {"gzip", "-dc"};
  if (tool.argv.empty()) return read_in_tree(tree, name, kMaxModuleBytes);
  LB_ASSIGN(const UniqueFd fd, open_in_tree(tree, name));
  tool.input = fd.get();
  tool.user = user;
  return run_tool(tool);
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
  LB_ASSIGN(const UniqueFd tree, open_path(modules_directory, O_PATH | O_DIRECTORY));
  ModuleTexts texts;
  LB_ASSIGN(texts.dep, read_text(tree, "modules.dep"));
  LB_ASSIGN(texts.alias, read_text(tree, "modules.alias"));
  LB_ASSIGN(texts.builtin, read_optional(tree, "modules.builtin"));
  LB_ASSIGN(texts.builtin_modinfo, read_optional(tree, "modules.builtin.modinfo"));
  return texts;
}

Result<std::string> modules_archive(const std::filesystem::path& modules_directory,
                                    const std::string& release, const ModuleTexts& texts,
                                    const std::vector<std::string>& aliases, unsigned user) {
  LB_ASSIGN(const UniqueFd tree, open_path(modules_directory, O_PATH | O_DIRECTORY));
  const ModuleSelection selection = select_modules(texts, aliases);
  const std::string base = str_cat("lib/modules/", release, '/');
  CpioWriter archive;
  std::set<std::string> made;
  LB_TRY(add_parents(archive, made, base));
  LB_TRY(archive.add_file(base + "modules.dep", selection.dep));
  LB_TRY(archive.add_file(base + "modules.alias", selection.alias));
  for (const auto& file : selection.files) {
    auto content = read_module(tree, file, user);
    if (!content) return while_doing(content.error(), "module ", printable(file));
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
