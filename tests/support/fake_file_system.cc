#include "tests/support/fake_file_system.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include <algorithm>

#include "oci-mount/overlay/file_rules.h"

namespace layerboot::test {

using vfs::Entry;
using vfs::NodeId;

namespace {

vfs::Attr make_attr(NodeId id, std::uint32_t mode, std::uint32_t nlink, vfs::Caller caller) {
  vfs::Attr attr;
  attr.ino = id;
  attr.mode = mode;
  attr.nlink = nlink;
  attr.uid = caller.uid;
  attr.gid = caller.gid;
  return attr;
}

}  // namespace

FakeFileSystem::FakeFileSystem() {
  Node root;
  root.attr = make_attr(vfs::kRootId, S_IFDIR | 0755, 2, {});
  root.references = 1;
  nodes_[next_id_++] = std::move(root);
}

// ---- for tests ----------------------------------------------------------------------------------

NodeId FakeFileSystem::add_file(NodeId parent, const std::string& name, std::string content) {
  const std::lock_guard lock(mutex_);
  const auto entry = add(parent, name, S_IFREG | 0644, {});
  Node& made = nodes_.at(entry->id);
  made.references = 0;
  made.attr.size_bytes = content.size();
  made.content = std::move(content);
  return entry->id;
}

NodeId FakeFileSystem::add_directory(NodeId parent, const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto entry = add(parent, name, S_IFDIR | 0755, {});
  nodes_.at(entry->id).references = 0;
  return entry->id;
}

void FakeFileSystem::hold_reads() {
  const std::lock_guard lock(mutex_);
  hold_ = true;
}

void FakeFileSystem::release_reads() {
  std::vector<HeldRead> released;
  {
    const std::lock_guard lock(mutex_);
    hold_ = false;
    released.swap(held_);
  }
  for (const auto& held : released) {
    held.reactor->post([reader = held.reader] { reader.resume(); });
  }
}

std::size_t FakeFileSystem::waiting_reads() const {
  const std::lock_guard lock(mutex_);
  return held_.size();
}

unsigned FakeFileSystem::resets() const {
  const std::lock_guard lock(mutex_);
  return resets_;
}

std::uint64_t FakeFileSystem::references(NodeId id) const {
  const std::lock_guard lock(mutex_);
  const auto found = nodes_.find(id);
  return found == nodes_.end() ? 0 : found->second.references;
}

void FakeFileSystem::fail_with(int code) {
  const std::lock_guard lock(mutex_);
  fail_code_ = code;
}

// ---- helpers, with the mutex held ---------------------------------------------------------------

Result<FakeFileSystem::Node*> FakeFileSystem::node(NodeId id) {
  if (fail_code_ != 0) return fail(fail_code_);
  const auto found = nodes_.find(id);
  if (found == nodes_.end()) return fail(ESTALE);
  return &found->second;
}

Result<FakeFileSystem::Node*> FakeFileSystem::directory(NodeId id) {
  LB_ASSIGN(Node * found, node(id));
  if (!S_ISDIR(found->attr.mode)) return fail(ENOTDIR);
  return found;
}

Result<void> FakeFileSystem::check_name(std::string_view name) const {
  if (name.size() > 255) return fail(ENAMETOOLONG);
  if (name.empty() || name == "." || name == ".." || name.find('/') != name.npos ||
      name.find('\0') != name.npos) {
    return fail(EINVAL);
  }
  return {};
}

Result<Entry> FakeFileSystem::add(NodeId parent, std::string_view name, std::uint32_t mode,
                                  vfs::Caller caller) {
  LB_TRY(check_name(name));
  last_caller = caller;
  LB_ASSIGN(Node * into, directory(parent));
  if (into->children.contains(name)) return fail(EEXIST);
  const NodeId id = next_id_++;
  Node made;
  made.attr = make_attr(id, mode, S_ISDIR(mode) ? 2 : 1, caller);
  made.references = 1;
  into->children[std::string(name)] = {id, next_cookie_++};
  return Entry{id, nodes_.emplace(id, std::move(made)).first->second.attr};
}

void FakeFileSystem::drop_if_gone(NodeId id) {
  const auto found = nodes_.find(id);
  if (found != nodes_.end() && found->second.references == 0 && found->second.attr.nlink == 0) {
    nodes_.erase(found);
  }
}

Result<void> FakeFileSystem::remove(NodeId parent, std::string_view name, bool is_directory) {
  LB_TRY(check_name(name));
  LB_ASSIGN(Node * from, directory(parent));
  const auto found = from->children.find(name);
  if (found == from->children.end()) return fail(ENOENT);
  const NodeId id = found->second.id;
  Node& victim = nodes_.at(id);
  if (S_ISDIR(victim.attr.mode) != is_directory) return fail(is_directory ? ENOTDIR : EISDIR);
  if (is_directory && !victim.children.empty()) return fail(ENOTEMPTY);
  from->children.erase(found);
  victim.attr.nlink = is_directory ? 0 : victim.attr.nlink - 1;
  drop_if_gone(id);
  return {};
}

Result<void> FakeFileSystem::change(NodeId id, const vfs::AttrChange& wanted) {
  LB_ASSIGN(Node * changed, node(id));
  auto& attr = changed->attr;
  if (wanted.mode) attr.mode = (attr.mode & S_IFMT) | *wanted.mode;
  if (wanted.uid) attr.uid = *wanted.uid;
  if (wanted.gid) attr.gid = *wanted.gid;
  if (wanted.size_bytes) {
    if (!S_ISREG(attr.mode)) return fail(EINVAL);
    if (*wanted.size_bytes > kMaxFileBytes) return fail(EFBIG);
    changed->content.resize(*wanted.size_bytes);
    attr.size_bytes = *wanted.size_bytes;
  }
  if (wanted.atime) attr.atime = wanted.atime->time;
  if (wanted.mtime) attr.mtime = wanted.mtime->time;
  if (wanted.kill_suid_sgid) attr.mode = overlay::without_set_id(attr.mode);
  return {};
}

Result<void> FakeFileSystem::move(NodeId parent, std::string_view name, NodeId new_parent,
                                  std::string_view new_name, std::uint32_t flags) {
  LB_TRY(check_name(name));
  LB_TRY(check_name(new_name));
  LB_ASSIGN(Node * from, directory(parent));
  LB_ASSIGN(Node * to, directory(new_parent));
  const auto source = from->children.find(name);
  if (source == from->children.end()) return fail(ENOENT);
  const auto target = to->children.find(new_name);
  const bool taken = target != to->children.end();
  if ((flags & RENAME_NOREPLACE) != 0 && taken) return fail(EEXIST);
  if ((flags & RENAME_EXCHANGE) != 0) {
    if (!taken) return fail(ENOENT);
    std::swap(source->second.id, target->second.id);
    return {};
  }
  const NodeId id = source->second.id;
  if (taken && target->second.id == id) return {};
  if (taken) LB_TRY(remove(new_parent, new_name, S_ISDIR(nodes_.at(target->second.id).attr.mode)));
  from->children.erase(from->children.find(name));
  to->children[std::string(new_name)] = {id, next_cookie_++};
  return {};
}

// ---- vfs::FileSystem ----------------------------------------------------------------------------

void FakeFileSystem::reset() {
  const std::lock_guard lock(mutex_);
  ++resets_;
  for (auto& [id, node] : nodes_) node.references = id == vfs::kRootId ? 1 : 0;
  std::erase_if(nodes_, [](const auto& item) { return item.second.attr.nlink == 0; });
}

Result<Entry> FakeFileSystem::lookup(NodeId parent, std::string_view name) {
  const std::lock_guard lock(mutex_);
  LB_TRY(check_name(name));
  LB_ASSIGN(const Node* from, directory(parent));
  const auto found = from->children.find(name);
  if (found == from->children.end()) return Entry{};
  Node& child = nodes_.at(found->second.id);
  ++child.references;
  return Entry{found->second.id, child.attr};
}

void FakeFileSystem::forget(NodeId id, std::uint64_t count) {
  const std::lock_guard lock(mutex_);
  const auto found = nodes_.find(id);
  if (found == nodes_.end() || id == vfs::kRootId) return;
  found->second.references -= std::min(found->second.references, count);
  drop_if_gone(id);
}

Result<vfs::Attr> FakeFileSystem::getattr(NodeId id) {
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const Node* found, node(id));
  return found->attr;
}

