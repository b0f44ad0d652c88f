#include "oci-mount/overlay/ledger.h"

#include <algorithm>

#include "oci-mount/base/disk_blocks.h"
#include "oci-mount/overlay/file_rules.h"

namespace layerboot::overlay {

std::uint64_t Ledger::charge_of(const Node& node, const struct stat& st) const {
  if (node.is_root()) return tariff_.root(st) + node.charge.attribute_bytes;
  return tariff_.object(st) + tariff_.for_data(node.charge.kept_bytes) + node.charge.attribute_bytes;
}

Result<void> Ledger::count_attributes(Node& node, Place place) {
  LB_ASSIGN(node.charge.attribute_bytes, charge_of_attributes(tariff_, place));
  return {};
}

Result<Quota::Reservation> Ledger::reserve(std::uint64_t bytes, std::uint64_t inodes, Budget budget) {
  for (;;) {
    auto reserved = quota_.reserve(bytes, inodes, budget);
    if (reserved || burials_ == nullptr || !burials_->finish_one()) return reserved;
  }
}

Quota::Reservation Ledger::remove_object_later(Node& node) {
  auto held = quota_.hold(node.charge.bytes);
  remove_object(node);
  return held;
}

void Ledger::remove_object(Node& node) {
  late_files_.drop(node);
  set_gives_back(node, 0);
  quota_.settle_bytes(node.charge.bytes, 0);
  quota_.remove_inode();
  node.charge.bytes = 0;
}

/// What the client has allocated there itself is its own, and a tree of extents goes with the file. By what a
/// file with holes has, nobody sees how much of that is where: all of it may be ahead, until the host is
/// asked. It is not asked after each write, since it waits with its answer for other writes to the file.
void Ledger::note_ahead(Node& node, const struct stat& st) {
  auto& charge = node.charge;
  const std::uint64_t end = block_end(static_cast<std::uint64_t>(st.st_size));
  if (charge.allocated_bytes == 0) charge.is_sparse = false;
  if (charge.allocated_bytes > 0 && charge.allocated_bytes < end) charge.is_sparse = true;
  const std::uint64_t beyond = charge.is_sparse
                                   ? charge.seen_ahead_bytes.value_or(charge.allocated_bytes)
                                   : charge.allocated_bytes - std::min(charge.allocated_bytes, end);
  charge.is_ahead = beyond > 0;
  const std::uint64_t kept = node.file.keeps_ahead ? beyond : std::min(beyond, charge.kept_ahead_bytes);
  set_gives_back(node, beyond - kept);
}

void Ledger::set_gives_back(Node& node, std::uint64_t bytes) {
  ahead_bytes_ += bytes - std::exchange(node.charge.gives_back_bytes, bytes);
  if (bytes == 0) {
    ahead_.erase(node.id);
  } else if (node.id != 0) {
    ahead_.insert(node.id);
  }
}

void Ledger::keep_ahead(Node& node) {
  node.charge.kept_ahead_bytes += node.charge.gives_back_bytes;
  set_gives_back(node, 0);
}

void Ledger::charge(Node& node, const struct stat& st, std::optional<std::uint64_t> ahead_bytes) {
  const std::uint64_t allocated = allocated_bytes(st);
  if (node.is_regular() && tariff_.keeps_what_is_cut()) {
    // Who is alone with it knows what the difference means, and books it.
    if (node.file.may_keep_bytes > 0 && allocated != node.charge.allocated_bytes) return;
    if (allocated < node.charge.allocated_bytes)
      node.charge.kept_bytes += node.charge.allocated_bytes - allocated;
    if (st.st_size == 0 && allocated == 0) {
      node.charge.kept_bytes = 0;
      node.charge.kept_from = kNeverCut;
    }
  }
  if (ahead_bytes || allocated != node.charge.allocated_bytes) node.charge.seen_ahead_bytes = ahead_bytes;
  node.charge.allocated_bytes = allocated;
  if (tariff_.allocates_ahead() && node.is_regular()) note_ahead(node, st);
  const std::uint64_t bytes = charge_of(node, st);
  node.charge.unbooked_name_bytes = 0;
  if (bytes == node.charge.bytes) return;
  quota_.settle_bytes(node.charge.bytes, bytes);
  node.charge.bytes = bytes;
}

/// Where that is not all on the disk an extent may come to reach over the cut, and the next cut there keeps
/// all of it.
void Ledger::note_cut(Node& node, const struct stat& st, bool is_on_disk) {
  auto& charge = node.charge;
  const std::uint64_t now = allocated_bytes(st);
  const std::uint64_t from = block_end(static_cast<std::uint64_t>(st.st_size));
  const bool is_deeper = charge.kept_from != kNeverCut && from <= charge.kept_from;
  const std::uint64_t fallen = charge.allocated_bytes - std::min(charge.allocated_bytes, now);
  charge.kept_bytes += is_deeper ? std::min(fallen, charge.kept_from - from) : fallen;
  charge.allocated_bytes = now;
  charge.kept_from = is_on_disk && now >= from && from > 0 ? from : kNeverCut;
}

void Ledger::note_replaced(Node& node, const struct stat& st, std::uint64_t replaced_bytes) {
  auto& charge = node.charge;
  const std::uint64_t now = allocated_bytes(st);
  const std::uint64_t grown = now - std::min(now, charge.allocated_bytes);
  charge.kept_bytes += replaced_bytes - std::min(replaced_bytes, grown);
  charge.kept_from = kNeverCut;
}

void Ledger::expect_kept(Node& node, std::uint64_t bytes) {
  node.file.may_keep_bytes = bytes;
  node.file.is_kept_whole = outliving_ > 0;
}

void Ledger::charge_kept_whole(Node& node) {
  if (!node.file.is_kept_whole) return;
  node.charge.kept_bytes += node.file.may_keep_bytes;
  node.charge.kept_from = kNeverCut;
  node.charge.allocated_bytes = 0;  // so that nothing has fallen
}

void Ledger::meet(Node& node, const struct stat& st) {
  const auto remembered = late_growth_.take(st.st_ino);
  if (remembered) {
    node.charge.kept_bytes = remembered->kept_bytes;
    node.charge.kept_from = remembered->kept_from;
    node.charge.is_sparse = remembered->is_sparse;
  }
  node.charge.bytes = remembered ? remembered->charged_bytes : charge_of(node, st);
  // What has blocks ahead was remembered when it left memory, or was counted.
  charge(node, st, remembered ? std::nullopt : std::optional<std::uint64_t>(0));
  if (remembered && remembered->late_bytes > 0) data_changed(node, DataChange::kAny);
}

void Ledger::part(Node& node) {
  if (node.is_gone()) return;
  late_files_.drop(node);
  set_gives_back(node, 0);
  const auto& charge = node.charge;
  // A request that is at work on it outlives the session, and nobody books for it then.
  const std::uint64_t kept_bytes = charge.kept_bytes + node.file.may_keep_bytes;
  if (!charge.grows_late && !charge.is_ahead && kept_bytes == 0) return;
  remember(node.host_ino, {.charged_bytes = charge.bytes,
                           .kept_bytes = kept_bytes,
                           .kept_from = charge.kept_from,
                           .later = charge.grows_late ? Later::kGrows : Later::kShrinks,
                           .is_sparse = charge.is_sparse});
}

void Ledger::remember(std::uint64_t host_ino, LateFile file) {
  // Charged is what is allocated, and more.
  file.late_bytes = file.later == Later::kGrows ? tariff_.late_growth(file.charged_bytes) : 0;
  file.later = file.late_bytes > 0 ? Later::kGrows : Later::kShrinks;
  late_growth_.remember(host_ino, file);
}

void Ledger::data_changed(Node& file, DataChange change) {
  if (change == DataChange::kInPlace && file.file.is_written) return;
  const std::uint64_t allocated = file.charge.allocated_bytes;
  if (!tariff_.changes_late(allocated)) return;
  file.charge.grows_late = true;
  late_files_.add(file, tariff_.late_growth(allocated));
}

void Ledger::settled(Node& file) {
  file.charge.grows_late = false;
  late_files_.drop(file);
}

LateFiles::Fill Ledger::late_fill() const {
  // Most often it is little by any budget, and the budget's lock need not be taken.
  constexpr auto kLittle = LateFiles::Fill::kLittle;
  const std::uint64_t forgotten_bytes = late_growth_.late_bytes();
  if (late_files_.fill(0, forgotten_bytes) == kLittle) return kLittle;
  return late_files_.fill(quota_.limits().bytes, forgotten_bytes);
}

bool Ledger::is_to_count_on_disk() const {
  if (late_is_missed_ || late_growth_.has_forgotten()) return true;
  // There is to be room for what comes until the next count.
  return late_growth_.all().size() > LateGrowth::kMaxFiles / 2 ||
         late_growth_.late_bytes() > LateFiles::most_bytes(quota_.limits().bytes) / 4;
}

bool Ledger::add_name(Node& directory, std::string_view name) {
  constexpr std::size_t kBookedAfterBytes = 2048;
  if (const std::uint64_t bytes = tariff_.name_in_directory(name.size()); bytes > 0) {
    quota_.settle_bytes(0, bytes);
    directory.charge.bytes += bytes;
  }
  directory.charge.unbooked_name_bytes += name.size();
  return directory.charge.unbooked_name_bytes >= kBookedAfterBytes;
}

void Ledger::miss(int fd, std::uint64_t bytes) {
  doubt();
  late_is_missed_ = true;
  const auto st = stat_at({fd, ""});
  if (!st || st->st_nlink > 0) quota_.settle_bytes(0, bytes);
}

void Ledger::change_whiteouts(std::size_t gone, std::size_t made) {
  if (gone != made) quota_.settle_bytes(gone * tariff_.whiteout(), made * tariff_.whiteout());
}

LateFilesByInode Ledger::kept_files() const {
  LateFilesByInode kept;
  for (const auto& [ino, file] : late_files()) {
    if (file.kept_bytes > 0) kept.emplace(ino, file).first->second.later = Later::kShrinks;
  }
  return kept;
}

void Ledger::recall(const CleanStop& stop) {
  late_growth_.forget_kept(stop.forgotten_kept_bytes);
  if (stop.is_counted) recall(stop.late_files);
}

void Ledger::recall(const LateFilesByInode& late_files) {
  for (const auto& [ino, file] : late_files) remember(ino, file);
}

void Ledger::recount(const Survey& survey, Counted counted) {
  // Those that give way below are in the count.
  Quota::Usage usage = survey.usage;
  usage.bytes += tariff_.for_data(late_growth_.forgotten_kept_bytes());
  if (counted == Counted::kOnDisk) {
    late_growth_.clear();
    late_is_missed_ = false;
  }
  late_growth_.begin_count();
  recall(survey.late_files);
  late_growth_.end_count();
  in_doubt_ = false;
  quota_.set_usage(usage);
}

}  // namespace layerboot::overlay
