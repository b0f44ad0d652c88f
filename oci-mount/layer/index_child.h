// Indexing a layer in a child process, since who parses foreign bytes can be taken over by them.
//
// The child (base/walled_child.h) gets the blob in pieces (blob_feed.h) and two nameless files to fill
// (index_messages.h), and tells by a socket how far it is. Nothing it says or writes is believed: the program
// hashes what it hands out, checks the index as if it had found it somewhere, and gives it its name.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>

#include "oci-mount/base/result.h"
#include "oci-mount/layer/index_builder.h"

namespace layerboot::layer {

/// What main() begins with in each program that opens images. In a child it does the child's work, and gives
/// the exit code to end with; else nothing. From then on build_index_in_child() can be had. Without threads.
std::optional<int> run_as_index_child(int argc, const char* const* argv);
/// False in a program whose main() does not begin so: a test's, a benchmark's.
bool has_index_children();

/// build_index() in a child. REQUIRES: has_index_children(). Errors also
/// where the child can't be started, is killed, breaks down, or needs more memory or time than it gets
/// (limits.h); they name the blob. Blocks until the child is gone.
Result<LayerIndex> build_index_in_child(const store::Blob& blob, const ExpectedLayer& expected,
                                        const std::filesystem::path& path,
                                        const std::function<void(std::uint64_t)>& on_progress);

}  // namespace layerboot::layer