Task<Result<vfs::Attr>> FakeFileSystem::setattr(Reactor&, NodeId id, vfs::AttrChange wanted) {
  const std::lock_guard lock(mutex_);
  ++attr_changes;
  LB_CO_TRY(change(id, wanted));
  co_return nodes_.at(id).attr;
}

Result<std::string> FakeFileSystem::readlink(NodeId id) {
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const Node* found, node(id));
  if (!S_ISLNK(found->attr.mode)) return fail(EINVAL);
  return found->content;
}

Result<Entry> FakeFileSystem::mknod(NodeId parent, std::string_view name, std::uint32_t mode,
                                    std::uint32_t rdev, vfs::Caller caller) {
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(auto entry, add(parent, name, mode, caller));
  nodes_.at(entry.id).attr.rdev = rdev;
  entry.attr.rdev = rdev;
  return entry;
}

Result<Entry> FakeFileSystem::mkdir(NodeId parent, std::string_view name, std::uint32_t mode,
                                    vfs::Caller caller) {
  const std::lock_guard lock(mutex_);
  return add(parent, name, S_IFDIR | (mode & 07777U), caller);
}

Result<Entry> FakeFileSystem::symlink(NodeId parent, std::string_view name, std::string_view target,
                                      vfs::Caller caller) {
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(auto entry, add(parent, name, S_IFLNK | 0777, caller));
  Node& made = nodes_.at(entry.id);
  made.content = target;
  made.attr.size_bytes = target.size();
  entry.attr = made.attr;
  return entry;
}

