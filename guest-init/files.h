// Small things done with files.
#pragma once

#include <string>
#include <string_view>

namespace guest_init {

/// The whole of a small file, up to 16 MiB; empty when it can't be read.
std::string read_text(const std::string& path);
std::string read_text_at(int directory, const std::string& path);

/// write(2) until all is written; false, with errno, when that fails.
bool write_all(int fd, std::string_view bytes);

/// Writes all of it; false, with errno, when that fails.
bool write_text(const std::string& path, std::string_view text);

/// mkdir -p; what can't be made shows when the directory is used.
void make_directories(const std::string& path);

}  // namespace guest_init
