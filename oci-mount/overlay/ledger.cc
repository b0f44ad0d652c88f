#include "oci-mount/overlay/ledger.h"

#include "oci-mount/base/disk_blocks.h"

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
  quota_.settle_bytes(node.charge.bytes, 0);
  quota_.remove_inode();
  node.charge.bytes = 0;
}

void Ledger::charge(Node& node, const struct stat& st) {
  const std::uint64_t allocated = allocated_bytes(st);
  if (node.is_regular() && tariff_.keeps_what_is_cut()) {
    if (allocated < node.charge.allocated_bytes) {
      node.charge.kept_bytes += node.charge.allocated_bytes - allocated;
      doubt();
    }
    if (st.st_size == 0 && allocated == 0) node.charge.kept_bytes = 0;
  }
  node.charge.allocated_bytes = allocated;
  const std::uint64_t bytes = charge_of(node, st);
  node.charge.unbooked_name_bytes = 0;
  if (bytes == node.charge.bytes) return;
  quota_.settle_bytes(node.charge.bytes, bytes);
  node.charge.bytes = bytes;
}

void Ledger::meet(Node& node, const struct stat& st) {
  const auto remembered = late_growth_.take(st.st_ino);
  node.charge.bytes = remembered.value_or(charge_of(node, st));
  charge(node, st);
  if (remembered) grow_late(node);
}

void Ledger::part(Node& node) {
  if (node.is_gone()) return;
  late_files_.drop(node);
  if (node.charge.grows_late) late_growth_.remember(node.host_ino, node.charge.bytes);
}

void Ledger::grow_late(Node& file) {
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
  return late_files_.fill(0) == kLittle ? kLittle : late_files_.fill(quota_.limits().bytes);
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
  const auto st = stat_at({fd, ""});
  if (!st || st->st_nlink > 0) quota_.settle_bytes(0, bytes);
}

void Ledger::change_whiteouts(std::size_t gone, std::size_t made) {
  if (gone != made) quota_.settle_bytes(gone * tariff_.whiteout(), made * tariff_.whiteout());
}

std::vector<CleanStop::LateFile> Ledger::late_files() const {
  std::vector<CleanStop::LateFile> files;
  for (const auto& [ino, bytes] : late_growth_.all()) files.push_back({ino, bytes});
  return files;
}

void Ledger::recall(const std::vector<CleanStop::LateFile>& late_files) {
  for (const auto& file : late_files) late_growth_.remember(file.host_ino, file.charged_bytes);
}

void Ledger::recount(const Survey& survey, Counted counted) {
  if (counted == Counted::kOnDisk) late_growth_.clear();
  late_growth_.take_count(survey.late_files);
  in_doubt_ = false;
  quota_.set_usage(survey.usage);
}

}  // namespace layerboot::overlay
