// A root on a disk: which device it is, and whether it is in order.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace guest_init {

/// Name and number of an ext2, ext3 or ext4 file system.
struct ExtIdentity {
  std::string uuid;  // lower case, with hyphens
  std::string label;
};

/// Pure. `superblock`: the 1024 bytes at offset 1024 of the device. False when it is no ext file system.
/// Follows the kernel's Documentation/filesystems/ext4/super.rst.
bool parse_ext_superblock(std::string_view superblock, ExtIdentity& identity);

/// The size of the file system, from the same bytes; 0 when it is none.
std::uint64_t parse_ext_bytes(std::string_view superblock);
/// The size of the file system on a device; 0 when there is none.
std::uint64_t ext_bytes(const std::string& device);

/// The device that root= means: a path or a tag stays as it is, UUID= and LABEL= are looked for on all block
/// devices. Empty while there is none.
std::string find_root_device(const std::string& root);

/// Runs the initrd's e2fsck on the device, repairing what is safe to repair. Without an e2fsck the kernel's
/// journal replay at mount has to do. Stops the boot when a person has to look; restarts when e2fsck asks.
void check_disk(const std::string& device);

}  // namespace guest_init
