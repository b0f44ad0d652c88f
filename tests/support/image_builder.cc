#include "tests/support/image_builder.h"

#include <bzlib.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/str_cat.h"
#include "oci-mount/store/digest.h"
#include "oci-mount/store/image.h"

namespace layerboot::test {

std::string gzip(std::string_view bytes, int level) {
  constexpr int kGzip = 15 + 16;
  z_stream stream{};
  if (::deflateInit2(&stream, level, Z_DEFLATED, kGzip, 8, Z_DEFAULT_STRATEGY) != Z_OK) std::abort();
  std::string out(::deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  if (::deflate(&stream, Z_FINISH) != Z_STREAM_END) std::abort();
  out.resize(stream.total_out);
  ::deflateEnd(&stream);
  return out;
}

std::string zstd(std::string_view bytes) {
  std::string out(::ZSTD_compressBound(bytes.size()), '\0');
  ZSTD_CCtx* const context = ::ZSTD_createCCtx();
  ::ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  const std::size_t size = ::ZSTD_compress2(context, out.data(), out.size(), bytes.data(), bytes.size());
  ::ZSTD_freeCCtx(context);
  if (::ZSTD_isError(size) != 0) std::abort();
  out.resize(size);
  return out;
}

std::string xz(std::string_view bytes, unsigned level) {
  std::string out(::lzma_stream_buffer_bound(bytes.size()), '\0');
  std::size_t size = 0;
  if (::lzma_easy_buffer_encode(level, LZMA_CHECK_CRC64, nullptr,
                                reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size(),
                                reinterpret_cast<std::uint8_t*>(out.data()), &size, out.size()) != LZMA_OK)
    std::abort();
  out.resize(size);
  return out;
}

std::string bzip2(std::string_view bytes) {
  constexpr std::size_t kMoreBytes = 600;  // and a hundredth, by its manual
  std::string out(bytes.size() + bytes.size() / 100 + kMoreBytes, '\0');
  auto size = static_cast<unsigned>(out.size());
  if (::BZ2_bzBuffToBuffCompress(out.data(), &size, const_cast<char*>(bytes.data()),
                                 static_cast<unsigned>(bytes.size()), 9, 0, 0) != BZ_OK)
    std::abort();
  out.resize(size);
  return out;
}

std::string gzip_members(std::string_view bytes, std::size_t piece_bytes) {
  std::string out;
  for (std::size_t offset = 0; offset < bytes.size(); offset += piece_bytes)
    out += gzip(bytes.substr(offset, piece_bytes));
  return out;
}

std::string sha256_text(std::string_view bytes) {
  const auto digest = store::digest_of(store::HashAlgorithm::kSha256, as_bytes(bytes));
  if (!digest) std::abort();
  return digest->text();
}

std::string sample_bytes(std::size_t size_bytes, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::string> words;
  for (int i = 0; i < 2000; ++i) {
    std::string word(3 + random() % 9, ' ');
    for (char& c : word) c = static_cast<char>('a' + random() % 26);
    words.push_back(word);
  }
  std::string out;
  out.reserve(size_bytes + 64);
  while (out.size() < size_bytes) {
    if (random() % 50 == 0) {
      for (int i = 0; i < 40; ++i) out += static_cast<char>(random());
    }
    out += words[random() % words.size() * (random() % words.size()) / words.size()];
    out += ' ';
  }
  out.resize(size_bytes);
  return out;
}

void write_text(const std::filesystem::path& path, std::string_view text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.flush()) std::abort();
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

ImageBuilder::ImageBuilder(std::filesystem::path layout)
    : architecture(store::host_architecture()), layout_(std::move(layout)) {
  std::filesystem::create_directories(layout_ / "blobs" / "sha256");
  write_text(layout_ / "oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
}

std::filesystem::path ImageBuilder::blob_path(std::string_view digest) const {
  return layout_ / "blobs" / "sha256" / digest.substr(digest.find(':') + 1);
}

std::string ImageBuilder::add_blob(std::string_view bytes) {
  const std::string digest = sha256_text(bytes);
  write_text(blob_path(digest), bytes);
  return digest;
}

ImageBuilder& ImageBuilder::add_gzip_layer(std::string_view tar) {
  return add_layer({"application/vnd.oci.image.layer.v1.tar+gzip", gzip(tar), sha256_text(tar)});
}

ImageBuilder& ImageBuilder::add_plain_layer(std::string_view tar) {
  return add_layer({"application/vnd.oci.image.layer.v1.tar", std::string(tar), sha256_text(tar)});
}

ImageBuilder& ImageBuilder::add_layer(Layer layer) {
  layers.push_back(std::move(layer));
  return *this;
}

void ImageBuilder::add_to_index(std::string descriptor) {
  descriptors_.push_back(std::move(descriptor));
  std::string list;
  for (const auto& one : descriptors_) list += str_cat(list.empty() ? "" : ",", one);
  write_text(layout_ / "index.json", str_cat(R"({"schemaVersion":2,"manifests":[)", list, "]}"));
}

void ImageBuilder::write(std::string_view tag) {
  const std::string name = str_cat(R"(ref.name":")", tag, R"(")");
  std::erase_if(descriptors_, [&](const std::string& one) { return one.find(name) != std::string::npos; });
  std::string diff_ids;
  std::string layer_list;
  for (const Layer& layer : layers) {
    diff_ids += str_cat(diff_ids.empty() ? "\"" : ",\"", layer.diff_id, "\"");
    layer_list += str_cat(layer_list.empty() ? "" : ",", R"({"mediaType":")", layer.media_type,
                          R"(","digest":")", add_blob(layer.blob), R"(","size":)", layer.blob.size(), "}");
  }
  const std::string config =
      str_cat("{", config_more_json, R"("architecture":")", architecture, R"(","os":")", os, R"(","config":)",
              config_json, R"(,"rootfs":{"type":"layers","diff_ids":[)", diff_ids, "]}}");
  const std::string config_digest = add_blob(config);
  const std::string manifest = str_cat(R"({"schemaVersion":2,"mediaType":")", manifest_type, R"(","config":)",
                                       R"({"mediaType":")", config_type, R"(","digest":")", config_digest,
                                       R"(","size":)", config.size(), R"(},"layers":[)", layer_list, "]}");
  const std::string manifest_digest = add_blob(manifest);
  const std::string descriptor = str_cat(R"({"mediaType":")", manifest_type, R"(","digest":")",
                                         manifest_digest, R"(","size":)", manifest.size());
  last_descriptor = descriptor + "}";
  add_to_index(
      str_cat(descriptor, R"(,"annotations":{"org.opencontainers.image.ref.name":")", tag, R"("}})"));
}

}  // namespace layerboot::test
