// The documents of an image, and references to one, of any content.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "oci-mount/store/oci_json.h"
#include "oci-mount/store/reference.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace layerboot::store;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto index = parse_index(text, "index");
  const auto manifest = parse_manifest(text, "manifest");
  if (index && manifest) std::abort();  // one document, two meanings
  if (const auto config = parse_config(text, "config"); config) {
    for (const auto& diff_id : config->diff_ids) {
      if (!Digest::parse(diff_id.text())) std::abort();
    }
  }
  const auto reference = parse_reference(text, {"/data", "/cache", "/run"});
  if (reference && reference->layout.empty()) std::abort();
  return 0;
}
