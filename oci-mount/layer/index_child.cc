#include "oci-mount/layer/index_child.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <string_view>
#include <vector>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/layer/index_child_main.h"
#include "oci-mount/layer/index_messages.h"
#include "oci-mount/layer/limits.h"

namespace layerboot::layer {

namespace {

constexpr const char* kProgram = "/proc/self/exe";
constexpr const char* kArgument = "--index-layer";
constexpr const char* kNull = "/dev/null";
/// Above what the child has, so that none is overwritten on its way to its place.
constexpr int kFirstSpareFd = 16;
constexpr int kMaxErrno = 4095;

bool& children_flag() {
  static bool has = false;
  return has;
}

Result<UniqueFd> spare(int fd) {
  UniqueFd made(::fcntl(fd, F_DUPFD_CLOEXEC, kFirstSpareFd));
  if (!made) return errno_error("a descriptor for the indexer");
  return made;
}

/// Of ours the child gets what the loader and a sanitizer's library read, and no secrets.
std::vector<char*> environment() {
  std::vector<char*> kept;
  for (char** at = environ; at != nullptr && *at != nullptr; ++at) {
    const std::string_view one(*at);
    if (one.starts_with("LD_") || one.substr(0, one.find('=')).ends_with("SAN_OPTIONS")) kept.push_back(*at);
  }
  kept.push_back(nullptr);
  return kept;
}

/// What the child is started with.
class SpawnPlan {
 public:
  SpawnPlan() {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawnattr_init(&attributes_);
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
      ::posix_spawn_file_actions_addopen(&actions_, fd, kNull, O_RDWR, 0);
    sigset_t signals;
    ::sigemptyset(&signals);
    ::posix_spawnattr_setsigmask(&attributes_, &signals);
    ::sigfillset(&signals);
    ::posix_spawnattr_setsigdefault(&attributes_, &signals);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  ~SpawnPlan() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;

  void give(const UniqueFd& fd, IndexChildFd place) {
    ::posix_spawn_file_actions_adddup2(&actions_, fd.get(), place);
  }
  Result<pid_t> start() {
    ::posix_spawn_file_actions_addclosefrom_np(&actions_, kChildSocketFd + 1);
    std::string name(kIndexChildName);
    std::string argument(kArgument);
    const std::array<char*, 3> words{name.data(), argument.data(), nullptr};
    const std::vector<char*> environment_kept = environment();
    pid_t child = -1;
    const int error =
        ::posix_spawn(&child, kProgram, &actions_, &attributes_, words.data(), environment_kept.data());
    if (error != 0)
      return fail(error, "cannot start the indexer (", kProgram, "): ", Error{error, {}}.describe());
    return child;
  }

 private:
  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
};

std::string request_for(const store::Blob& blob, const ExpectedLayer& expected) {
  IndexRequest request;
  request.blob_fd_offset = blob.fd_offset();
  request.blob_size_bytes = blob.size_bytes();
  request.identity = expected.identity.record();
  if (expected.digests) {
    request.blob = identity_record(expected.digests->blob);
    request.diff_id = identity_record(expected.digests->diff_id);
    request.expected_size_bytes = expected.digests->size_bytes;
  }
  request.compression = static_cast<std::uint32_t>(expected.compression);
  request.name_bytes = static_cast<std::uint32_t>(blob.name().size());
  request.source_bytes = static_cast<std::uint32_t>(expected.source.size());
  return str_cat(as_text(object_bytes(request)), blob.name(), expected.source);
}

/// One child, from its start to its end. What is not awaited is killed.
class IndexChild {
 public:
  IndexChild(pid_t pid, UniqueFd socket) : pid_(pid), socket_(std::move(socket)) {}
  ~IndexChild() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    await();
  }
  IndexChild(const IndexChild&) = delete;
  IndexChild& operator=(const IndexChild&) = delete;

  /// What the child says it came to; nothing where it ended without a word.
  std::optional<Result<void>> listen(const std::function<void(std::uint64_t)>& on_progress,
                                     std::uint64_t blob_bytes) {
    std::array<std::byte, kMaxIndexMessageBytes> room;
    std::optional<Result<void>> said;
    for (;;) {
      const ssize_t got = ::recv(socket_.get(), room.data(), room.size(), 0);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return said;
      ByteReader reader{std::span<const std::byte>(room).first(static_cast<std::size_t>(got))};
      const auto report = reader.read<IndexReport>();
      if (!reader.ok()) continue;
      if (report.kind == IndexReport::kProgress) on_progress(std::min(report.value, blob_bytes));
      if (report.kind == IndexReport::kDone) said.emplace();
      if (report.kind == IndexReport::kFailed) {
        const bool known = report.value > 0 && report.value <= kMaxErrno;
        said.emplace(
            fail(known ? static_cast<int>(report.value) : EIO, printable_lines(as_text(reader.rest()))));
      }
    }
  }

