#include "oci-mount/store/tar_header.h"

#include <gtest/gtest.h>

#include "oci-mount/base/bytes.h"
#include "tests/support/tar_builder.h"

namespace layerboot::store {
namespace {

using test::pax_record;
using test::TarBuilder;
using test::TarFormat;

Result<TarHeader> parse(const std::string& block) {
  return parse_tar_header(TarBlock(as_bytes(block).first<kTarBlockBytes>()));
}

std::string sample_header(TarFormat format = TarFormat::kUstar) {
  test::TarMember member;
  member.type = '3';
  member.name = "dev/x";
  member.mode = 0620;
  member.uid = 5;
  member.gid = 6;
  member.device_major = 4;
  member.device_minor = 64;
  return TarBuilder(format).add(member).without_end();
}

TEST(ParseTarHeader, ReadsEveryFormat) {
  for (const TarFormat format : {TarFormat::kUstar, TarFormat::kGnu, TarFormat::kV7}) {
    const auto header = parse(sample_header(format));
    ASSERT_TRUE(header) << header.error().text;
    EXPECT_EQ(header->type, '3');
    EXPECT_EQ(header->name, "dev/x");
    EXPECT_EQ(header->mode, 0620);
    EXPECT_EQ(header->uid, 5);
    EXPECT_EQ(header->gid, 6);
    EXPECT_EQ(header->mtime_sec, 1'700'000'000);
    EXPECT_EQ(header->device_minor, format == TarFormat::kV7 ? 0 : 64);
  }
}

TEST(ParseTarHeader, RefusesAWrongChecksum) {
  std::string block = sample_header();
  block[0] ^= 1;
  const auto header = parse(block);
  ASSERT_FALSE(header);
  EXPECT_EQ(header.error().code, EBADMSG);
  EXPECT_FALSE(parse(std::string(512, '\1')));
}

TEST(ParseTarHeader, TakesASignedChecksum) {
  std::string block = sample_header();
  block[0] = '\xe9';  // old tars summed signed bytes: this one counts -23 there, 233 elsewhere
  test::fix_checksum(block, 0);
  EXPECT_TRUE(parse(block));
  int sum = 0;
  for (std::size_t i = 0; i < 512; ++i) sum += i >= 148 && i < 156 ? ' ' : static_cast<signed char>(block[i]);
  std::snprintf(block.data() + 148, 8, "%06o", static_cast<unsigned>(sum));
  EXPECT_TRUE(parse(block));
}

TEST(ParseTarHeader, JoinsUstarsPrefix) {
  std::string block = sample_header();
  block.replace(345, 3, "a/b");
  test::fix_checksum(block, 0);
  EXPECT_EQ(parse(block)->name, "a/b/dev/x");
  std::string gnu = sample_header(TarFormat::kGnu);
  gnu.replace(345, 12, "00000000017 ");  // a GNU header has its access time there
  test::fix_checksum(gnu, 0);
  EXPECT_EQ(parse(gnu)->name, "dev/x");
  gnu.replace(345, 12, "early/go/dir");
  test::fix_checksum(gnu, 0);
  EXPECT_EQ(parse(gnu)->name, "early/go/dir/dev/x");
}

Result<TarHeader> with_size_field(std::string_view field) {
  std::string block = sample_header();
  block.replace(124, 12, std::string(12, '\0'));
  block.replace(124, field.size(), field);
  test::fix_checksum(block, 0);
  return parse(block);
}

TEST(ParseTarHeader, Numbers) {
  EXPECT_EQ(with_size_field(" 17 ")->size_bytes, 15);
  EXPECT_EQ(with_size_field("")->size_bytes, 0);
  EXPECT_EQ(with_size_field("777777777777")->size_bytes, 0777777777777);
  EXPECT_EQ(with_size_field(std::string_view("\x80\0\0\0\0\0\0\1\0\0\0\0", 12))->size_bytes, 1LL << 32);
  EXPECT_EQ(
      with_size_field(std::string_view("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", 12))->size_bytes,
      -2);
  EXPECT_FALSE(with_size_field("18"));
  EXPECT_FALSE(with_size_field("-1"));
  EXPECT_FALSE(with_size_field("1 2"));
  EXPECT_FALSE(with_size_field(std::string_view("\x80\0\0\1\0\0\0\0\0\0\0\0", 12))) << "over 64 bits";
  EXPECT_FALSE(with_size_field(std::string_view("\x80\0\0\0\x80\0\0\0\0\0\0\0", 12))) << "over 63 bits";
}

TEST(ParsePaxRecords, ReadsWhatItKnows) {
  const auto pax = parse_pax_records(
      pax_record("path", "p") + pax_record("linkpath", "l") + pax_record("size", "10000000000") +
      pax_record("uid", "1") + pax_record("gid", "2") + pax_record("mtime", "3.5") +
      pax_record("comment", std::string("any\0thing", 9)) + pax_record("SCHILY.xattr.user.a=b", "x\n=y"));
  ASSERT_TRUE(pax) << pax.error().text;
  EXPECT_EQ(pax->path, "p");
  EXPECT_EQ(pax->linkpath, "l");
  EXPECT_EQ(pax->size_bytes, 10000000000);
  EXPECT_EQ(pax->uid, 1);
  EXPECT_EQ(pax->gid, 2);
  EXPECT_EQ(pax->mtime, std::pair(std::int64_t{3}, 500'000'000U));
  ASSERT_EQ(pax->xattrs.size(), 1U);
  EXPECT_EQ(pax->xattrs[0].first, "user.a") << "a key ends at its first =";
  EXPECT_EQ(pax->xattrs[0].second, "b=x\n=y");
  EXPECT_FALSE(pax->sparse);
}

TEST(ParsePaxRecords, LastWinsAndEmptyTakesBack) {
  const auto pax = parse_pax_records(pax_record("path", "a") + pax_record("path", "b") +
                                     pax_record("size", "7") + pax_record("size", "") +
                                     pax_record("SCHILY.xattr.u", "1") + pax_record("SCHILY.xattr.u", "2"));
  ASSERT_TRUE(pax);
  EXPECT_EQ(pax->path, "b");
  EXPECT_FALSE(pax->size_bytes);
  ASSERT_EQ(pax->xattrs.size(), 1U);
  EXPECT_EQ(pax->xattrs[0].second, "2");
}

// CVE-2025-62518: a record that is skipped in silence leaves two readers with two sizes.
TEST(ParsePaxRecords, RefusesMalformedOnes) {
  const std::vector<std::string> bad = {"x",
                                        "5",
                                        "5 ",
                                        " 5 a=\n",
                                        "4 a=\n",
                                        "99 a=b\n",
                                        "6 a=bc",
                                        "7 ab=\n",
                                        "5 ab\n",
                                        "6 =ab\n",
                                        "06 a=b\nx",
                                        "-6 a=b\n",
                                        "99999999999999999999 a=b\n",
                                        pax_record("size", "1x"),
                                        pax_record("size", "1 "),
                                        pax_record("uid", "9223372036854775808"),
                                        pax_record("path", std::string("a\0b", 3)),
                                        pax_record("mtime", "1.x"),
                                        pax_record("SCHILY.xattr.", "x"),
                                        pax_record(std::string("k\0", 2), "v"),
                                        pax_record("path", "good") + "trailing"};
  for (const std::string& text : bad) {
    const auto pax = parse_pax_records(text);
    EXPECT_FALSE(pax) << text;
    if (!pax) {
      EXPECT_EQ(pax.error().code, EBADMSG);
    }
  }
}

TEST(ParsePaxRecords, SaysWhenAFileIsSparse) {
  EXPECT_TRUE(parse_pax_records(pax_record("GNU.sparse.major", "1"))->sparse);
}

TEST(ParsePaxTime, CountsForward) {
  using Time = std::pair<std::int64_t, std::uint32_t>;
  EXPECT_EQ(parse_pax_time("12"), Time(12, 0));
  EXPECT_EQ(parse_pax_time("12.000000001999"), Time(12, 1));
  EXPECT_EQ(parse_pax_time("-1.25"), Time(-2, 750'000'000));
  EXPECT_EQ(parse_pax_time("-0.5"), Time(-1, 500'000'000));
  EXPECT_EQ(parse_pax_time("1."), Time(1, 0));
  EXPECT_FALSE(parse_pax_time(""));
  EXPECT_FALSE(parse_pax_time(".5"));
  EXPECT_FALSE(parse_pax_time("1e3"));
  EXPECT_FALSE(parse_pax_time("-9223372036854775808.5"));
}

TEST(TarPadding, EndsABlock) {
  EXPECT_EQ(tar_padding(0), 0U);
  EXPECT_EQ(tar_padding(1), 511U);
  EXPECT_EQ(tar_padding(511), 1U);
  EXPECT_EQ(tar_padding(512), 0U);
  EXPECT_EQ(tar_padding(513), 511U);
  EXPECT_EQ(tar_padding(UINT64_MAX), 1U);
}

}  // namespace
}  // namespace layerboot::store
