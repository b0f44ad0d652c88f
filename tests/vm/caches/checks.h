// What a guest's caches must not get wrong: one check each, on a directory of the file system under test and
// one of a tmpfs, which is the oracle. They run in a VM as root, print what differs and give the number of
// that.
#pragma once

#include <string>

namespace layerboot::caches {

/// Set-id bits and capabilities after every kind of change by root, the owner, a member of the group and
/// others: what stat tells at once and what it tells later.
unsigned check_privileges(const std::string& directory, const std::string& oracle);

/// Whose rights a set-id program has that somebody else has changed.
unsigned check_programs(const std::string& directory);

/// `operations` random changes of names, modes, lengths and links; results and all that is seen are compared.
unsigned check_names(const std::string& directory, const std::string& oracle, unsigned seed,
                     unsigned operations);

/// Pages of what is written directly.
unsigned check_pages(const std::string& directory, unsigned rounds);

}  // namespace layerboot::caches
