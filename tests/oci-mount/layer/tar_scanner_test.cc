#include "oci-mount/layer/tar_scanner.h"

#include <gtest/gtest.h>

#include <random>

#include "oci-mount/base/bytes.h"
#include "oci-mount/layer/limits.h"
#include "tests/oci-mount/layer/scan_tar.h"
#include "tests/support/tar_builder.h"

namespace layerboot::layer {
namespace {

using test::TarBuilder;
using test::TarFormat;
using test::TarMember;

std::string data_of(const std::string& tar, const TarEntry& entry) {
  return entry.extents.empty() ? ""
                               : tar.substr(entry.extents[0].stream_offset, entry.extents[0].length_bytes);
}

TEST(TarScanner, FindsEntriesAndTheirDataInAnyPieces) {
  const std::string long_name = std::string(150, 'n') + "/" + std::string(150, 'm');
  for (const TarFormat format : {TarFormat::kUstar, TarFormat::kGnu}) {
    const std::string tar = TarBuilder(format)
                                .directory("d")
                                .file("d/a", std::string(1000, 'a'))
                                .file(long_name, "long")
                                .symlink("s", std::string(200, 't'))
                                .file("empty", "")
                                .file("b", std::string(512, 'b'))
                                .finish();
    for (const std::size_t piece : {1U, 7U, 511U, 512U, 513U, 100000U}) {
      const auto entries = scan(tar, piece);
      ASSERT_TRUE(entries) << entries.error().text;
      ASSERT_EQ(entries->size(), 6U);
      EXPECT_EQ(data_of(tar, (*entries)[1]), std::string(1000, 'a'));
      EXPECT_EQ((*entries)[2].path, long_name);
      EXPECT_EQ(data_of(tar, (*entries)[2]), "long");
      EXPECT_EQ((*entries)[3].link, std::string(200, 't'));
      EXPECT_EQ(data_of(tar, (*entries)[5]), std::string(512, 'b'));
    }
  }
}

TEST(TarScanner, PaxSpeaksForTheNextEntryOnly) {
  TarMember member;
  member.name = "short";
  member.content = "12345";
  member.pax = {
      {"path", "real"}, {"uid", "3000000"}, {"mtime", "1.5"}, {"SCHILY.xattr.security.capability", "cap"}};
  const std::string tar = TarBuilder().add(member).file("next", "x").finish();
  const auto entries = scan(tar);
  ASSERT_TRUE(entries) << entries.error().text;
  EXPECT_EQ((*entries)[0].path, "real");
  EXPECT_EQ((*entries)[0].uid, 3000000U);
  EXPECT_EQ((*entries)[0].mtime_nsec, 500'000'000U);
  EXPECT_EQ((*entries)[0].xattrs.at(0).second, "cap");
  EXPECT_EQ((*entries)[1].path, "next");
  EXPECT_EQ((*entries)[1].uid, 0U);
  EXPECT_TRUE((*entries)[1].xattrs.empty());
}

// CVE-2025-62518 (TARmageddon): the header says 0, PAX says 1024, and what lies in the data looks like an
// entry.
TEST(TarScanner, ThePaxSizeAloneDecidesWhereTheNextHeaderIs) {
  const std::string smuggled = TarBuilder().file("smuggled", "").without_end() + std::string(512, 'x');
  TarMember outer;
  outer.name = "outer";
  outer.pax = {{"size", "1024"}};
  const std::string tar = TarBuilder().add(outer).raw(smuggled).file("after", "").finish();
  const auto entries = scan(tar);
  ASSERT_TRUE(entries) << entries.error().text;
  ASSERT_EQ(entries->size(), 2U);
  EXPECT_EQ((*entries)[0].size_bytes, 1024U);
  EXPECT_EQ((*entries)[0].extents.at(0).length_bytes, 1024U);
  EXPECT_EQ((*entries)[1].path, "after");
}

TEST(TarScanner, GlobalPaxRecordsAreIgnored) {
  TarMember global;
  global.type = 'g';
  global.name = "pax_global_header";
  global.content = test::pax_record("path", "everything") + test::pax_record("uid", "9");
  const auto entries = scan(TarBuilder().add(global).file("f", "x").finish());
  ASSERT_TRUE(entries);
  EXPECT_EQ(entries->at(0).path, "f");
  EXPECT_EQ(entries->at(0).uid, 0U);
  global.content = "nonsense";
  expect_refused(TarBuilder().add(global).finish(), "malformed");
}

TEST(TarScanner, StopsAtTheEndMarker) {
  const auto entries =
      scan(TarBuilder().file("seen", "").finish() + TarBuilder().file("unseen", "").finish() + "garbage");
  ASSERT_TRUE(entries) << entries.error().text;
  EXPECT_EQ(entries->size(), 1U);
}

TEST(TarScanner, EndsWithoutAMarkerOrItsPadding) {
  EXPECT_EQ(scan("")->size(), 0U);
  EXPECT_EQ(scan(std::string(1024, '\0'))->size(), 0U);
  EXPECT_EQ(scan(std::string(512, '\0'))->size(), 0U);
  const std::string tar = TarBuilder().file("f", "12345").without_end();
  EXPECT_EQ(scan(tar)->size(), 1U);
  EXPECT_EQ(scan(tar.substr(0, 512 + 5))->size(), 1U);
}

TEST(TarScanner, RefusesATarCutShort) {
  const std::string tar = TarBuilder(TarFormat::kGnu).file(std::string(200, 'n'), "12345").without_end();
  for (const std::size_t size : {513U, 600U, 1024U, 1100U, 1536U, 1540U}) {
    expect_refused(std::string_view(tar).substr(0, size), "the tar ends");
  }
  TarMember member;
  member.name = "f";
  member.pax = {{"uid", "1"}};
  expect_refused(std::string_view(TarBuilder().add(member).without_end()).substr(0, 1024),
                 "after an extended header");
}

TEST(TarScanner, WhatIsLessThanAHeaderIsNoTar) {
  expect_refused("some text", "this is no tar: it has 9 bytes, less than one header");
}

TEST(TarScanner, RefusesGarbage) {
  expect_refused(std::string(512, 'x'), "checksum");
  expect_refused(TarBuilder().raw(std::string(512, '\0')).file("f", "").finish(), "one zero block");
  TarMember sparse;
  sparse.name = "f";
  sparse.pax = {{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}};
  expect_refused(TarBuilder().add(sparse).finish(), "sparse");
}

TEST(TarScanner, BoundsExtendedHeaders) {
  TarMember member;
  member.name = "f";
  member.pax = {{"comment", std::string(store::kMaxExtendedHeaderBytes, 'x')}};
  expect_refused(TarBuilder().add(member).finish(), "limit of 1048576");
}

TEST(TarScanner, PassesOnTheSinksError) {
  TarScanner scanner([](const TarEntry&) -> Result<void> { return fail(E2BIG, "enough"); });
  const std::string tar = TarBuilder().file("f", "").finish();
  EXPECT_EQ(scanner.push(as_bytes(tar)).error().code, E2BIG);
}

// Whatever a few flipped bytes make of a tar, the scanner says so or goes on; it never reads astray.
TEST(TarScanner, SurvivesFlippedBytes) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  TarMember member;
  member.name = "f";
  member.content = "data";
  member.pax = {{"path", "a/b"}, {"SCHILY.xattr.user.x", "1"}};
  const std::string good = TarBuilder().add(member).symlink("s", "t").finish();
  for (int round = 0; round < 3000; ++round) {
    std::string tar = good;
    for (int flips = 0; flips < 3; ++flips) tar[random() % tar.size()] = static_cast<char>(random());
    for (std::size_t block = 0; block < 4; ++block)
      test::fix_checksum(tar, (random() % (tar.size() / 512)) * 512);
    const auto entries = scan(tar, 1 + random() % 700);
    if (!entries) continue;
    for (const TarEntry& entry : *entries) {
      for (const Extent& extent : entry.extents) EXPECT_LE(extent.stream_offset, tar.size());
    }
  }
}

}  // namespace
}  // namespace layerboot::layer
