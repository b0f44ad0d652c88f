#include "oci-mount/layer/index_child.h"

#include <sys/socket.h>

#include <cerrno>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/child_entry.h"
#include "oci-mount/base/child_report.h"
#include "oci-mount/base/walled_child.h"
#include "oci-mount/layer/blob_feed.h"
#include "oci-mount/layer/index_child_main.h"
#include "oci-mount/layer/index_messages.h"
#include "oci-mount/layer/limits.h"

namespace layerboot::layer {

namespace {

constinit ChildEntry index_children("--index-layer", &index_child_main);

std::string request_for(const store::Blob& blob, const ExpectedLayer& expected) {
  IndexRequest request;
  request.blob_size_bytes = blob.size_bytes();
  request.identity = expected.identity.record();
  if (expected.digests) {
    request.blob = identity_record(expected.digests->blob);
    request.diff_id = identity_record(expected.digests->diff_id);
    request.expected_size_bytes = expected.digests->size_bytes;
  }
  request.compression = static_cast<std::uint32_t>(expected.compression);
  request.name_bytes = static_cast<std::uint32_t>(blob.name().size());
  request.source_bytes = static_cast<std::uint32_t>(expected.source.size());
  return str_cat(as_text(object_bytes(request)), blob.name(), expected.source);
}

/// Of a child that ended without a word.
std::unexpected<Error> broken_down(const std::string& name, const WalledChild::End& end) {
  if (end.cpu_seconds + 1 >= kMaxIndexingCpuSeconds) {
    return fail(E2BIG, name, " takes more than ", kMaxIndexingCpuSeconds,
                " s of processor time to index, the limit for one layer");
  }
  return fail(EIO, name, " could not be indexed: the process that reads it ", how_it_broke_down(end));
}

}  // namespace

std::optional<int> run_as_index_child(int argc, const char* const* argv) {
  return index_children.enter(argc, argv);
}

bool has_index_children() { return index_children.is_offered(); }

Result<LayerIndex> build_index_in_child(const store::Blob& blob, const ExpectedLayer& expected,
                                        const std::filesystem::path& path,
                                        const std::function<void(std::uint64_t)>& on_progress) {
  LB_TRY(check_size(blob, expected));
  const std::string request = request_for(blob, expected);
  if (request.size() > kMaxIndexMessageBytes) return fail(ENAMETOOLONG, blob.name(), ": too long a name");
  LB_ASSIGN(IndexFiles files, IndexFiles::create(path));
  const LayerFiles to_fill = files.to_fill();
  LB_ASSIGN(const auto feeder, BlobFeeder::create(blob, blob_digest(expected)));
  LB_ASSIGN(
      WalledChild child,
      WalledChild::start(
          {.name = kIndexChildName, .argument = index_children.argument(), .socket_type = SOCK_SEQPACKET},
          {feeder->fd(), to_fill.index.fd(), to_fill.recut.fd(), to_fill.scratch.fd()}));
  // One that has ended already is met below.
  if (::send(child.socket(), request.data(), request.size(), MSG_NOSIGNAL) < 0 && errno != EPIPE)
    return errno_error("a message to the indexer");
  feeder->feed();
  LB_TRY(feeder->state());
  const auto on_report = [&](std::uint64_t done) {
    on_progress(done);
    feeder->heard(done);
  };
  LB_ASSIGN(const auto said,
            hear_reports(child, blob.size_bytes(), on_report, [&] { return feeder->state(); }));
  const auto end = child.await();
  if (!said) return broken_down(blob.name(), end);
  // First: of a damaged blob nothing that the child says is of interest.
  LB_TRY(feeder->judge());
  LB_TRY(*said);
  auto committed = files.commit(expected.identity);
  if (!committed && (committed.error().code == EBADMSG || committed.error().code == ESTALE))
    return fail(EIO, blob.name(), " could not be indexed: the process that reads it made no index (",
                committed.error().describe(), "); the layer may be an attack");
  return committed;
}

}  // namespace layerboot::layer
