#include "oci-mount/layer/sparse_map.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "oci-mount/base/bytes.h"
#include "oci-mount/layer/limits.h"
#include "oci-mount/layer/tar_scanner.h"
#include "tests/oci-mount/layer/scan_tar.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::layer {
namespace {

using test::TarBuilder;
using test::TarFormat;
using test::TarMember;

void expect_file_refused(std::string_view tar, std::string_view reason) {
  expect_refused(tar, reason);
  expect_refused(tar, "\"file\"");
}

/// The file as a reader would see it.
std::string content_of(std::string_view tar, const TarEntry& entry) {
  std::string content(entry.size_bytes, '\0');
  for (const Extent& extent : entry.extents)
    content.replace(extent.file_offset, extent.length_bytes,
                    tar.substr(extent.stream_offset, extent.length_bytes));
  return content;
}

/// One file in form 1.0, then a plain one.
std::string form_1_0(std::string map, std::string_view data, std::string_view real_size) {
  map.resize((map.size() + 511) / 512 * 512, '\0');
  TarMember member;
  member.name = "GNUSparseFile.1/file";
  member.content = map + std::string(data);
  member.pax = {{"GNU.sparse.major", "1"},
                {"GNU.sparse.minor", "0"},
                {"GNU.sparse.name", "file"},
                {"GNU.sparse.realsize", std::string(real_size)}};
  return TarBuilder().add(member).file("next", "n").finish();
}

/// Form 0.1, whose map is a record.
std::string form_0_1(std::string map, std::string data, std::string real_size) {
  TarMember member;
  member.name = "file";
  member.content = std::move(data);
  member.pax = {{"GNU.sparse.size", std::move(real_size)}, {"GNU.sparse.map", std::move(map)}};
  return TarBuilder().add(member).file("next", "n").finish();
}

TEST(SparseMap, ReadsWhatGnuTarMakesInEveryForm) {
  const test::TempDir dir;
  std::string content(9'000'000, '\0');
  for (std::size_t at = 0; at < content.size(); at += 100'000) content.replace(at, 6, "island");
  const auto file = dir / "file";
  test::write_text(file, "");
  ASSERT_EQ(::truncate(file.c_str(), static_cast<off_t>(content.size())), 0);
  FILE* const out = std::fopen(file.c_str(), "r+");
  for (std::size_t at = 0; at < content.size(); at += 100'000) {
    std::fseek(out, static_cast<long>(at), SEEK_SET);
    std::fputs("island", out);
  }
  std::fclose(out);
  test::write_text(dir / "next", "n");
  for (const char* form : {"--format=gnu", "--format=posix --sparse-version=0.0",
                           "--format=posix --sparse-version=0.1", "--format=posix --sparse-version=1.0"}) {
    const std::string command =
        str_cat("cd ", dir.path().string(), " && tar --hole-detection=raw -S ", form, " -cf t.tar file next");
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
    const std::string tar = test::read_text(dir / "t.tar");
    ASSERT_LT(tar.size(), content.size() / 2) << "the tar is not sparse";
    for (const std::size_t piece : {1U << 20U, 511U, 513U}) {
      const auto entries = scan(tar, piece);
      ASSERT_TRUE(entries) << form << ": " << entries.error().text;
      ASSERT_EQ(entries->size(), 2U) << form;
      EXPECT_EQ((*entries)[0].path, "file") << form;
      EXPECT_EQ((*entries)[0].extents.size(), 90U) << form;
      EXPECT_TRUE(content_of(tar, (*entries)[0]) == content) << form;
      EXPECT_EQ(content_of(tar, (*entries)[1]), "n") << form;
    }
  }
}

TEST(SparseMap, AFileThatIsOneHole) {
  for (const std::string& tar :
       {form_1_0("0\n", "", "1000"), form_0_1("", "", "1000"), form_1_0("1\n1000\n0\n", "", "1000")}) {
    const auto entries = scan(tar);
    ASSERT_TRUE(entries) << entries.error().text;
    EXPECT_EQ((*entries)[0].size_bytes, 1000U);
    EXPECT_TRUE((*entries)[0].extents.empty());
    EXPECT_EQ((*entries)[1].path, "next");
  }
}

TEST(SparseMap, RefusesWhatDoesNotAddUp) {
  expect_file_refused(form_0_1("0,4,2,4", "abcdefgh", "100"), "overlap or leave the file");
  expect_file_refused(form_0_1("4,4,0,4", "abcdefgh", "100"), "overlap or leave the file");
  expect_file_refused(form_0_1("98,4", "abcd", "100"), "overlap or leave the file");
  expect_file_refused(form_0_1("0,9223372036854775807", "abcd", "9223372036854775807"),
                      "more data than the tar");
  expect_file_refused(form_0_1("0,3", "abcd", "100"), "less data than the tar");
  expect_file_refused(form_0_1("0,-1", "abcd", "100"), "a number that is none");
  expect_file_refused(form_0_1("0", "abcd", "100"), "a number that is none");
  expect_file_refused(form_0_1("0,4", "abcd", "-1"), "has no size");
  expect_file_refused(form_1_0("1\n0\n", "", "100"), "sparse map");
  expect_file_refused(form_1_0("x\n", "", "100"), "a number that is none");
  expect_file_refused(form_1_0(std::string(600, '1') + "\n", "", "100"), "a number that is none");
  TarMember unknown;
  unknown.name = "file";
  unknown.pax = {{"GNU.sparse.major", "2"}, {"GNU.sparse.minor", "0"}};
  expect_file_refused(TarBuilder().add(unknown).finish(), "unknown form");
  // Offsets and lengths that do not come in turn.
  unknown.pax = {{"GNU.sparse.offset", "0"}, {"GNU.sparse.offset", "1"}};
  EXPECT_FALSE(scan(TarBuilder().add(unknown).finish()));
}

// The three are one: a map read without a bound, in PAX records, in the data, in GNU's extension blocks.
TEST(SparseMap, Cve2022_2879MapInPaxRecordsIsBounded) {
  std::string map;
  for (std::size_t i = 0; i <= kMaxSparseExtents; ++i) map += str_cat(i == 0 ? "" : ",", i, ",0");
  expect_file_refused(form_0_1(map, "", "1000000"), str_cat("limit of ", kMaxSparseExtents, " pieces"));
}

TEST(SparseMap, Cve2025_58183MapInTheDataIsBounded) {
  expect_file_refused(form_1_0("1000000000\n", "", "100"),
                      str_cat("limit of ", kMaxSparseExtents, " pieces"));
  std::string map = str_cat(kMaxSparseExtents, "\n");
  for (std::size_t i = 0; i < kMaxSparseExtents; ++i) map += "1\n0\n";
  EXPECT_TRUE(scan(form_1_0(map, "", "100")));
}

TEST(SparseMap, Cve2026_32288MapInExtensionBlocksIsBounded) {
  std::string tar = TarBuilder(TarFormat::kGnu).file("file", "").without_end();
  tar[156] = 'S';
  tar[482] = 1;
  test::fix_checksum(tar, 0);
  std::string block(512, '\0');
  for (std::size_t i = 0; i < 42; ++i) block.replace(i * 12, 11, "00000000000");
  block[504] = 1;
  for (std::size_t i = 0; i < kMaxSparseExtents / 21 + 2; ++i) tar += block;
  expect_file_refused(tar, str_cat("limit of ", kMaxSparseExtents, " pieces"));
  EXPECT_FALSE(scan(tar.substr(0, 512 * 4)));  // it ends within the map
}

}  // namespace
}  // namespace layerboot::layer
