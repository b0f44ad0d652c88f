#include "oci-mount/layer/stream_hash.h"

#include <xxhash.h>

namespace layerboot::layer {

std::uint64_t span_hash(std::span<const std::byte> bytes) {
  return ::XXH3_64bits(bytes.data(), bytes.size());
}

void StreamHash::Free::operator()(XXH3_state_s* state) const { ::XXH3_freeState(state); }

Result<StreamHash> StreamHash::create() {
  StreamHash hash(::XXH3_createState());
  if (!hash.state_) return fail(ENOMEM, "no memory for a hash");
  hash.reset();
  return hash;
}

// The state of XXH3's two widths is one, and so is what they do with the bytes.
void StreamHash::update(std::span<const std::byte> bytes) {
  ::XXH3_128bits_update(state_.get(), bytes.data(), bytes.size());
}

void StreamHash::reset() { ::XXH3_128bits_reset(state_.get()); }

std::uint64_t StreamHash::digest() const { return ::XXH3_64bits_digest(state_.get()); }

StreamHash::Wide StreamHash::wide_digest() const {
  const XXH128_hash_t hash = ::XXH3_128bits_digest(state_.get());
  return {hash.high64, hash.low64};
}

}  // namespace layerboot::layer
