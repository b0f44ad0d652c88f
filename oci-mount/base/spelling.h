// What a person may have meant who wrote something else.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace layerboot {

/// How many letters are to be changed, put in, left out or swapped with their neighbour (optimal string
/// alignment). The time is the product of the lengths.
[[nodiscard]] std::size_t spelling_slips(std::string_view a, std::string_view b);

/// Those of `known` that `typed` is nearly, or begins: nearest first, at most kMaxNearWords.
[[nodiscard]] std::vector<std::string> near_words(std::string_view typed,
                                                  const std::vector<std::string>& known);
inline constexpr std::size_t kMaxNearWords = 3;

/// "; did you mean A or B?", or "" without any.
[[nodiscard]] std::string did_you_mean(std::string_view typed, const std::vector<std::string>& known);

}  // namespace layerboot
