// SYNCFS: what the client has changed of the directory, and not all that the host has not written yet.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "oci-mount/vfs/share_fs.h"

namespace layerboot::vfs {

namespace {

/// Objects that are open at a time to be synced.
constexpr std::size_t kBatch = 64;

/// What has nothing to be synced says so.
bool is_failure(int code) { return code != EINVAL && code != EROFS && code != EOPNOTSUPP && code != ENOSYS; }

/// The first failure, or 0.
int sync_all(const std::vector<UniqueFd>& fds) {
  // All begin to be written before the first is waited for: the host's journal then takes most at once.
  for (const UniqueFd& fd : fds) static_cast<void>(::sync_file_range(fd.get(), 0, 0, SYNC_FILE_RANGE_WRITE));
  int code = 0;
  for (const UniqueFd& fd : fds) {
    if (::fsync(fd.get()) != 0 && code == 0 && is_failure(errno)) code = errno;
  }
  return code;
}

/// The top of what `node` is mounted in; null where its way up ends before, at a directory that is gone.
ShareNodePtr top_of_mount(ShareNodePtr node) {
  while (node->parent && node->parent->identity.mount == node->identity.mount) node = node->parent;
  return node->parent || node->is_root() || node->held ? node : nullptr;
}

/// A file without any name needs not last, and must not be kept for a sync: its room is the host's.
bool has_no_name(const ShareNode& node) {
  struct stat st{};
  return node.held && ::fstat(node.held->get(), &st) == 0 && st.st_nlink == 0;
}

/// What others have moved, replaced or removed meanwhile is theirs to sync, and what can't be read can't be
/// opened. Any other failure is ours to tell.
bool is_nobodys_failure(int code) { return code == ESTALE || code == ENOENT || code == EACCES; }

}  // namespace

/// Keeps the object until it is synced, whatever the client forgets. Those that were kept before may go, and
/// this one: a new one must be the client's already.
void ShareFs::note_change(const ShareNodePtr& node) {
  if (!S_ISREG(node->identity.type) && !S_ISDIR(node->identity.type)) return;
  if (changes_.whole.contains(node->identity.mount) || has_no_name(*node)) return;
  if (!changes_.objects.try_emplace(node->id, node).second) return;
  ++node->pins;
  if (changes_.objects.size() > kMaxChanged) note_whole_mounts();
}

void ShareFs::note_change(NodeId id) {
  if (const auto node = nodes_.find(id); node) note_change(*node);
}

/// Too many objects to name: what they are on is synced as a whole.
void ShareFs::note_whole_mounts() {
  for (const auto& [id, node] : changes_.objects) {
    const ShareNodePtr top = top_of_mount(node);
    if (top && changes_.whole.try_emplace(top->identity.mount, top).second) ++top->pins;
  }
  unpin(std::exchange(changes_.objects, {}));
}

/// It has lost the name that it was known by: without another, nothing of it needs to last.
void ShareFs::drop_change(const ShareNodePtr& node, bool has_other_names) {
  const auto found = changes_.objects.find(node->id);
  if (found == changes_.objects.end()) return;
  if (has_other_names) return note_whole_mounts();
  changes_.objects.erase(found);
  --node->pins;
}

template <typename Map>
void ShareFs::unpin(const Map& nodes) {
  for (const auto& [key, node] : nodes) {
    --node->pins;
    nodes_.release_if_unused(node);
  }
}

Task<Result<void>> ShareFs::syncfs(Reactor& reactor) {
  if (read_only_) co_return Result<void>();
  int code = 0;
  // One thread: who comes while another is at it waits for what that has taken.
  co_await workers_.run(reactor, [&] { code = sync_changes(); });
  if (code != 0) co_return fail(code);
  co_return Result<void>();
}

/// 0, or an errno.
int ShareFs::sync_changes() {
  Changes taken;
  {
    const std::lock_guard lock(mutex_);
    taken = std::exchange(changes_, {});
  }
  int code = 0;
  const auto sync = [&](const std::vector<UniqueFd>& fds) {
    const int failed = sync_all(fds);
    if (code == 0) code = failed;
  };
  std::vector<UniqueFd> batch;
  for (const auto& [id, node] : taken.objects) {
    auto fd = open_to_sync(*node);
    if (fd) batch.push_back(std::move(*fd));
    if (!fd && code == 0 && !is_nobodys_failure(fd.error().code)) code = fd.error().code;
    if (batch.size() < kBatch) continue;
    sync(batch);
    batch.clear();
  }
  sync(batch);
  for (const auto& [mount, top] : taken.whole) {
    // All that was changed on it depends on this one: not to find it is a failure.
    const auto fd = open_to_sync(*top);
    const int failed = !fd ? EIO : ::syncfs(fd->get()) != 0 ? errno : 0;
    if (code == 0) code = failed;
  }
  const std::lock_guard lock(mutex_);
  unpin(taken.objects);
  unpin(taken.whole);
  return code;
}

Result<UniqueFd> ShareFs::open_to_sync(ShareNode& node) {
  const std::lock_guard lock(mutex_);
  return open_node(node, O_RDONLY);
}

}  // namespace layerboot::vfs
