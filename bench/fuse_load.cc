// fuse_load: loads any vhost-user-fs server as a guest would, without a VM. Wiring only.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>

#include "bench/load_run.h"
#include "bench/report.h"
#include "bench/sample_tree.h"
#include "oci-mount/base/log.h"

namespace layerboot::bench {
namespace {

struct Options {
  std::filesystem::path socket;
  std::filesystem::path make_tree;
  std::filesystem::path json;
  std::string name = "server";
  pid_t server = 0;
  unsigned queues = 1;
  unsigned milliseconds = 1000;
  std::vector<std::string> only;
  std::vector<unsigned> depths;
  bool writable = false;
  bool no_verify = false;
};

bool is_wanted(const Options& options, const WorkloadSpec& spec) {
  if (spec.writes && !options.writable) return false;
  if (!options.only.empty() && std::ranges::find(options.only, spec.name) == options.only.end()) return false;
  return options.depths.empty() || std::ranges::find(options.depths, spec.depth) != options.depths.end();
}

Result<std::vector<LoadResult>> measure(const Options& options) {
  test::FakeGuestOptions guest_options;
  guest_options.request_queues = options.queues;
  guest_options.queue_size = 1024;
  guest_options.queue_memory_bytes = Lane::kZoneBytes;
  LB_ASSIGN(auto guest, test::FakeGuest::connect(options.socket, guest_options));
  LB_TRY(guest->boot());
  test::FuseClient client(*guest, 1);
  LB_ASSIGN(ServedTree tree, meet_server(client, options.writable, options.queues));
  tree.verify = !options.no_verify;
  std::vector<Lane> lanes;
  for (unsigned i = 0; i < options.queues; ++i) {
    LB_ASSIGN(auto lane, Lane::create(guest->queue(i + 1)));
    lanes.push_back(std::move(lane));
  }
  const LoadTimes times{std::chrono::milliseconds(options.milliseconds / 4),
                        std::chrono::milliseconds(options.milliseconds)};
  std::vector<LoadResult> results;
  std::puts(table_heading().c_str());
  for (const auto& group : {metadata_workloads(), data_workloads(), write_workloads()}) {
    for (const WorkloadSpec& spec : group) {
      if (!is_wanted(options, spec)) continue;
      LB_ASSIGN(auto result, run_load(spec, tree, lanes, options.server, times));
      std::puts(table_line(result).c_str());
      std::fflush(stdout);
      results.push_back(std::move(result));
    }
  }
  LB_TRY(guest->stop());
  return results;
}

Result<void> run(const Options& options) {
  if (!options.make_tree.empty()) return make_sample_tree(options.make_tree);
  LB_ASSIGN(const auto results, measure(options));
  if (options.json.empty()) return {};
  std::ofstream file(options.json);
  file << results_json(options.name, results);
  return file.flush() ? Result<void>() : fail(EIO, "writing ", options.json.native());
}

}  // namespace
}  // namespace layerboot::bench

int main(int argc, char** argv) {
  using namespace layerboot;
  bench::Options options;
  CLI::App app("Loads a vhost-user-fs server as a guest would, and measures it.", "fuse_load");
  app.add_option("--socket", options.socket, "the server's socket");
  app.add_option("--make-tree", options.make_tree, "make the sample tree in this directory, and leave");
  app.add_option("--pid", options.server, "the server's process: its CPU time and memory are measured");
  app.add_option("--name", options.name, "what the results call the server");
  app.add_option("--json", options.json, "write the results here, too");
  app.add_option("--queues", options.queues, "request queues")->check(CLI::Range(1U, 16U));
  app.add_option("--milliseconds", options.milliseconds, "for each workload, after a quarter for warming up")
      ->check(CLI::Range(20U, 60000U));
  app.add_option("--only", options.only, "these workloads");
  app.add_option("--depths", options.depths, "these depths");
  app.add_flag("--writable", options.writable, "the workloads that write, too");
  app.add_flag("--no-verify", options.no_verify, "take any content (for a server that has none)");
  CLI11_PARSE(app, argc, argv);
  log_setup("fuse_load", LogLevel::kInfo);
  if (options.socket.empty() && options.make_tree.empty()) {
    log_error("--socket or --make-tree is required");
    return 2;
  }
  const auto done = bench::run(options);
  if (done) return 0;
  log_error(done.error().describe());
  return 1;
}
