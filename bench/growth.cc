// growth: what a served tree of any size costs. Makes the image, or measures the server of one. Wiring only.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>

#include "bench/growth_image.h"
#include "bench/growth_load.h"
#include "bench/load_run.h"
#include "bench/process_usage.h"
#include "oci-mount/base/log.h"

namespace layerboot::bench {
namespace {

struct Options {
  std::filesystem::path make_image;
  GrowthShape shape;
  std::filesystem::path socket;
  pid_t server = 0;
  unsigned milliseconds = 500;
};

/// One line of JSON.
Result<void> measure(const Options& options) {
  test::FakeGuestOptions guest_options;
  guest_options.request_queues = 1;
  guest_options.queue_size = 1024;
  guest_options.queue_memory_bytes = Lane::kZoneBytes;
  LB_ASSIGN(auto guest, test::FakeGuest::connect(options.socket, guest_options));
  LB_TRY(guest->boot());
  test::FuseClient client(*guest, 1);
  LB_TRY(client.init());
  const auto before = usage_of(options.server);
  LB_ASSIGN(const WholeTree whole, list_all(client));
  const auto listed = usage_of(options.server);
  LB_ASSIGN(auto lane, Lane::create(guest->queue(1)));
  const std::chrono::milliseconds measured(options.milliseconds);
  std::vector<LoadResult> results;
  for (const auto& spec : growth_workloads(whole)) {
    LB_ASSIGN(auto result,
              run_load(spec, ServedTree{}, {&lane, 1}, options.server, {measured / 4, measured}));
    results.push_back(std::move(result));
  }
  const auto after = usage_of(options.server);
  std::printf(
      "{\"files\": %zu, \"list_us_per_entry\": %.3f, \"getattr_us\": %.3f, \"lookup_us\": %.3f, "
      "\"memory_before\": %llu, \"memory_after\": %llu, \"descriptors\": %llu}\n",
      whole.files.size(),
      static_cast<double>(listed.cpu_ns - before.cpu_ns) / 1e3 / static_cast<double>(whole.files.size()),
      results[0].cpu_us_per_operation, results[1].cpu_us_per_operation,
      static_cast<unsigned long long>(before.private_bytes),
      static_cast<unsigned long long>(after.private_bytes),
      static_cast<unsigned long long>(after.descriptors));
  LB_TRY(guest->stop());
  return {};
}

}  // namespace
}  // namespace layerboot::bench

int main(int argc, char** argv) {
  using namespace layerboot;
  bench::Options options;
  CLI::App app("What a served tree of any size costs the server, per operation and in memory.", "growth");
  app.add_option("--make-image", options.make_image,
                 "make an image as an OCI layout in this directory, and leave");
  app.add_option("--files", options.shape.files, "in the image")->check(CLI::Range(100U, 10'000'000U));
  app.add_option("--layers", options.shape.layers, "of the image")->check(CLI::Range(1U, 100U));
  app.add_option("--socket", options.socket, "the server's socket");
  app.add_option("--pid", options.server, "the server's process");
  app.add_option("--milliseconds", options.milliseconds, "for each workload")->check(CLI::Range(20U, 60000U));
  CLI11_PARSE(app, argc, argv);
  log_setup("growth", LogLevel::kInfo);
  if (!options.make_image.empty()) {
    bench::make_growth_image(options.make_image, options.shape);
    return 0;
  }
  if (options.socket.empty() || options.server == 0) {
    log_error("--make-image, or --socket and --pid are required");
    return 2;
  }
  const auto done = bench::measure(options);
  if (done) return 0;
  log_error(done.error().describe());
  return 1;
}
