// Archives of any content, as docker save or skopeo would have made them; docker save's manifest.json and
// what `ctr images ls` prints, by themselves.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "oci-mount/base/files.h"
#include "oci-mount/base/str_cat.h"
#include "oci-mount/store/containerd.h"
#include "oci-mount/store/docker_archive.h"
#include "oci-mount/store/image.h"

namespace {

using namespace layerboot;
using namespace layerboot::store;

/// Whatever is taken has its layers within the archive.
void check(const Result<Image>& image, std::size_t archive_bytes) {
  if (!image) return;
  for (const ImageLayer& layer : image->layers) {
    if (!layer.opened || layer.opened->fd_offset() + layer.opened->size_bytes() > archive_bytes) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto images = parse_docker_manifest(text, "manifest.json"); images) {
    for (const DockerImage& image : *images) {
      if (image.config.empty()) std::abort();
    }
  }
  if (const auto top = parse_ctr_list(text); top && !Digest::parse(top->digest.text())) std::abort();

  static const UniqueFd file(::memfd_create("archive", MFD_CLOEXEC));
  if (::ftruncate(file.get(), 0) != 0 ||
      !write_all(file.get(), {reinterpret_cast<const std::byte*>(data), size}, 0))
    std::abort();
  const std::string path = str_cat("/proc/self/fd/", file.get());
  const StateDirs nowhere{"/proc/none", "/proc/none", "/proc/none"};
  check(open_image(str_cat("docker-archive:", path), nowhere), size);
  check(open_image(str_cat("oci-archive:", path), nowhere), size);
  return 0;
}
