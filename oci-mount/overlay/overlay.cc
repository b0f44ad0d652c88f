// The Overlay's sessions, and what it answers of nodes.
#include "oci-mount/overlay/overlay.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <unordered_map>
#include <utility>

#include "oci-mount/base/log.h"
#include "oci-mount/base/path_rules.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/overlay/body.h"
#include "oci-mount/overlay/upper_root.h"

namespace layerboot::overlay {

Result<void> check_name(std::string_view name) {
  if (is_valid_name(name)) return {};
  return fail(name.size() > kMaxNameBytes ? ENAMETOOLONG : EINVAL);
}

namespace {

Result<bool> is_empty(int dir_fd) {
  constexpr int kHasOne = EEXIST;
  const auto listed =
      each_in_directory(dir_fd, [](const HostDirent&) { return Result<void>(fail(kHasOne)); });
  if (!listed && listed.error().code != kHasOne) return std::unexpected(listed.error());
  return listed.has_value();
}

/// By a session that does not know, or after one that was killed: what was written may not be allocated yet,
/// and a scattered file then takes blocks for its extents that no stat before has shown.
/// `kept`: as Ledger::kept_files() tells of them.
Result<Survey> count_on_disk(const Upper& upper, MemoryBudget& memory, const LateFilesByInode& kept) {
  LB_ASSIGN(const bool is_new, is_empty(upper.root_fd()));
  if (!is_new && ::syncfs(upper.root_fd()) != 0) return errno_error("syncfs of the upper directory");
  return upper.survey(&memory, &kept);
}

}  // namespace

Result<std::unique_ptr<Overlay>> Overlay::open(Lower lower, const Options& options, WorkerPool& workers,
                                               MemoryBudget& memory) {
  const std::uint64_t rows_bytes = (lower.tree.node_count() + std::uint64_t{1}) * RowStates::kRowBytes;
  if (!memory.has_room(rows_bytes)) {
    return fail(ENOMEM, "a memory limit of ", memory.limit_bytes(), " bytes is too little for the image's ",
                lower.tree.node_count(), " objects");
  }
  LB_ASSIGN(Upper upper, Upper::open(options.directory, options.image_identity, options.keeping));
  LowerMetadata metadata(lower, upper.keeping());
  if (auto adopted = adopt_image_root(upper, lower, metadata); !adopted) {
    return while_doing(adopted.error(), "cannot make ", (options.directory / "upper").string(),
                       " the image's /");
  }
  auto stop = upper.take_clean_stop();
  const bool is_counted = stop && stop->is_counted;
  if (!is_counted) {
    if (!stop) stop.emplace().is_counted = false;
    LB_ASSIGN(stop->survey, count_on_disk(upper, memory, stop->late_files));
  }
  LB_ASSIGN(Places places, Places::open(std::move(upper)));
  std::unique_ptr<Overlay> overlay(new Overlay(lower, std::move(places), options.limits, stop->survey.usage,
                                               options.lower_key, workers, memory));
  const std::lock_guard lock(overlay->parts_.mutex);
  overlay->parts_.ledger.recall(*stop);
  if (!is_counted) overlay->parts_.ledger.recount(stop->survey, Counted::kOnDisk);
  auto started = overlay->start_session(stop->survey);
  const bool names_are_known = is_counted && stop->lower_key == options.lower_key;
  if (started && lower.may_change() && !names_are_known)
    started = overlay->start_over_changed_lower(stop->survey);
  if (started) {
    started = names_are_known ? overlay->parts_.lost_names.recall(overlay->parts_.paths, stop->lost_names)
                              : overlay->look_for_lost_names();
  }
  if (!started) {
    return while_doing(started.error(), "cannot read the upper directory ", options.directory.string());
  }
  return overlay;
}

/// Whether the image's directory shows at its own place: by itself, or through one of the upper's that was
/// made when the image had none there.
Result<bool> Overlay::stands_in_place(tree::NodeId row) {
  const tree::NodeId parent = parts_.lower.tree.parent(row);
  const std::string name(parts_.lower.tree.name_in_parent(row));
  LB_ASSIGN(const bool parent_shown, parts_.lost_names.is_shown(parent));
  if (!parent_shown) return false;
  const Ref directory = parts_.nodes.row(parent);
  LB_ASSIGN(const Found found, parts_.directories.look(directory, name));
  if (!found.in_upper()) return found.child == nullptr;
  LB_ASSIGN(const NodePtr there, parts_.objects.load(directory.node, name, *found.child));
  return there->is_directory() && there->lower == row && !is_moved(*there);
}

/// A directory of the image that the guest has moved away may be another one by now, under its old name,
/// where nothing hides it any more: the one that was moved is no part of that. True where there was one.
Result<bool> Overlay::part_from_others() {
  std::vector<NodePtr> moved;
  for (const auto& [id, node] : parts_.nodes.all()) {
    if (is_moved(*node) && node->lower != tree::kNoNode) moved.push_back(node);
  }
  bool any = false;
  for (const NodePtr& node : moved) {
    LB_ASSIGN(const bool stands, stands_in_place(node->lower));
    if (!stands) continue;
    LB_ASSIGN(const HeldPlace place, parts_.places.place_of(node));
    log_warn("the directory ", printable(parts_.lower.tree.path(node->lower)),
             " is another one than the guest has moved away: what the guest has not changed of that is gone");
    const auto& marks = parts_.places.marks();
    LB_TRY(set_xattr_at(place.get(), marks.opaque, "y", 0));
    LB_TRY(remove_xattr_at(place.get(), marks.redirect));
    any = true;
  }
  return any;
}

/// After a start over a lower that is another one than the last time.
Result<void> Overlay::start_over_changed_lower(const Survey& survey) {
  // Ends: each time there are fewer that are moved.
  for (;;) {
    LB_ASSIGN(const bool parted, part_from_others());
    if (!parted) return {};
    parts_.objects.end_session();
    LB_TRY(start_session(survey));
  }
}

Overlay::Overlay(Lower lower, Places places, Quota::Limits limits, Quota::Usage used, std::string lower_key,
                 WorkerPool& workers, MemoryBudget& memory)
    : parts_(lower, std::move(places), limits, used, workers, memory), lower_key_(std::move(lower_key)) {}

Overlay::~Overlay() {
  parts_.settling.finish();
  parts_.objects.end_session();
}

/// Directories of the image that have been renamed are found by nothing but their redirect, so they are known
/// from the start: a copy-up must find all names of a file, wherever they are now. Lost names are next.
Result<void> Overlay::start_session(const Survey& survey) {
  parts_.objects.load_root();
  return load_moved_directories(survey.moved_directories);
}

Result<void> Overlay::look_for_lost_names() {
  return parts_.lost_names.load([this](tree::NodeId row) {
    return parts_.copy_up.finish(
        row, [this](tree::NodeId directory) { return parts_.lost_names.is_shown(directory); });
  });
}

/// ENOMEM where there is no room for the list.
Result<Overlay::Known> Overlay::known_by_session() {
  Known known;
  LB_ASSIGN(known.survey, surveyed());
  known.lost_names = parts_.lost_names.all();
  return known;
}

/// For the next start; nothing where that is too much to be noted.
Result<std::optional<CleanStop>> Overlay::left_by_session() {
  LB_ASSIGN(Known known, known_by_session());
  CleanStop stop{.survey = std::move(known.survey),
                 .lower_key = lower_key_,
                 .lost_names = {},
                 .late_files = parts_.ledger.late_files(),
                 .forgotten_kept_bytes = parts_.ledger.late_growth().forgotten_kept_bytes()};
  std::size_t path_bytes = 0;
  for (const auto& lost : known.lost_names) {
    CleanStop::LostNames named{.path = parts_.lower.tree.path(lost.row), .count = lost.count};
    path_bytes += named.path.size();
    if (path_bytes > kMaxCleanStopBytes) return std::nullopt;
    LB_TRY(stop.survey.memory->take(2 * sizeof(named) + heap_bytes(named.path)));
    stop.lost_names.push_back(std::move(named));
  }
  return stop;
}

void Overlay::reset() {
  const std::lock_guard lock(parts_.mutex);
  const auto& ledger = parts_.ledger;
  // What files grow by late is found by a count, not to be put off from session to session; so is what
  // requests that are still at work do.
  const auto counts_right = [&ledger] { return ledger.is_exact() && !ledger.late_growth().has_uncounted(); };
  Result<Known> known = fail(EAGAIN);
  if (!is_at_work() && counts_right() && parts_.objects.settle_all(Objects::Late::kRemembered) &&
      counts_right()) {
    known = known_by_session();
  }
  parts_.objects.end_session();
  if (const auto cleared = parts_.places.clear_work(); !cleared) {
    log_warn("cannot clear the upper's work directory: ", cleared.error().describe());
  }
  auto started = known ? start_session(known->survey) : start_counted_session();
  if (known && started) parts_.lost_names.recall(known->lost_names);
  if (!started) {
    parts_.ledger.doubt();
    log_warn("cannot read a directory of the upper: ", started.error().describe());
  }
}

bool Overlay::is_at_work() const {
  return std::ranges::any_of(parts_.nodes.all(),
                             [](const auto& known) { return known.second->holders.pins > 0; });
}

/// As at a start after a crash: one walk finds what is there, and what it takes.
Result<void> Overlay::start_counted_session() {
  const Upper& upper = parts_.places.upper();
  const bool on_disk = parts_.ledger.is_to_count_on_disk() && ::syncfs(upper.root_fd()) == 0;
  const auto kept = on_disk ? parts_.ledger.kept_files() : LateFilesByInode();
  auto survey = upper.survey(&parts_.memory, on_disk ? &kept : &parts_.ledger.late_files());
  if (survey) parts_.ledger.recount(*survey, on_disk ? Counted::kOnDisk : Counted::kAsShown);
  LB_TRY(start_session(survey.value_or(Survey{})));
  LB_TRY(look_for_lost_names());
  return survey ? Result<void>() : std::unexpected(std::move(survey).error());
}

Result<void> Overlay::stop() {
  const std::lock_guard lock(parts_.mutex);
  if (auto settled = parts_.objects.settle_all(Objects::Late::kOnDisk); !settled) {
    parts_.objects.end_session();
    LB_TRY(leave_kept());
    return settled;
  }
  if (!parts_.ledger.is_exact() || parts_.ledger.is_to_count_on_disk()) {
    // Now most of it is in the host's memory; at the next start it may have to be read.
    const auto survey = count_on_disk(parts_.places.upper(), parts_.memory, parts_.ledger.kept_files());
    if (!survey) return leave_kept();  // the next start counts
    parts_.ledger.recount(*survey, Counted::kOnDisk);
  }
  const auto known = left_by_session();
  // As well, where there is no room for what it would be told.
  if (!known || !*known) return leave_kept();
  return leave(**known);
}

/// What no count finds.
Result<void> Overlay::leave_kept() {
  CleanStop stop;
  stop.is_counted = false;
  stop.late_files = parts_.ledger.kept_files();
  stop.forgotten_kept_bytes = parts_.ledger.late_growth().forgotten_kept_bytes();
  return leave(stop);
}

Result<void> Overlay::leave(const CleanStop& stop) {
  auto left = parts_.places.leave_clean_stop(stop);
  if (!left) return while_doing(left.error(), "cannot note in the upper directory that it was left in order");
  return left;
}

/// It merges with another directory of the image than the one of its place, or did so and may again. Such are
/// all in memory while they have their number.
bool Overlay::is_moved(const Node& node) const {
  if (!node.is_directory() || node.is_root() || node.standing != Standing::kNamed) return false;
  if (node.lower == tree::kNoNode) return node.directory.leads_nowhere;
  const tree::NodeId below = node.parent->lower;
  return below == tree::kNoNode || parts_.lower.tree.lookup(below, node.name) != node.lower;
}

/// As a walk would find it; ENOMEM where there is no room for that.
Result<Survey> Overlay::surveyed() {
  constexpr std::uint64_t kNotedBytes = 64;  // a place in the table, and the allocator's part
  Survey survey{.usage = quota().usage(), .moved_directories = {}};
  survey.memory.emplace(&parts_.memory);
  ListMemory noted_memory(&parts_.memory);
  std::unordered_map<const Node*, std::uint32_t> noted;
  for (const auto& [id, node] : parts_.nodes.all()) {
    if (!is_moved(*node)) continue;
    std::vector<const Node*> missing;
    for (const Node* at = node.get(); !at->is_root() && !noted.contains(at); at = at->parent.get()) {
      missing.push_back(at);
    }
    for (; !missing.empty(); missing.pop_back()) {
      const Node& next = *missing.back();
      LB_TRY(noted_memory.take(kNotedBytes));
      LB_TRY(survey.add({next.parent->is_root() ? 0 : noted.at(next.parent.get()), next.name}));
      noted[&next] = static_cast<std::uint32_t>(survey.moved_directories.size());
    }
  }
  return survey;
}

Result<void> Overlay::load_moved_directories(const std::vector<WayToMoved>& ways) {
  std::vector<NodePtr> loaded{parts_.nodes.known(kRootId)};  // null: not there, or no directory
  for (const auto& way : ways) {
    const NodePtr parent = loaded.at(way.parent);
    NodePtr node;
    if (parent) {
      LB_ASSIGN(const Found found, parts_.directories.look(parent, way.name));
      if (found.in_upper()) {
        LB_ASSIGN(node, parts_.objects.load(parent, way.name, *found.child));
      }
      if (node && !node->is_directory()) node.reset();
    }
    loaded.push_back(std::move(node));
  }
  return {};
}

Result<Entry> Overlay::lookup(NodeId parent, std::string_view name) {
  LB_TRY(check_name(name));
  if (parts_.nodes.is_held_untouched(parent)) {
    const auto directory = static_cast<tree::NodeId>(parent);
    if (!S_ISDIR(parts_.lower.tree.node(directory).mode)) return fail(ENOTDIR);
    const tree::NodeId child = parts_.lower.tree.lookup(directory, name);
    if (child == tree::kNoNode) return Entry{};
    if (!parts_.nodes.is_touched(child)) return parts_.objects.entry_for_row(child);
  }
  PartLock lock(parts_.mutex);
  parts_.objects.ask_for_room();
  LB_ASSIGN(const Ref directory, parts_.directories.find(lock, parent, PartLock::For::kLooking));
  LB_ASSIGN(const Found found, parts_.directories.look(directory, name));
  if (found.in_upper()) {
    LB_ASSIGN(const NodePtr node, parts_.objects.load(directory.node, std::string(name), *found.child));
    return parts_.objects.entry_for(node);
  }
  const tree::NodeId row = found.visible_lower();
  if (row == tree::kNoNode) return Entry{};
  const Ref child = parts_.nodes.row(row);
  return child.node ? parts_.objects.entry_for(child.node) : parts_.objects.entry_for_row(row);
}

void Overlay::forget(NodeId id, std::uint64_t count) {
  if (parts_.lower.tree.contains(id) && !parts_.nodes.is_row_released(id, count)) return;
  {
    const PartLock lock(parts_.mutex);
    const NodePtr node = parts_.nodes.known(id);
    if (!node) return;
    parts_.nodes.take_references(*node, count);
    parts_.objects.release_if_unused(node);
  }
  parts_.settling.keep_up();  // it may be in memory for nothing else
}

Result<Attr> Overlay::getattr(NodeId id) {
  if (parts_.nodes.is_held_untouched(id)) return parts_.lower.attr(static_cast<tree::NodeId>(id));
  const PartLock lock(parts_.mutex);
  LB_ASSIGN(const Ref ref, parts_.nodes.find(id));
  if (!ref.node) return parts_.lower.attr(ref.lower);
  return parts_.objects.attr_of(*ref.node);
}

Result<std::string> Overlay::readlink(NodeId id) {
  const PartLock lock(parts_.mutex);
  LB_ASSIGN(const Ref ref, parts_.nodes.find(id));
  const std::uint32_t mode = ref.node ? ref.node->type : parts_.lower.tree.node(ref.lower).mode;
  if (!S_ISLNK(mode)) return fail(EINVAL);
  if (ref.is_lower()) return std::string(parts_.lower.tree.symlink_target(ref.lower));
  LB_ASSIGN(const HeldPlace place, parts_.places.place_of(ref.node));
  return link_target_at(parts_.places.keeping(), place.get());
}

Result<void> Overlay::readdir(NodeId id, std::uint64_t cookie, bool with_nodes, const AddEntry& add) {
  // What was told counts: an error after it is for the client's next request.
  bool has_told = false;
  const auto tell = [&](const Dirent& dirent, const Entry& entry) {
    const bool taken = add(dirent, entry);
    has_told = has_told || taken;
    return taken;
  };
  for (std::uint64_t next = cookie;;) {
    auto listed = list_some(id, next, with_nodes, tell);
    if (!listed) return has_told ? Result<void>() : std::unexpected(std::move(listed).error());
    if (!*listed) return {};
    next = **listed;
    parts_.mutex.give_way();
  }
}

/// Of a directory of any size, what is done under the lock in one go.
Result<std::optional<std::uint64_t>> Overlay::list_some(NodeId id, std::uint64_t cookie, bool with_nodes,
                                                        const AddEntry& add) {
  PartLock lock(parts_.mutex);
  parts_.objects.ask_for_room();
  LB_ASSIGN(const Ref directory, parts_.directories.find(lock, id, PartLock::For::kLooking));
  return parts_.directories.list(directory, cookie, with_nodes, add);
}

Result<StatFs> Overlay::statfs() {
  constexpr std::uint64_t kBlock = 4096;
  const auto limits = quota().limits();
  const auto available = quota().available();
  return StatFs{.block_size_bytes = kBlock,
                .blocks = limits.bytes / kBlock,
                .blocks_free = available.bytes / kBlock,
                .inodes = limits.inodes,
                .inodes_free = available.inodes};
}

}  // namespace layerboot::overlay
