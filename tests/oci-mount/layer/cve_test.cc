// What went wrong in other programs that read layers, each under its name.
#include <gtest/gtest.h>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/device_number.h"
#include "oci-mount/base/path_rules.h"
#include "oci-mount/layer/entry_table_builder.h"
#include "oci-mount/layer/gzip_header.h"
#include "oci-mount/layer/index_builder.h"
#include "oci-mount/layer/limits.h"
#include "oci-mount/layer/tar_scanner.h"
#include "tests/oci-mount/layer/scan_tar.h"
#include "tests/support/built_tables.h"
#include "tests/support/counting_blob.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::layer {
namespace {

using test::TarBuilder;
using test::TarMember;

// An entry for the root that is a symlink redirects all that follows.
TEST(LayerCve, Cve2021_29136RootAsASymlink) {
  for (const char* root : {"/.", ".", "./", "a/..", "/"})
    expect_refused(TarBuilder().symlink(root, "/etc").finish(), "would replace the root");
}

// PAX says one size and ustar another: who skips by the wrong one reads entries out of a file's data.
TEST(LayerCve, Cve2025_62518TwoSizes) {
  const std::string smuggled = TarBuilder().file("smuggled", "").without_end();
  TarMember member;
  member.name = "nested.tar";
  member.content = smuggled;
  member.pax = {{"size", std::to_string(smuggled.size())}};
  std::string tar = TarBuilder().add(member).file("after", "").finish();
  // The ustar header behind the PAX one claims nothing.
  tar.replace(1024 + 124, 12, std::string("00000000000\0", 12));
  test::fix_checksum(tar, 1024);
  const auto entries = scan(tar);
  ASSERT_TRUE(entries) << entries.error().text;
  ASSERT_EQ(entries->size(), 2U);
  EXPECT_EQ((*entries)[0].size_bytes, smuggled.size());
  EXPECT_EQ((*entries)[1].path, "after");
}

TEST(LayerCve, Cve2022_48303Base256NumberAtTheFieldsEnd) {
  std::string tar = TarBuilder().file("f", "").finish();
  tar.replace(136, 12, std::string("\x80", 1) + std::string(11, '\xff'));
  test::fix_checksum(tar, 0);
  expect_refused(tar, "no number");
  tar.replace(124, 12, std::string(12, '\xff'));  // -1
  tar.replace(136, 12, "00000000000");
  test::fix_checksum(tar, 0);
  expect_refused(tar, "size -1");
}

TEST(LayerCve, Cve2023_39804LongXattrKey) {
  TarMember member;
  member.name = "f";
  member.pax = {{"SCHILY.xattr." + std::string(100'000, 'k'), "v"}};
  expect_refused(TarBuilder().add(member).finish(), str_cat("limit of ", kMaxXattrNameBytes));
}

TEST(LayerCve, Cve2022_2879LongPaxHeader) {
  TarMember member;
  member.name = "f";
  member.pax = {{"comment", std::string(store::kMaxExtendedHeaderBytes, 'c')}};
  expect_refused(TarBuilder().add(member).finish(), str_cat("limit of ", store::kMaxExtendedHeaderBytes));
}

// A record that is skipped in silence, and a negative size.
TEST(LayerCve, MalformedPaxRecords) {
  for (const char* size : {"-1", "99999999999999999999", "0x10", ""}) {
    TarMember member;
    member.name = "f";
    member.pax = {{"size", size}};
    const auto entries = scan(TarBuilder().add(member).finish());
    EXPECT_EQ(entries.has_value(), std::string_view(size).empty()) << size;
  }
}

// A path that was a directory becomes a symlink: nothing may be written through it.
// (node-tar CVE-2021-32803, -37701, -37712, -37713, -2026-26960; tar-rs CVE-2021-38511; containerd
// CVE-2025-47290)
TEST(LayerCve, Cve2021_32803AndCve2021_38511AndCve2025_47290DirectoryThatBecomesASymlink) {
  EntryTableBuilder builder;
  TarScanner scanner([&](const TarEntry& entry) { return builder.add(entry); });
  const std::string tar =
      TarBuilder().directory("d").file("d/old", "").symlink("d", "/etc").file("d/passwd", "x").finish();
  ASSERT_TRUE(scanner.push(as_bytes(tar)));
  ASSERT_TRUE(scanner.finish());
  auto table = builder.finish();
  ASSERT_TRUE(table);
  const auto parsed = EntryTable::parse(test::bytes_of(*table), table->shape(), tar.size());
  ASSERT_TRUE(parsed) << parsed.error().text;
  ASSERT_EQ(parsed->entry_count(), 2U);
  EXPECT_EQ(parsed->entry(0).path, "d");
  EXPECT_EQ(parsed->entry(1).path, "etc/passwd") << "the image's own";
}

TEST(LayerCve, Cve2018_20990AndCve2026_26960HardLinkOutOfTheRoot) {
  const auto entries =
      scan(TarBuilder().hard_link("l", "../../../etc/passwd").hard_link("m", "/etc/shadow").finish());
  ASSERT_TRUE(entries);
  EXPECT_EQ((*entries)[0].link, "etc/passwd");
  EXPECT_EQ((*entries)[1].link, "etc/shadow");
}

// Names that a filter takes to lie within, and that lead out when they are joined (Python's tarfile).
TEST(LayerCve, Cve2007_4559AndCve2024_12718AndCve2025_4517NamesThatLeadOut) {
  const auto entries = scan(TarBuilder()
                                .file("../../etc/cron.d/x", "")
                                .file("/etc/passwd", "")
                                .file("a/../../../b", "")
                                .symlink("up", "../../..")
                                .finish());
  ASSERT_TRUE(entries) << entries.error().text;
  ASSERT_EQ(entries->size(), 4U);
  EXPECT_EQ((*entries)[0].path, "etc/cron.d/x");
  EXPECT_EQ((*entries)[1].path, "etc/passwd");
  EXPECT_EQ((*entries)[2].path, "b");
  // A symlink's target is the guest's to follow.
  EXPECT_EQ((*entries)[3].link, "../../..");
}

TEST(LayerCve, DeviceNumbersOutOfRange) {
  TarMember device;
  device.type = '3';
  device.name = "dev";
  device.device_major = kMaxDeviceMajor + 1;
  expect_refused(TarBuilder().add(device).finish(), str_cat("limit is ", kMaxDeviceMajor));
}

// A gzip header whose extra field is longer than anybody's buffer.
TEST(LayerCve, Cve2022_37434LongGzipExtraField) {
  GzipHeaderParser parser;
  std::string header("\x08\x08\0\0\0\0\0\0", 8);  // with a name that never ends
  header.append(kMaxGzipHeaderBytes + 1, 'n');
  const auto parsed = parser.push(as_bytes(header));
  ASSERT_FALSE(parsed);
  EXPECT_NE(parsed.error().text.find("limit"), std::string::npos) << parsed.error().text;
}

// A layer that is no tar left its reader waiting for ever, and everybody else behind it.
TEST(LayerCve, Cve2021_20291LayerThatIsNoTar) {
  const test::TempDir dir;
  for (const std::string& content :
       {std::string(100, 'x'), std::string(3'000'000, 'x'), std::string("\x1f\x8b")}) {
    for (int attempt = 0; attempt < 2; ++attempt) {
      const std::string blob = test::gzip(content);
      ExpectedLayer expected;
      expected.identity = LayerIdentity::of_blob(*store::Digest::parse(test::sha256_text(blob)));
      expected.compression = store::Compression::kGzip;
      expected.digests = ExpectedLayer::Digests{*store::Digest::parse(test::sha256_text(blob)), blob.size(),
                                                *store::Digest::parse(test::sha256_text(content))};
      EXPECT_FALSE(build_index(test::CountingBlob(blob, "layer"), expected, dir / "x", [](std::uint64_t) {}));
    }
  }
}

}  // namespace
}  // namespace layerboot::layer
