#include "oci-mount/base/spelling.h"

#include <algorithm>
#include <numeric>

#include "oci-mount/base/str_cat.h"

namespace layerboot {

namespace {

constexpr std::size_t kMaxTypedBytes = 256;
constexpr std::size_t kMaxSlips = 2;
constexpr std::size_t kLettersASlip = 3;

}  // namespace

std::size_t spelling_slips(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(last.begin(), last.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({change, last[j] + 1, row[j - 1] + 1});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

std::vector<std::string> near_words(std::string_view typed, const std::vector<std::string>& known) {
  struct Near {
    std::size_t slips;
    std::string word;
  };
  typed = typed.substr(0, kMaxTypedBytes);
  const std::size_t allowed = std::min(kMaxSlips, typed.size() / kLettersASlip);
  std::vector<Near> found;
  for (const std::string& word : known) {
    if (word.size() > kMaxTypedBytes) continue;
    const bool begun = typed.size() > 1 && word.starts_with(typed);
    const std::size_t slips = begun ? 0 : spelling_slips(typed, word);
    if (begun || slips <= allowed) found.push_back({slips, word});
  }
  std::ranges::stable_sort(found, {}, &Near::slips);
  std::vector<std::string> words;
  for (Near& near : found) {
    if (words.size() < kMaxNearWords) words.push_back(std::move(near.word));
  }
  return words;
}

std::string did_you_mean(std::string_view typed, const std::vector<std::string>& known) {
  std::string text;
  for (const std::string& word : near_words(typed, known)) text += str_cat(text.empty() ? "" : " or ", word);
  return text.empty() ? "" : str_cat("; did you mean ", text, '?');
}

}  // namespace layerboot
