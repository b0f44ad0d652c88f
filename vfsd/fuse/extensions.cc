#include "vfsd/fuse/extensions.h"

#include <algorithm>

#include "vfsd/fuse/reader.h"
#include "vfsd/fuse/wire.h"

namespace layerboot::vfsd::fuse {

namespace {

constexpr std::size_t kAlignment = 8;

}  // namespace

Extensions take_extensions(std::span<const std::byte>& body, std::size_t size_bytes) {
  if (size_bytes > body.size()) return {.malformed = true, .group = {}};
  auto rest = body.last(size_bytes);
  body = body.first(body.size() - size_bytes);
  Extensions found;
  while (!rest.empty()) {
    BodyReader reader(rest);
    const auto header = reader.take<fuse_ext_header>();
    if (!reader.ok() || header.size < sizeof(header) || header.size > rest.size()) {
      return {.malformed = true, .group = {}};
    }
    if (header.type == kExtGroups) {
      BodyReader groups(rest.first(header.size).subspan(sizeof(header)));
      const auto list = groups.take<SuppGroups>();
      // Linux sends one at most.
      if (list.count > 0) found.group = groups.take<std::uint32_t>();
      if (!groups.ok()) return {.malformed = true, .group = {}};
    }
    const std::size_t padded = (header.size + kAlignment - 1) / kAlignment * kAlignment;
    rest = rest.subspan(std::min(padded, rest.size()));
  }
  return found;
}

}  // namespace layerboot::vfsd::fuse
