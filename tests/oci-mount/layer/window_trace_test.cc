#include "oci-mount/layer/window_trace.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>

#include "oci-mount/base/bytes.h"
#include "oci-mount/layer/gzip_codec.h"
#include "tests/support/image_builder.h"

namespace layerboot::layer {
namespace {

std::string deflate_after(std::string_view dictionary, std::string_view text) {
  z_stream stream{};
  EXPECT_EQ(::deflateInit2(&stream, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
  if (!dictionary.empty()) {
    ::deflateSetDictionary(&stream, reinterpret_cast<const Bytef*>(dictionary.data()),
                           static_cast<uInt>(dictionary.size()));
  }
  std::string out(text.size() + 1000, '\0');
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(::deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  ::deflateEnd(&stream);
  return out;
}

WindowTrace trace_of(std::string_view dictionary, std::string_view text) {
  WindowTrace trace;
  std::copy_n(as_bytes(dictionary).begin(), kWindowBytes, trace.window.begin());
  const std::string compressed = deflate_after(dictionary, text);
  trace.compressed.assign(as_bytes(compressed).begin(), as_bytes(compressed).end());
  trace.output.assign(as_bytes(text).begin(), as_bytes(text).end());
  return trace;
}

TEST(WindowTrace, KeepsWhatIsReferredToAndNothingElse) {
  const std::string dictionary = test::sample_bytes(kWindowBytes, 1);
  const std::string text = dictionary.substr(1000, 50) + "###" + dictionary.substr(20'000, 30);
  const WindowTrace trace = trace_of(dictionary, text);
  const auto packed = pack_traced_window(trace);
  ASSERT_TRUE(packed);
  Window window;
  ASSERT_TRUE(unpack_window(*packed, window));
  std::vector<std::byte> out(text.size());
  ASSERT_TRUE(decode_gzip({0, 0, false, &window}, trace.compressed, out));
  EXPECT_EQ(out, trace.output);
  const auto kept =
      std::count_if(window.begin(), window.end(), [](std::byte byte) { return byte != std::byte{0}; });
  EXPECT_GE(kept, 70);
  EXPECT_LE(kept, 80);
}

TEST(WindowTrace, NoReferenceNoWindow) {
  const std::string dictionary = test::sample_bytes(kWindowBytes, 2);
  WindowTrace trace = trace_of(dictionary, "");
  const std::string text = "no word of the dictionary: 0123456789";
  const std::string compressed = deflate_after("", text);
  trace.compressed.assign(as_bytes(compressed).begin(), as_bytes(compressed).end());
  trace.output.assign(as_bytes(text).begin(), as_bytes(text).end());
  const auto packed = pack_traced_window(trace);
  ASSERT_TRUE(packed);
  EXPECT_TRUE(packed->empty());
}

TEST(WindowTrace, TooShortATraceKeepsTheWindowWhole) {
  const std::string dictionary = test::sample_bytes(kWindowBytes, 3);
  WindowTrace trace = trace_of(dictionary, dictionary.substr(0, 5000));
  trace.compressed.resize(3);
  const auto packed = pack_traced_window(trace);
  ASSERT_TRUE(packed);
  Window window;
  ASSERT_TRUE(unpack_window(*packed, window));
  EXPECT_EQ(window, trace.window);
}

}  // namespace
}  // namespace layerboot::layer
