// Manifests as text, for what must be refused of them.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "oci-mount/base/str_cat.h"
#include "oci-mount/store/oci_json.h"

namespace layerboot::store {

inline const std::string kHex(64, 'a');

inline std::string manifest_with(std::string_view layer) {
  return str_cat(R"({"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json",)",
                 R"("digest":"sha256:)", kHex, R"(","size":2},"layers":[)", layer, "]}");
}

inline void expect_refused(const std::string& manifest, std::string_view word) {
  const auto parsed = parse_manifest(manifest, "the manifest");
  ASSERT_FALSE(parsed) << manifest;
  EXPECT_NE(parsed.error().text.find(word), std::string::npos) << parsed.error().text;
}

}  // namespace layerboot::store
