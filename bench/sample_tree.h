// The tree that servers are measured on, and the bytes that must be in it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "oci-mount/base/result.h"

namespace layerboot::bench {

inline constexpr std::uint64_t kBigFileBytes = 64U << 20;
inline constexpr std::uint64_t kBigFileSeed = 1;
inline constexpr unsigned kSmallFiles = 1000;
inline constexpr unsigned kWalkDirectories = 50;
inline constexpr unsigned kWalkFiles = 100;  // in each

[[nodiscard]] std::string small_file_name(unsigned index);
[[nodiscard]] std::uint32_t small_file_bytes(unsigned index);

/// What the file of `seed` holds from `offset` (of whole 8 bytes) on; about half of it is squeezed out by
/// gzip.
void fill_expected(std::uint64_t seed, std::uint64_t offset, std::span<std::byte> into);
/// Whether `bytes` are those of the file of `seed` at `offset`, as above.
[[nodiscard]] bool is_expected(std::uint64_t seed, std::uint64_t offset, std::span<const std::byte> bytes);

/// Makes big.bin, small/*, walk/*/* and an empty scratch/ in `directory`.
Result<void> make_sample_tree(const std::filesystem::path& directory);

}  // namespace layerboot::bench
