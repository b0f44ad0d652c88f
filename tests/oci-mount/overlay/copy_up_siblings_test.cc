// A copy-up finds its names without going through those of others: counted in pages of the image's tree that
// it reads.
#include <sys/mman.h>
#include <unistd.h>

#include <charconv>
#include <fstream>
#include <optional>
#include <sstream>

#include "oci-mount/base/str_cat.h"
#include "oci-mount/overlay/copy_up.h"
#include "tests/oci-mount/overlay/copy_up_fixture.h"

namespace layerboot::overlay {
namespace {

/// Pages of a mapping that this process has read since forget(), by the processor's own marks.
class PagesRead {
 public:
  explicit PagesRead(const void* in_mapping) : address_(reinterpret_cast<std::uintptr_t>(in_mapping)) {}

  /// False where the kernel does not tell (CONFIG_PROC_PAGE_MONITOR).
  static bool forget() {
    std::ofstream file("/proc/self/clear_refs");
    file << "3" << std::flush;  // of mapped files
    drop_translations();
    return file.good();
  }
  [[nodiscard]] std::optional<std::uint64_t> count() const {
    std::ifstream file("/proc/self/smaps");
    bool is_here = false;
    for (std::string line; std::getline(file, line);) {
      std::istringstream words(line);
      std::string first;
      std::uint64_t kilobytes = 0;
      words >> first >> kilobytes;
      if (const auto dash = first.find('-'); dash != std::string::npos) {
        is_here = hex(first.substr(0, dash)) <= address_ && address_ < hex(first.substr(dash + 1));
      } else if (is_here && first == "Referenced:") {
        return kilobytes * 1024 / static_cast<std::uint64_t>(::getpagesize());
      }
    }
    return std::nullopt;
  }

 private:
  /// The kernel does not make the processor forget that it has marked a page as read, and a page whose
  /// translation it still has is not marked again. Unmapping many pages drops all translations (x86's
  /// tlb_single_page_flush_ceiling is 33 pages).
  static void drop_translations() {
    constexpr std::size_t kBytes = 1 << 20;
    void* const pages =
        ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (pages != MAP_FAILED) ::munmap(pages, kBytes);
  }
  static std::uintptr_t hex(std::string_view text) {
    std::uintptr_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value, 16);
    return value;
  }
  std::uintptr_t address_;
};

/// "files" and "links", each with so many names, of so many files with two names.
std::unique_ptr<const tree::Tree> tree_of_pairs(unsigned files) {
  tree::FakeLayer layer("pairs");
  layer.directory("files");
  layer.directory("links");
  for (unsigned i = 0; i < files; ++i) {
    layer.file(str_cat("files/", i));
    layer.hard_link(str_cat("links/", i), str_cat("files/", i));
  }
  layer.sort();
  const tree::LayerEntries* const layers[] = {&layer};
  return std::move(*tree::build_and_open(layers));
}

class CopyUpAmongManyTest : public CopyUpTest {
 protected:
  static constexpr unsigned kFiles = 80'000;

  void SetUp() override {
    CopyUpTest::SetUp();
    close();
    auto upper = Upper::open(vm(), "sha256:small");
    ASSERT_TRUE(upper) << upper.error().describe();
    auto places = Places::open(*std::move(upper));
    ASSERT_TRUE(places) << places.error().describe();
    parts = std::make_unique<Parts>(Lower{*pairs, image.reader}, *std::move(places), kLimits, Quota::Usage{},
                                    image.workers, memory);
    parts->objects.load_root();
  }
  void TearDown() override {
    CopyUpTest::TearDown();
    pairs.reset();
  }
  Result<Pin> chmod_like(const std::string& path) {
    const tree::NodeId row = tree::node_at(*pairs, path);
    parts->nodes.add_row_reference(row);
    return reactor->block_on(copy_up().copy_up(*reactor, row, CopyUp::kNoData));
  }

  std::unique_ptr<const tree::Tree> pairs = tree_of_pairs(kFiles);
};

TEST_F(CopyUpAmongManyTest, ReadsLittleOfTheTree) {
  ASSERT_TRUE(chmod_like("files/5"));  // the directories have their bodies
  const PagesRead pages(&pairs->node(tree::kRoot));
  const auto whole = pages.count();
  if (!PagesRead::forget() || !whole || *whole == 0)
    GTEST_SKIP() << "this kernel does not tell of pages read";
  constexpr std::uint64_t kEntriesOfOneDirectory = kFiles * sizeof(tree::DirentRecord);
  const std::uint64_t pages_of_a_scan = kEntriesOfOneDirectory / static_cast<std::uint64_t>(::getpagesize());
  ASSERT_GT(*whole, 4 * pages_of_a_scan) << "the tree's own check has read all of it";
  ASSERT_TRUE(chmod_like("files/77777"));
  const auto read = pages.count();
  ASSERT_TRUE(read);
  EXPECT_GT(*read, 4U);
  EXPECT_LT(*read, pages_of_a_scan / 2) << "of " << *whole;
  std::cout << *read << " of " << *whole << " pages of the tree; a directory's entries have "
            << pages_of_a_scan << "\n";
  EXPECT_EQ(host("files/77777").st_nlink, 2U);
  EXPECT_EQ(host("links/77777").st_ino, host("files/77777").st_ino);
}

}  // namespace
}  // namespace layerboot::overlay
