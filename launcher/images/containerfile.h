// A Containerfile taken apart into its instructions. Pure.
//
// As Docker's reference of the Dockerfile has them: a `\` at the end that no other one escapes continues a
// line, and lines that begin with a '#' are comments, also between continued ones. Stricter where something
// would else be done otherwise than meant: another escape character and unknown instructions are refused, by
// name and line.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/images/here_documents.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

inline constexpr std::size_t kMaxContainerfileBytes = std::size_t{1} << 20;

struct Instruction {
  unsigned line = 0;                         // that it begins on, from 1
  std::string word;                          // "RUN"
  std::vector<std::string> flags;            // "--chown=1:1", of those that have any
  std::string text;                          // what is left of it
  std::vector<HereDocument> documents = {};  // as its words begin them

  friend bool operator==(const Instruction&, const Instruction&) = default;
};

/// EINVAL and ENOTSUP say what is wrong, with its line.
Result<std::vector<Instruction>> parse_containerfile(std::string_view text);

/// As other builders read it, for what it says about images: instructions that are not known, here-documents
/// without an end and another escape character are taken as they are. EINVAL for what is no text.
Result<std::vector<Instruction>> skim_containerfile(std::string_view text);

/// "line 7: RUN make -C /src …", for messages.
[[nodiscard]] std::string said_at(const Instruction& instruction);

}  // namespace layerboot::launcher
