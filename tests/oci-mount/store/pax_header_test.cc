#include "oci-mount/store/pax_header.h"
#include "oci-mount/store/tar_header.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

namespace layerboot::store {
namespace {

PaxMember plain() {
  PaxMember member;
  member.name = "etc/hostname";
  member.mode = S_IFREG | 0644;
  member.size_bytes = 6;
  member.mtime_sec = 1'700'000'000;
  return member;
}

TEST(PaxHeader, IsOneBlockWhereThatHoldsAll) {
  const std::string header = pax_header(plain());
  ASSERT_EQ(header.size(), kTarBlockBytes);
  EXPECT_EQ(header.substr(0, 13), std::string("etc/hostname\0", 13));
  EXPECT_EQ(header.substr(100, 7), "0000644");
  EXPECT_EQ(header.substr(124, 11), "00000000006");
  EXPECT_EQ(header[156], '0');
  EXPECT_EQ(header.substr(257, 8), std::string("ustar\00000", 8));
}

TEST(PaxHeader, TypesComeFromTheMode) {
  const std::pair<std::uint32_t, char> kinds[] = {{S_IFLNK, '2'}, {S_IFCHR, '3'}, {S_IFBLK, '4'},
                                                  {S_IFDIR, '5'}, {S_IFIFO, '6'}, {S_IFREG, '0'}};
  for (const auto& [mode, type] : kinds) {
    PaxMember member = plain();
    member.mode = mode;
    EXPECT_EQ(pax_header(member)[156], type);
    member.hard_link = true;
    EXPECT_EQ(pax_header(member)[156], '1');
  }
}

std::string records_of(const PaxMember& member) {
  const std::string header = pax_header(member);
  return header[156] == 'x'
             ? header.substr(kTarBlockBytes, header.find('\0', kTarBlockBytes) - kTarBlockBytes)
             : "";
}

TEST(PaxHeader, ExtendsWhatUstarCannotSay) {
  const std::string long_name(101, 'n');
  PaxMember member = plain();
  member.name = long_name;
  EXPECT_EQ(records_of(member), "111 path=" + long_name + "\n");
  member = plain();
  member.name = "\xc3\xa4";
  EXPECT_EQ(records_of(member), "11 path=\xc3\xa4\n");
  member = plain();
  member.uid = 1U << 21U;
  EXPECT_EQ(records_of(member), "15 uid=2097152\n");
  member = plain();
  member.size_bytes = 1ULL << 33U;
  EXPECT_EQ(records_of(member), "19 size=8589934592\n");
  member = plain();
  member.xattrs = {{"user.a", "b=c\n"}};
  EXPECT_EQ(records_of(member), "28 SCHILY.xattr.user.a=b=c\n\n");
}

TEST(PaxHeader, TimesAreDecimal) {
  const auto time = [](std::int64_t seconds, std::uint32_t nanoseconds) {
    PaxMember member = plain();
    member.mtime_sec = seconds;
    member.mtime_nsec = nanoseconds;
    const std::string records = records_of(member);
    const auto begin = records.find("mtime=");
    return begin == std::string::npos ? std::string() : records.substr(begin + 6, records.size() - begin - 7);
  };
  EXPECT_EQ(time(5, 0), "");
  EXPECT_EQ(time(5, 1), "5.000000001");
  EXPECT_EQ(time(5, 120'000'000), "5.12");
  EXPECT_EQ(time(-5, 0), "-5");
  EXPECT_EQ(time(-2, 750'000'000), "-1.25");
  EXPECT_EQ(time(-1, 750'000'000), "-0.25");
  EXPECT_EQ(time(1LL << 33, 0), "8589934592");
}

TEST(PaxHeader, DataIsPaddedToABlock) {
  EXPECT_EQ(tar_padding(0), 0U);
  EXPECT_EQ(tar_padding(1), 511U);
  EXPECT_EQ(tar_padding(512), 0U);
}

}  // namespace
}  // namespace layerboot::store
