// ImageBuilder: small OCI layouts for tests.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace layerboot::test {

/// One gzip member, at zlib's `level` (0: stored blocks).
std::string gzip(std::string_view bytes, int level = 6);
/// One stream, as the tools make them.
std::string zstd(std::string_view bytes);
std::string xz(std::string_view bytes, unsigned level = 1);
std::string bzip2(std::string_view bytes);
/// Cut into pieces of `piece_bytes`, each a member of its own.
std::string gzip_members(std::string_view bytes, std::size_t piece_bytes);
std::string sha256_text(std::string_view bytes);

/// Bytes that compress about as files of a system do; the same for the same seed.
std::string sample_bytes(std::size_t size_bytes, std::uint64_t seed);

void write_text(const std::filesystem::path& path, std::string_view text);
std::string read_text(const std::filesystem::path& path);

/// Writes an OCI layout; each step may be made wrong on purpose through the public fields.
class ImageBuilder {
 public:
  /// `layout` is made.
  explicit ImageBuilder(std::filesystem::path layout);

  struct Layer {
    std::string media_type;
    std::string blob;     // as stored
    std::string diff_id;  // "sha256:…" of the tar
  };
  ImageBuilder& add_gzip_layer(std::string_view tar);
  ImageBuilder& add_plain_layer(std::string_view tar);
  ImageBuilder& add_layer(Layer layer);

  /// Writes blobs, config, manifest and index.json with the image as the tag `tag`, beside those of other
  /// tags written before.
  void write(std::string_view tag = "latest");

  std::vector<Layer> layers;
  /// Goes into the config document's "config" object, as JSON.
  std::string config_json = R"({"Env":["PATH=/bin"],"Cmd":["/bin/sh"]})";
  std::string architecture;  // the host's, unless set
  std::string os = "linux";
  std::string config_more_json;  // more members of the config document, each with a comma behind it
  std::string manifest_type = "application/vnd.oci.image.manifest.v1+json";
  std::string config_type = "application/vnd.oci.image.config.v1+json";
  /// Of the manifest that write() wrote last, without a name.
  std::string last_descriptor;

  [[nodiscard]] const std::filesystem::path& layout() const { return layout_; }
  [[nodiscard]] std::filesystem::path blob_path(std::string_view digest) const;
  /// Stores a blob; gives its digest.
  std::string add_blob(std::string_view bytes);
  /// Appends a descriptor (JSON) to index.json.
  void add_to_index(std::string descriptor);

 private:
  std::filesystem::path layout_;
  std::vector<std::string> descriptors_;
};

}  // namespace layerboot::test
