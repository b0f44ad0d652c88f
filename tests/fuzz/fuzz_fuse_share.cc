// FUSE requests, in sequence (ask_all()), to a session on a directory of the host that is served as it is.
// Whatever they are, what lies beside the directory stays as it was, and nothing comes to lie in it that has
// rights of its own.
#include <sys/stat.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "oci-mount/base/log.h"
#include "oci-mount/vfs/share_fs.h"
#include "tests/fuzz/fuse_exchange.h"
#include "tests/support/temp_dir.h"

namespace layerboot::vfsd::fuse {
namespace {

namespace fs = std::filesystem;

void put(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }

std::string get(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class FuzzedShare {
 public:
  FuzzedShare() {
    ::umask(0);
    fs::create_directories(outside());
    put(outside() / "f", "kept");
  }
  /// As it was for the input before.
  std::unique_ptr<vfs::FileSystem> open() {
    // Modes that the client gave may keep even their owner out.
    fs::remove_all(share());
    fs::create_directories(share() / "d" / "e");
    put(share() / "f", std::string(9000, 'f'));
    put(share() / "d" / "g", "g");
    fs::create_symlink("../outside", share() / "s");
    fs::create_symlink("../outside/f", share() / "l");
    fs::create_hard_link(share() / "f", share() / "d" / "h");
    auto opened =
        vfs::ShareFs::open({.directory = share(), .ids = {}, .max_descriptors = 64}, workers_, memory_);
    if (!opened) std::abort();
    return std::move(*opened);
  }
  /// Afterwards.
  void check() const {
    if (get(outside() / "f") != "kept") std::abort();
    if (std::distance(fs::directory_iterator(outside()), {}) != 1) std::abort();
    if (std::distance(fs::directory_iterator(directory_.path()), {}) != 2) std::abort();
    for (const auto& entry : fs::recursive_directory_iterator(share())) {
      struct stat st{};
      if (::lstat(entry.path().c_str(), &st) != 0) std::abort();
      if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) std::abort();
      if (S_ISREG(st.st_mode) && (st.st_mode & (S_ISUID | S_ISGID)) != 0) std::abort();
    }
  }

 private:
  [[nodiscard]] fs::path share() const { return directory_.path() / "share"; }
  [[nodiscard]] fs::path outside() const { return directory_.path() / "outside"; }

  test::TempDir directory_;
  MemoryBudget memory_;
  WorkerPool workers_{1};
};

}  // namespace
}  // namespace layerboot::vfsd::fuse

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace layerboot;
  using namespace layerboot::vfsd::fuse;
  log_setup("fuzz", LogLevel::kError);
  static FuzzedShare share;
  static const std::unique_ptr<Reactor> reactor = *Reactor::create();
  {
    const auto fs = share.open();
    vfsd::fuse::Session session(*fs, {.shared = true});
    introduce(session, *reactor);
    ask_all(session, *reactor, {reinterpret_cast<const std::byte*>(data), size});
  }
  share.check();
  return 0;
}
