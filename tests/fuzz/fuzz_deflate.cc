// Raw deflate data of any content: what DeflateDecoder makes of them is what zlib makes of them.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "tests/support/decoded_deflate.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace layerboot;
  if (size < 3) return 0;
  static const auto decoder = std::make_unique<layer::DeflateDecoder>();
  const std::string_view deflated(reinterpret_cast<const char*>(data) + 2, size - 2);
  test::Decoded wanted = test::by_zlib(deflated);
  test::Decoded found =
      test::by_us(*decoder, deflated, 1 + data[0] * std::size_t{8}, 1 + data[1] * std::size_t{512});
  if (!wanted.damage.empty()) test::leave_same_beginning(wanted, found);
  if (!(found == wanted)) std::abort();
  return 0;
}
