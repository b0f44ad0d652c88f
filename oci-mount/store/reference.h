// What a user types for IMAGE, taken apart. Pure; nothing is opened here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"
#include "oci-mount/store/digest.h"

namespace layerboot::store {

enum class SourceKind : std::uint8_t { kLayout, kOciArchive, kDockerArchive, kContainerd, kDirectory };

/// Where an image is to be found, and what may be its name there.
struct Reference {
  std::string text;  // as typed, for messages
  SourceKind kind = SourceKind::kLayout;
  /// The OCI layout's directory, the archive, the directory to serve, or containerd's root.
  std::filesystem::path layout;
  bool in_store = false;  // the layout is the local store, `names` are image names
  /// Values of org.opencontainers.image.ref.name (docker-archive: of RepoTags; containerd: image names) to
  /// look for, best first. Empty: none was given, so the only image there is, else "latest".
  std::vector<std::string> names;
  /// Of `NAME@DIGEST`: the image's manifest has it, where no entry has one of the names.
  std::optional<Digest> digest;
  /// Instead of a name: which image of its list, from 0.
  std::optional<std::size_t> number;
};

/// Takes `oci:DIR[:TAG]` and `oci-archive:FILE[:TAG]` (split at the first colon, as skopeo does),
/// `docker-archive:FILE[:NAME:TAG]` (of all three also `:@N`, the N-th image from 0), `containerd:NAME`,
/// `dir:PATH`, and image names (`debian:12`, `docker.io/library/debian:12`; no tag means `latest`), which are
/// looked up in the local store. A name may have `docker://` before it, and `@DIGEST` behind it, for which a
/// tag before that does not count, as in Docker. ENOTSUP for the ecosystem's other notations, with what to
/// use instead; EINVAL for what is none.
Result<Reference> parse_reference(std::string_view text, const StateDirs& dirs);

/// Whether it begins with a notation that says where the image is, of those that parse_reference() takes or
/// refuses by name: it is no path and no name of an image then, however it ends.
[[nodiscard]] bool says_its_notation(std::string_view text);

}  // namespace layerboot::store
