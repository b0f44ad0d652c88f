#include "oci-mount/mount/index_report.h"

#include <sys/stat.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include "oci-mount/store/json_document.h"
#include "oci-mount/tree/tree_builder.h"

namespace layerboot::mount {

namespace {

constexpr double kMegabyte = 1e6;

template <typename... Values>
std::string formatted(const char* format, Values... values) {
  std::array<char, 160> text{};
  const int length = std::snprintf(text.data(), text.size(), format, values...);
  return {text.data(), std::min(text.size() - 1, static_cast<std::size_t>(std::max(length, 0)))};
}

/// Whether the file is younger than `since`, by the clock that file systems take their times from.
bool written_since(const struct stat& st, const timespec& since) {
  if (st.st_mtim.tv_sec != since.tv_sec) return st.st_mtim.tv_sec > since.tv_sec;
  return st.st_mtim.tv_nsec >= since.tv_nsec;
}

Result<LayerReport> open_and_measure(const store::ImageLayer& image_layer,
                                     const layer::OpenOptions& options) {
  timespec wall{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &wall);
  const auto start = std::chrono::steady_clock::now();
  LB_ASSIGN(const auto opened, layer::open_layer(image_layer, options));
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  LayerReport report;
  report.layer = opened->identity().text();
  report.compression = image_layer.is_directory ? std::string_view("dir")
                                                : store::compression_name(opened->index().compression());
  report.blob_bytes = opened->index().blob_size_bytes();
  report.recut_bytes = opened->index().recut_size_bytes();
  report.stream_bytes = opened->index().stream_size_bytes();
  report.index_bytes = opened->index().file_size_bytes();
  const auto path = options.index_dir / opened->identity().index_file_name();
  struct stat st{};
  if (::stat(path.c_str(), &st) == 0 && written_since(st, wall)) report.seconds = taken.count();
  return report;
}

double percent_of(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

std::string line(std::string_view name, const LayerReport& layer) {
  const std::string rate =
      !layer.seconds ? "kept"
      : *layer.seconds <= 0
          ? "-"
          : formatted("%.0f MB/s", static_cast<double>(layer.stream_bytes) / kMegabyte / *layer.seconds);
  return formatted("%-24.24s %-6s %14llu %14llu %12llu %6.2f%% %10s\n", std::string(name).c_str(),
                   layer.compression.c_str(), static_cast<unsigned long long>(layer.blob_bytes),
                   static_cast<unsigned long long>(layer.stream_bytes),
                   static_cast<unsigned long long>(layer.index_bytes),
                   percent_of(layer.index_bytes, layer.stream_bytes), rate.c_str());
}

LayerReport sum_of(const IndexReport& report) {
  LayerReport sum;
  for (const LayerReport& layer : report.layers) {
    sum.blob_bytes += layer.blob_bytes;
    sum.stream_bytes += layer.stream_bytes;
    sum.index_bytes += layer.index_bytes;
    sum.recut_bytes += layer.recut_bytes;
  }
  return sum;
}

}  // namespace

Result<IndexReport> build_indexes(const store::Image& image, const layer::OpenOptions& options) {
  IndexReport report;
  for (const store::ImageLayer& image_layer : image.layers) {
    LB_ASSIGN(LayerReport layer, open_and_measure(image_layer, options));
    report.layers.push_back(std::move(layer));
  }
  LB_ASSIGN(const auto layers, layer::open_layers(image, {}, options));
  LB_ASSIGN(const auto tree, tree::open_tree(layers, options.index_dir));
  report.nodes = tree->node_count();
  struct stat st{};
  const auto path = tree::tree_path(options.index_dir, layer::layers_key(layers));
  if (::stat(path.c_str(), &st) == 0) report.tree_bytes = static_cast<std::uint64_t>(st.st_size);
  return report;
}

std::string report_text(const IndexReport& report) {
  std::string text = formatted("%-24s %-6s %14s %14s %12s %7s %10s\n", "LAYER", "KIND", "STORED", "UNPACKED",
                               "INDEX", "OF IT", "BUILT AT");
  for (const LayerReport& layer : report.layers) text += line(layer.layer, layer);
  const LayerReport sum = sum_of(report);
  text += formatted(
      "%-24s %-6s %14llu %14llu %12llu %6.2f%%\n", "all", "", static_cast<unsigned long long>(sum.blob_bytes),
      static_cast<unsigned long long>(sum.stream_bytes), static_cast<unsigned long long>(sum.index_bytes),
      percent_of(sum.index_bytes, sum.stream_bytes));
  if (sum.recut_bytes != 0)
    text += str_cat("recut: ", sum.recut_bytes, " bytes beside the indexes, of layers that are cut anew\n");
  return text + str_cat("tree: ", report.nodes, " files and directories, ", report.tree_bytes, " bytes\n");
}

std::string report_json(const IndexReport& report) {
  nlohmann::json document{{"tree_bytes", report.tree_bytes}, {"nodes", report.nodes}};
  document["layers"] = nlohmann::json::array();
  for (const LayerReport& layer : report.layers) {
    nlohmann::json one{{"layer", layer.layer},
                       {"compression", layer.compression},
                       {"blob_bytes", layer.blob_bytes},
                       {"stream_bytes", layer.stream_bytes},
                       {"index_bytes", layer.index_bytes}};
    if (layer.recut_bytes != 0) one["recut_bytes"] = layer.recut_bytes;
    if (layer.seconds) one["build_seconds"] = *layer.seconds;
    document["layers"].push_back(std::move(one));
  }
  return store::json_text(document, 2) + "\n";
}

}  // namespace layerboot::mount
