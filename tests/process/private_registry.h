// A registry of the test's own: Debian's docker-registry on loopback, its storage in a directory of the test.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <string_view>

namespace layerboot::test {

/// Ended with this object.
class PrivateRegistry {
 public:
  /// With `htpasswd`, lines of user and bcrypt hash, only these users get in.
  explicit PrivateRegistry(const std::filesystem::path& directory, std::string_view htpasswd = "");
  ~PrivateRegistry();
  PrivateRegistry(const PrivateRegistry&) = delete;
  PrivateRegistry& operator=(const PrivateRegistry&) = delete;

  [[nodiscard]] bool works() const { return why_not_.empty(); }
  [[nodiscard]] const std::string& why_not() const { return why_not_; }
  [[nodiscard]] int port() const { return port_; }
  /// Blobs that clients have fetched, by the registry's own log. It writes a line when it is done with the
  /// answer: this waits until there are `at_least`, or it has taken too long.
  [[nodiscard]] std::size_t blobs_given(std::size_t at_least) const;
  /// Blobs that clients have sent whole, in the same way.
  [[nodiscard]] std::size_t blobs_taken(std::size_t at_least) const;

 private:
  template <typename Count>
  [[nodiscard]] std::size_t counted(std::size_t at_least, Count count) const;

  std::filesystem::path log_;
  std::string why_not_;
  int port_ = -1;
  pid_t pid_ = -1;
};

}  // namespace layerboot::test
