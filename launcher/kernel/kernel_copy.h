// What a kernel is made of, copied out of an image or another tree that strangers made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// Above these a tree is refused (E2BIG): more than any distribution's kernel has with its debug symbols.
inline constexpr std::size_t kMaxKernelObjects = 200'000;
inline constexpr std::uint64_t kMaxKernelTreeBytes = std::uint64_t{16} << 30;
inline constexpr unsigned kMaxKernelTreeDepth = 64;

/// Makes `to`, which must not exist, out of the directory `from`: its directories, its files, and those
/// symlinks that lead to a file in it without leaving it. What is made is `user`'s (0: ours). Everything else
/// stays behind (devices, fifos, sockets, symlinks to directories, which depmod would follow), as do set-id
/// bits and owners; modes let the owner read. Top-level names of `unwanted` that are no directories stay
/// behind too, without a word. Gives the paths in `from` of what was left out otherwise. Follows no symlink,
/// and waits for no fifo. EINTR when interrupted. REQUIRES: inside an InterruptScope; `from` does not change.
Result<std::vector<std::string>> copy_kernel_tree(const std::filesystem::path& from,
                                                  const std::filesystem::path& to,
                                                  const std::vector<std::string>& unwanted,
                                                  unsigned user = 0);

/// The same of one file, ours, that everybody may read. EINVAL where `from` is none, or a symlink.
Result<void> copy_kernel_file(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace layerboot::launcher
