#include "oci-mount/layer/index_child_main.h"

#include <malloc.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <new>
#include <optional>
#include <system_error>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/child_report.h"
#include "oci-mount/base/progress.h"
#include "oci-mount/base/walls.h"
#include "oci-mount/layer/blob_feed.h"
#include "oci-mount/layer/index_builder.h"
#include "oci-mount/layer/index_messages.h"
#include "oci-mount/layer/limits.h"

namespace layerboot::layer {

namespace {

constexpr ChildReports kReports(kChildSocketFd);

struct Work {
  std::unique_ptr<FedPieces> blob;
  ExpectedLayer expected;
};

Result<Work> receive_work() {
  std::array<std::byte, kMaxIndexMessageBytes> room;
  const ssize_t got = ::recv(kChildSocketFd, room.data(), room.size(), 0);
  if (got <= 0) return fail(EINVAL, "it is for the program itself to start");
  ByteReader reader{std::span<const std::byte>(room).first(static_cast<std::size_t>(got))};
  const auto request = reader.read<IndexRequest>();
  const std::string name(as_text(reader.take(request.name_bytes)));
  Work work;
  work.expected.source = as_text(reader.take(request.source_bytes));
  if (!reader.ok()) return fail(EINVAL, "a request cut short");
  LB_ASSIGN(work.blob, FedPieces::create(kChildFeedFd, name, request.blob_size_bytes, kReports));
  work.expected.identity = LayerIdentity::of_record(request.identity);
  work.expected.compression = static_cast<store::Compression>(request.compression);
  if (request.blob.kind != IdentityKind::kNone) {
    work.expected.digests = ExpectedLayer::Digests{digest_in(request.blob), request.expected_size_bytes,
                                                   digest_in(request.diff_id)};
  }
  return work;
}

std::string out_of_memory(const std::string& blob_name) {
  return str_cat(blob_name, " takes more than ", human_size(kMaxIndexingMemoryBytes),
                 " of memory to index, the limit for one layer");
}

/// Of whichever thread.
void say_out_of_memory_of(const std::string& blob_name) {
  static std::string text;
  text = out_of_memory(blob_name);
  std::set_new_handler([] {
    kReports.failed(ENOMEM, text);
    ::_exit(1);
  });
}

/// What libraries open files for, they do now.
Result<void> warm_up() {
  for (const auto algorithm : {store::HashAlgorithm::kSha256, store::HashAlgorithm::kSha512})
    LB_TRY(store::digest_of(algorithm, {}));
  return {};
}

Result<void> index() {
  ::mallopt(M_ARENA_MAX, 1);
  ::prctl(PR_SET_NAME, kIndexChildName);
  LB_ASSIGN(const Work work, receive_work());
  say_out_of_memory_of(work.blob->name());
  LB_TRY(warm_up());
  LB_TRY(leave_host(kChildFeedFd));
  std::optional<SideThread> side;
  try {
    side.emplace();
  } catch (const std::system_error&) {
    // Its stack is the largest piece of all.
    return fail(ENOMEM, out_of_memory(work.blob->name()));
  }
  LB_TRY(limit_use({.memory_bytes = kMaxIndexingMemoryBytes,
                    .cpu_seconds = kMaxIndexingCpuSeconds,
                    .file_bytes = kMaxIndexFileBytes}));
  LB_TRY(allow_only_what_is_open());
  FileAppender index_file(kChildIndexFd, "the index");
  FileAppender recut_file(kChildRecutFd, "the recut file");
  FileAppender scratch_file(kChildScratchFd, "the indexer's scratch file");
  return fill_index(*work.blob, work.expected, {index_file, recut_file, scratch_file}, *side,
                    [](std::uint64_t done) { kReports.progress(done); });
}

}  // namespace

int index_child_main() { kReports.end(index()); }

}  // namespace layerboot::layer
