#include "bench/sample_tree.h"

#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "oci-mount/base/files.h"

namespace layerboot::bench {

namespace {

constexpr std::size_t kWordBytes = 8;
constexpr std::size_t kPieceBytes = 1U << 20;

std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdULL;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ULL;
  return x ^ (x >> 33);
}

/// One of 8192 words, so that it compresses somewhat as files of a system do.
std::uint64_t word_at(std::uint64_t seed, std::uint64_t index) {
  return mix((mix(seed * 0x9e3779b97f4a7c15ULL + index) & 0x1fff) + 1);
}

Result<void> write_sample(const std::filesystem::path& path, std::uint64_t seed, std::uint64_t size_bytes) {
  LB_ASSIGN(const UniqueFd file, open_path(path, O_WRONLY | O_CREAT | O_TRUNC, 0644));
  std::vector<std::byte> piece(kPieceBytes);
  for (std::uint64_t at = 0; at < size_bytes; at += piece.size()) {
    const std::span part(piece.data(), std::min<std::uint64_t>(piece.size(), size_bytes - at));
    fill_expected(seed, at, part);
    LB_TRY(write_all(file.get(), part, at));
  }
  return {};
}

}  // namespace

std::string small_file_name(unsigned index) { return str_cat("file-", index, ".txt"); }

std::uint32_t small_file_bytes(unsigned index) { return 512 + (index * 1237) % 7680; }

void fill_expected(std::uint64_t seed, std::uint64_t offset, std::span<std::byte> into) {
  for (std::size_t done = 0; done < into.size(); done += kWordBytes) {
    const std::uint64_t word = word_at(seed, (offset + done) / kWordBytes);
    std::memcpy(into.data() + done, &word, std::min(kWordBytes, into.size() - done));
  }
}

bool is_expected(std::uint64_t seed, std::uint64_t offset, std::span<const std::byte> bytes) {
  for (std::size_t done = 0; done < bytes.size(); done += kWordBytes) {
    const std::uint64_t word = word_at(seed, (offset + done) / kWordBytes);
    if (std::memcmp(bytes.data() + done, &word, std::min(kWordBytes, bytes.size() - done)) != 0) return false;
  }
  return true;
}

Result<void> make_sample_tree(const std::filesystem::path& directory) {
  LB_TRY(make_directories(directory / "small"));
  LB_TRY(make_directories(directory / "scratch"));
  LB_TRY(write_sample(directory / "big.bin", kBigFileSeed, kBigFileBytes));
  for (unsigned i = 0; i < kSmallFiles; ++i) {
    LB_TRY(write_sample(directory / "small" / small_file_name(i), 100 + i, small_file_bytes(i)));
  }
  for (unsigned i = 0; i < kWalkDirectories; ++i) {
    const auto part = directory / "walk" / str_cat("directory-", i);
    LB_TRY(make_directories(part));
    for (unsigned j = 0; j < kWalkFiles; ++j) {
      LB_TRY(write_sample(part / str_cat("an-ordinary-name-", j, ".conf"), 7, 64));
    }
  }
  return {};
}

}  // namespace layerboot::bench