  struct End {
    int signal = 0;
    std::uint64_t cpu_seconds = 0;
  };
  End await() {
    int status = 0;
    rusage usage{};
    while (::wait4(pid_, &status, 0, &usage) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    End end;
    end.cpu_seconds = static_cast<std::uint64_t>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec);
    if (WIFSIGNALED(status)) end.signal = WTERMSIG(status);
    if (WIFEXITED(status) && WEXITSTATUS(status) > kSignalExitCode)
      end.signal = WEXITSTATUS(status) - kSignalExitCode;
    return end;
  }

 private:
  pid_t pid_;
  UniqueFd socket_;
};

/// Of a child that ended without a word.
std::unexpected<Error> broken_down(const std::string& name, const IndexChild::End& end) {
  if (end.cpu_seconds + 1 >= kMaxIndexingCpuSeconds) {
    return fail(E2BIG, name, " takes more than ", kMaxIndexingCpuSeconds,
                " s of processor time to index, the limit for one layer");
  }
  if (end.signal == SIGKILL || end.signal == SIGTERM || end.signal == SIGINT) {
    return fail(EIO, name,
                " could not be indexed: the process that reads it was killed; if nobody did, the host was "
                "short of memory");
  }
  if (end.signal == SIGSYS) {
    return fail(EIO, name,
                " could not be indexed: the process that reads it did what reading a layer does not take, "
                "and was stopped; the layer may be an attack");
  }
  const std::string how =
      end.signal != 0 ? str_cat("broke down (", ::sigdescr_np(end.signal), ")") : "ended without a word";
  return fail(EIO, name, " could not be indexed: the process that reads it ", how,
              "; the layer may be an attack, and this is worth a report");
}

}  // namespace

std::optional<int> run_as_index_child(int argc, const char* const* argv) {
  if (argc == 2 && std::string_view(argv[1]) == kArgument) return index_child_main();
  children_flag() = true;
  return std::nullopt;
}

bool has_index_children() { return children_flag(); }

Result<LayerIndex> build_index_in_child(const store::Blob& blob, const ExpectedLayer& expected,
                                        const std::filesystem::path& path,
                                        const std::function<void(std::uint64_t)>& on_progress) {
  const std::string request = request_for(blob, expected);
  if (request.size() > kMaxIndexMessageBytes) return fail(ENAMETOOLONG, blob.name(), ": too long a name");
  LB_ASSIGN(IndexFiles files, IndexFiles::create(path));
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return errno_error("socketpair");
  UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  if (::send(ours.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0)
    return errno_error("a message to the indexer");
  pid_t pid = -1;
  {
    LB_ASSIGN(const UniqueFd blob_fd, spare(blob.fd()));
    LB_ASSIGN(const UniqueFd index_fd, spare(files.index().fd()));
    LB_ASSIGN(const UniqueFd recut_fd, spare(files.recut().fd()));
    LB_ASSIGN(const UniqueFd socket_fd, spare(theirs.get()));
    theirs.reset();
    SpawnPlan plan;
    plan.give(blob_fd, kChildBlobFd);
    plan.give(index_fd, kChildIndexFd);
    plan.give(recut_fd, kChildRecutFd);
    plan.give(socket_fd, kChildSocketFd);
    LB_ASSIGN(pid, plan.start());
  }
  IndexChild child(pid, std::move(ours));
  const auto said = child.listen(on_progress, blob.size_bytes());
  const auto end = child.await();
  if (!said) return broken_down(blob.name(), end);
  LB_TRY(*said);
  auto committed = files.commit(expected.identity);
  if (!committed && (committed.error().code == EBADMSG || committed.error().code == ESTALE))
    return fail(EIO, blob.name(), " could not be indexed: the process that reads it made no index (",
                committed.error().describe(), "); the layer may be an attack");
  return committed;
}

}  // namespace layerboot::layer
