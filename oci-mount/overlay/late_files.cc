#include "oci-mount/overlay/late_files.h"

#include <algorithm>
#include <utility>

namespace layerboot::overlay {

std::uint64_t LateFiles::most_bytes(std::uint64_t budget_bytes) {
  constexpr std::uint64_t kPart = 32;  // twice what a file of all of the budget may take, and more
  return std::max(budget_bytes / kPart, kLeastBytes);
}

void LateFiles::add(Node& file, std::uint64_t late_bytes) {
  auto& charge = file.charge;
  if (late_bytes == 0) return drop(file);
  if (charge.late_bytes == 0) ++count_;
  bytes_ += late_bytes - charge.late_bytes;
  charge.late_bytes = late_bytes;
  list(file);
}

void LateFiles::list(Node& file) {
  if (std::exchange(file.charge.is_listed, true)) return;
  file.charge.listed_at = files_.insert(files_.end(), file.shared_from_this());
}

void LateFiles::list_again(Node& file) {
  if (file.charge.late_bytes > 0) list(file);
}

void LateFiles::unlist(Node& file) {
  if (std::exchange(file.charge.is_listed, false)) files_.erase(file.charge.listed_at);
}

void LateFiles::drop(Node& file) {
  if (file.charge.late_bytes > 0) --count_;
  bytes_ -= std::exchange(file.charge.late_bytes, 0);
  unlist(file);
}

NodePtr LateFiles::take_first() {
  if (files_.empty()) return nullptr;
  NodePtr first = files_.front();
  unlist(*first);
  return first;
}

LateFiles::Fill LateFiles::fill(std::uint64_t budget_bytes, std::uint64_t forgotten_bytes) const {
  const std::size_t count = count_.load(std::memory_order_relaxed);
  const std::uint64_t bytes = bytes_.load(std::memory_order_relaxed) + forgotten_bytes;
  const std::uint64_t most = most_bytes(budget_bytes);
  // What is being settled counts as well: there is to be room for that.
  if (count > kMostFiles / 4 * 3 || bytes > most / 4 * 3) return Fill::kTooMuch;
  return count > kMostFiles / 2 || bytes > most / 2 ? Fill::kMuch : Fill::kLittle;
}

}  // namespace layerboot::overlay
