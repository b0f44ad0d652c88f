#include "oci-mount/store/containerd.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <vector>

#include "oci-mount/base/exec_pointers.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::store {

namespace {

constexpr std::size_t kMaxOutputBytes = 1U << 20U;

/// Runs `arguments` (the first is found in $PATH) with standard output and error in one pipe; gives what
/// came, or an error with its last words.
Result<std::string> run(std::vector<std::string> arguments) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return errno_error("pipe");
  UniqueFd out(ends[0]);
  UniqueFd in(ends[1]);
  const auto argv = exec_pointers(arguments);
  posix_spawn_file_actions_t actions;
  if (::posix_spawn_file_actions_init(&actions) != 0)
    return fail(ENOMEM, "no memory to start ", arguments[0]);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, in.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, in.get(), STDERR_FILENO);
  pid_t child = 0;
  const int code = ::posix_spawnp(&child, arguments[0].c_str(), &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (code != 0) {
    return fail(code, "can't start ", arguments[0], ": ", Error{code, {}}.describe(),
                "; it comes with containerd's package");
  }
  in = UniqueFd();
  auto output = read_all(out.get(), kMaxOutputBytes);
  out = UniqueFd();  // a child that still writes is ended by that
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!output) return while_doing(output.error(), "output of ", arguments[0]);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return fail(EIO, arguments[0], " failed: ", output->substr(0, output->find('\n')));
  return output;
}

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  while (!line.empty()) {
    const auto begin = line.find_first_not_of(" \t\r");
    if (begin == std::string_view::npos) break;
    line.remove_prefix(begin);
    const auto end = line.find_first_of(" \t\r");
    words.push_back(line.substr(0, end));
    line.remove_prefix(end == std::string_view::npos ? line.size() : end);
  }
  return words;
}

}  // namespace

std::filesystem::path containerd_root() {
  const char* const root = std::getenv("LAYERBOOT_CONTAINERD_ROOT");
  return root != nullptr && *root == '/' ? root : "/var/lib/containerd";
}

std::filesystem::path containerd_blobs(const std::filesystem::path& root) {
  return root / "io.containerd.content.v1.content" / "blobs";
}

Result<ManifestDescriptor> parse_ctr_list(std::string_view text) {
  bool header = true;
  while (!text.empty()) {
    const auto end = text.find('\n');
    const auto words = words_of(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    const bool is_header = header && !words.empty() && words[0] == "REF";
    if (is_header) header = false;
    if (is_header || words.size() < 3) continue;
    // REF TYPE DIGEST …
    ManifestDescriptor entry;
    entry.kind =
        words[1].find("index") != std::string_view::npos || words[1].find("list") != std::string_view::npos
            ? DocumentKind::kIndex
            : DocumentKind::kManifest;
    LB_ASSIGN(entry.digest, Digest::parse(words[2]));
    return entry;
  }
  return fail(ENOENT, "ctr lists no such image");
}

Result<ManifestDescriptor> find_in_containerd(const Reference& reference) {
  for (const std::string& name : reference.names) {
    auto listed =
        run({"ctr", "--connect-timeout", "10s", "--timeout", "60s", "images", "ls", str_cat("name==", name)});
    if (!listed) {
      return while_doing(listed.error(), "image \"", reference.text,
                         "\" (is containerd running, and is CONTAINERD_ADDRESS its socket?)");
    }
    auto found = parse_ctr_list(*listed);
    if (!found && found.error().code == ENOENT) continue;
    if (!found) return while_doing(found.error(), "image \"", reference.text, "\": what ctr printed");
    const auto path =
        containerd_blobs(reference.layout) / found->digest.algorithm_name() / found->digest.hex();
    struct stat st{};
    if (::stat(path.c_str(), &st) != 0) {
      return errno_error("image \"", reference.text, "\": its document ", path.string(),
                         " can't be read (LAYERBOOT_CONTAINERD_ROOT names another root than ",
                         reference.layout.string(), ")");
    }
    found->size_bytes = static_cast<std::uint64_t>(st.st_size);
    return found;
  }
  const char* const space = std::getenv("CONTAINERD_NAMESPACE");
  return fail(ENOENT, "no image \"", reference.text, "\" in containerd's namespace \"",
              space != nullptr ? space : "default",
              "\": ctr images ls shows what there is; CONTAINERD_NAMESPACE chooses another (k8s.io, moby)");
}

}  // namespace layerboot::store
