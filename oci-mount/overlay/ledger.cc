#include "oci-mount/overlay/ledger.h"

namespace layerboot::overlay {

namespace {

std::uint64_t charge_of(const Node& node, const struct stat& st) {
  return node.is_root() ? charge_of_root(st) : static_cast<std::uint64_t>(st.st_blocks) * 512;
}

}  // namespace

void Ledger::remove_object(Node& node) {
  quota_.settle_bytes(node.charge.bytes, 0);
  quota_.remove_inode();
  node.charge.bytes = 0;
}

void Ledger::charge(Node& node, const struct stat& st) {
  const std::uint64_t bytes = charge_of(node, st);
  node.charge.unbooked_name_bytes = 0;
  if (bytes == node.charge.bytes) return;
  quota_.settle_bytes(node.charge.bytes, bytes);
  node.charge.bytes = bytes;
}

void Ledger::meet(Node& node, const struct stat& st) {
  const auto remembered = late_growth_.take(st.st_ino);
  node.charge.grows_late = remembered.has_value();
  node.charge.bytes = remembered.value_or(charge_of(node, st));
  charge(node, st);
}

void Ledger::part(const Node& node) {
  if (node.charge.grows_late && !node.is_gone()) late_growth_.remember(node.host_ino, node.charge.bytes);
}

bool Ledger::add_name(Node& directory, std::string_view name) {
  constexpr std::size_t kBookedAfterBytes = 2048;
  directory.charge.unbooked_name_bytes += name.size();
  return directory.charge.unbooked_name_bytes >= kBookedAfterBytes;
}

void Ledger::recount(Quota::Usage used) {
  late_growth_.clear();
  quota_.set_usage(used);
}

}  // namespace layerboot::overlay
