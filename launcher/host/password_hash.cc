#include "launcher/host/password_hash.h"

#include <crypt.h>
#include <sys/random.h>

#include <array>
#include <memory>

#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {

Result<std::string> hash_password(const std::string& password) {
  static constexpr std::string_view kSaltLetters =
      "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  if (password.empty()) return fail(EINVAL, "a password has letters");
  std::array<unsigned char, 16> random{};
  if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size()))
    return errno_error("getrandom");
  std::string setting = "$6$";
  for (const unsigned char byte : random) setting += kSaltLetters[byte % kSaltLetters.size()];
  const auto data = std::make_unique<crypt_data>();
  const char* hash = ::crypt_r(password.c_str(), setting.c_str(), data.get());
  if (hash == nullptr || hash[0] == '*')
    return fail(EINVAL, "the C library's crypt does not take this password");
  return std::string(hash);
}

}  // namespace layerboot::launcher
