// A password as shadow(5) keeps it.
#pragma once

#include <string>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// SHA-512 (crypt(5)), with a fresh salt, which every image's login knows. EINVAL for an empty password, or
/// one that crypt(3) does not take.
Result<std::string> hash_password(const std::string& password);

}  // namespace layerboot::launcher
