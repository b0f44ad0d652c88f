#include "tests/process/private_containerd.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "oci-mount/base/str_cat.h"
#include "tests/support/image_builder.h"

namespace layerboot::test {

namespace {

namespace fs = std::filesystem;

constexpr int kMostStartTries = 100;
constexpr useconds_t kStartTryInterval = 100'000;
// `ctr images import` holds no lease on the snapshots of layers that it finds there already (containerd 1.6):
// a collection between two layers takes the parent away, and the import fails. Nothing is collected here.
constexpr const char* kNoCollection =
    "[plugins.\"io.containerd.gc.v1.scheduler\"]\n  deletion_threshold = 0\n  mutation_threshold = 0\n"
    "  startup_delay = \"24h\"\n";
constexpr const char* kRepository = "docker.io/library/case";

}  // namespace

PrivateContainerd::PrivateContainerd(fs::path directory) : directory_(std::move(directory)) {
  fs::create_directories(directory_);
  const std::string home = directory_.string();
  write_text(directory_ / "config.toml",
             str_cat("version = 2\nroot = \"", home, "/root\"\nstate = \"", home,
                     "/state\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = \"",
                     home, "/sock\"\n[ttrpc]\n  address = \"", home, "/ttrpc\"\n", kNoCollection));
  const std::string config = (directory_ / "config.toml").string();
  const char* const argv[] = {"containerd", "--config", config.c_str(), nullptr};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  const std::string log = (directory_ / "log").string();
  ::posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT, 0600);
  ::posix_spawn_file_actions_adddup2(&actions, 1, 2);
  if (::posix_spawnp(&pid_, argv[0], &actions, nullptr, const_cast<char**>(argv), environ) != 0) pid_ = -1;
  ::posix_spawn_file_actions_destroy(&actions);
  if (pid_ < 0) {
    why_not_ = "containerd is not installed (Debian package containerd)";
    return;
  }
  for (int i = 0; i < kMostStartTries; ++i) {
    if (ctr({"version"}).exit_code == 0) return;
    ::usleep(kStartTryInterval);
  }
  why_not_ = "containerd does not answer: " + read_text(log);
}

PrivateContainerd::~PrivateContainerd() {
  for (const auto& mounted : mounts_) ::umount2(mounted.c_str(), MNT_DETACH);
  if (pid_ < 0) return;
  ::kill(pid_, SIGTERM);
  ::waitpid(pid_, nullptr, 0);
}

std::vector<std::string> PrivateContainerd::ctr_words(std::vector<std::string> words) const {
  words.insert(words.begin(), {"ctr", "--address", (directory_ / "sock").string()});
  return words;
}

Outcome PrivateContainerd::ctr(const std::vector<std::string>& words) const {
  return run_program(ctr_words(words), directory_);
}

Result<void> PrivateContainerd::succeed(const std::vector<std::string>& words) const {
  const Outcome outcome = run_program(words, directory_);
  if (outcome.exit_code == 0) return {};
  std::string command;
  for (const auto& word : words) command += word + ' ';
  return fail(ECHILD, command, "ended with ", outcome.exit_code, ": ", outcome.out, outcome.err);
}

void PrivateContainerd::put_into_environment() const {
  ::setenv("CONTAINERD_ADDRESS", (directory_ / "sock").c_str(), 1);
  ::setenv("LAYERBOOT_CONTAINERD_ROOT", (directory_ / "root").c_str(), 1);
}

fs::path PrivateContainerd::blobs() const {
  return directory_ / "root/io.containerd.content.v1.content/blobs/sha256";
}

Result<std::string> PrivateContainerd::import(const fs::path& layout, const std::string& tag,
                                              const std::vector<std::string>& how) {
  const std::string archive = (directory_ / (tag + ".tar")).string();
  LB_TRY(succeed({"skopeo", "copy", "--quiet", str_cat("oci:", layout.string(), ":", tag),
                  str_cat("oci-archive:", archive, ":", tag)}));
  std::vector<std::string> words{"images", "import", "--base-name", kRepository};
  words.insert(words.end(), how.begin(), how.end());
  words.push_back(archive);
  LB_TRY(succeed(ctr_words(words)));
  return str_cat(kRepository, ":", tag);
}

Result<std::string> PrivateContainerd::import(const fs::path& layout, const std::string& tag) {
  return import(layout, tag, {"--no-unpack"});
}

Result<fs::path> PrivateContainerd::mount(const fs::path& layout, const std::string& tag) {
  LB_ASSIGN(const std::string name, import(layout, tag, {"--snapshotter", "overlayfs"}));
  const fs::path target = directory_ / ("mounted-" + tag);
  fs::create_directories(target);
  LB_TRY(succeed(ctr_words({"images", "mount", "--snapshotter", "overlayfs", name, target.string()})));
  mounts_.push_back(target);
  return target;
}

}  // namespace layerboot::test
