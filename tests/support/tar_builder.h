// TarBuilder: tars for tests, good and bad, byte by byte as asked.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace layerboot::test {

enum class TarFormat { kUstar, kGnu, kV7 };

struct TarMember {
  char type = '0';
  std::string name;
  std::string content;
  std::string link;
  std::uint64_t mode = 0644;
  std::int64_t uid = 0;
  std::int64_t gid = 0;
  std::int64_t mtime = 1'700'000'000;
  std::uint64_t device_major = 0;
  std::uint64_t device_minor = 0;
  std::vector<std::pair<std::string, std::string>> pax;  // records of a PAX header before it
};

/// Members in the order of the calls.
class TarBuilder {
 public:
  explicit TarBuilder(TarFormat format = TarFormat::kUstar) : format_(format) {}

  TarBuilder& file(std::string name, std::string content, std::uint64_t mode = 0644);
  TarBuilder& directory(std::string name, std::uint64_t mode = 0755);
  TarBuilder& symlink(std::string name, std::string target);
  TarBuilder& hard_link(std::string name, std::string target);
  /// An empty file `.wh.NAME` beside where NAME would be.
  TarBuilder& whiteout(std::string_view path);
  TarBuilder& opaque(std::string_view directory);
  /// A name over 100 bytes, or a number that octal can't hold, gets a PAX record (GNU: long name, base-256).
  TarBuilder& add(TarMember member);
  TarBuilder& raw(std::string_view bytes);

  /// With the end marker.
  [[nodiscard]] std::string finish() const;
  [[nodiscard]] const std::string& without_end() const { return bytes_; }

 private:
  void header(const TarMember& member, std::uint64_t size_bytes);
  void data(std::string_view content);

  TarFormat format_;
  std::string bytes_;
};

/// "LENGTH KEY=VALUE\n", with the length that counts itself.
std::string pax_record(std::string_view key, std::string_view value);
/// Puts the right checksum into the 512-byte header at `offset`.
void fix_checksum(std::string& tar, std::size_t offset);

}  // namespace layerboot::test