Result<Entry> FakeFileSystem::create(NodeId parent, std::string_view name, std::uint32_t mode, bool exclusive,
                                     vfs::Caller caller) {
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const Node* into, directory(parent));
  const auto found = into->children.find(name);
  if (found == into->children.end()) return add(parent, name, S_IFREG | (mode & 07777U), caller);
  if (exclusive) return fail(EEXIST);
  Node& existing = nodes_.at(found->second.id);
  ++existing.references;
  return Entry{found->second.id, existing.attr};
}

Result<Entry> FakeFileSystem::tmpfile(NodeId parent, std::uint32_t mode, vfs::Caller caller) {
  const std::lock_guard lock(mutex_);
  LB_TRY(directory(parent));
  const NodeId id = next_id_++;
  Node made;
  made.attr = make_attr(id, S_IFREG | (mode & 07777U), 0, caller);
  made.references = 1;
  return Entry{id, nodes_.emplace(id, std::move(made)).first->second.attr};
}

Result<void> FakeFileSystem::unlink(NodeId parent, std::string_view name) {
  const std::lock_guard lock(mutex_);
  return remove(parent, name, false);
}

Result<void> FakeFileSystem::rmdir(NodeId parent, std::string_view name) {
  const std::lock_guard lock(mutex_);
  return remove(parent, name, true);
}

Task<Result<Entry>> FakeFileSystem::link(Reactor&, NodeId id, NodeId new_parent, std::string_view new_name) {
  const std::lock_guard lock(mutex_);
  LB_CO_TRY(check_name(new_name));
  LB_CO_ASSIGN(Node * linked, node(id));
  LB_CO_ASSIGN(Node * into, directory(new_parent));
  if (S_ISDIR(linked->attr.mode)) co_return fail(EPERM);
  if (into->children.contains(new_name)) co_return fail(EEXIST);
  into->children[std::string(new_name)] = {id, next_cookie_++};
  ++linked->attr.nlink;
  ++linked->references;
  co_return Entry{id, linked->attr};
}

Task<Result<void>> FakeFileSystem::rename(Reactor&, NodeId parent, std::string_view name, NodeId new_parent,
                                          std::string_view new_name, std::uint32_t flags) {
  const std::lock_guard lock(mutex_);
  co_return move(parent, name, new_parent, new_name, flags);
}

Result<void> FakeFileSystem::readdir(NodeId id, std::uint64_t cookie, bool with_nodes, const AddEntry& take) {
  const std::lock_guard lock(mutex_);
  LB_ASSIGN(const Node* listed, directory(id));
  std::vector<std::pair<Child, std::string>> order{{{id, 1}, "."}, {{id, 2}, ".."}};
  for (const auto& [name, child] : listed->children) order.emplace_back(child, name);
  std::ranges::sort(order, {}, [](const auto& item) { return item.first.cookie; });
  for (const auto& [child, name] : order) {
    if (child.cookie <= cookie) continue;
    Node& target = nodes_.at(child.id);
    const bool given = with_nodes && child.cookie > 2;
    const vfs::Dirent dirent{name, child.id, target.attr.mode >> 12U, child.cookie};
    if (!take(dirent, given ? Entry{child.id, target.attr} : Entry{})) break;
    if (given) ++target.references;
  }
  return {};
}

}  // namespace layerboot::test
