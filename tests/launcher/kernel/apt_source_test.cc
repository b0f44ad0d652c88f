#include "launcher/kernel/apt_source.h"

#include <gtest/gtest.h>

namespace layerboot::launcher {
namespace {

constexpr const char* kTargets =
    "Packages|Vendor|Vendor|bookworm|https://vendor.example/|main\n"
    "Translations|Debian|Debian|bookworm|http://mirror.example/debian/|main\n"
    "Packages|Debian|Debian-Security|bookworm-security|http://mirror.example/security/|main\n"
    "Packages|Debian|Debian|bookworm-updates|http://mirror.example/debian/|main\n"
    "Packages|Debian|Debian|bookworm|http://mirror.example/debian/|contrib\n"
    "Packages|Debian|Debian|bookworm|http://mirror.example/debian/|main\n";

TEST(AptSource, TakesTheMachinesOwnPlaceForBackports) {
  EXPECT_EQ(backports_source(kTargets, "bookworm", "/keys.gpg"),
            "deb [signed-by=/keys.gpg] http://mirror.example/debian/ bookworm-backports main\n");
}

TEST(AptSource, NothingWithoutASourceOfTheRelease) {
  EXPECT_EQ(backports_source(kTargets, "trixie", "/keys.gpg"), std::nullopt);
  EXPECT_EQ(backports_source("", "bookworm", "/keys.gpg"), std::nullopt);
  EXPECT_EQ(backports_source("Packages|Debian|Debian|bookworm|cdrom://disc/|main", "bookworm", "/k"),
            std::nullopt);
  EXPECT_EQ(backports_source("Packages|Debian|Debian|bookworm|http://a b/|main", "bookworm", "/k"),
            std::nullopt);
  EXPECT_EQ(backports_source("Packages|Debian", "bookworm", "/k"), std::nullopt);
}

TEST(AptSource, ReadsTheReleasesCodename) {
  EXPECT_EQ(os_codename("ID=debian\nVERSION_CODENAME=bookworm\nX=y\n"), "bookworm");
  EXPECT_EQ(os_codename("VERSION_CODENAME=\"trixie\""), "trixie");
  EXPECT_EQ(os_codename("ID=other\nOLD_VERSION_CODENAME=x\n"), "");
}

TEST(AptSource, ReadsTheCandidateOnly) {
  const auto info = parse_package(
      "Package: linux-image-cloud-amd64\nVersion: 6.1.192-2\nSize: 1484\n"
      "Depends: initramfs | x, linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)\n\n"
      "Package: linux-image-cloud-amd64\nVersion: 6.1.176-1\n");
  EXPECT_EQ(info.version, "6.1.192-2");
  EXPECT_EQ(info.size_bytes, 1484U);
  EXPECT_EQ(kernel_package_of(info), "linux-image-6.1.0-56-cloud-amd64");
  EXPECT_EQ(kernel_package_of(parse_package("Version: 1\nDepends: libc6\n")), "");
  EXPECT_EQ(parse_package("").version, "");
}

TEST(AptSource, AKernelIsOnePackageOrSeveral) {
  using Parts = std::vector<std::string>;
  EXPECT_EQ(kernel_parts_of(
                "linux-image-6.12.118+deb13-cloud-amd64",
                parse_package("Depends: kmod, initramfs-tools (>= 0.120+deb8u2) | linux-initramfs-tool\n")),
            Parts{"linux-image-6.12.118+deb13-cloud-amd64"});
  EXPECT_EQ(kernel_parts_of("linux-image-7.3.4+deb13-cloud-amd64",
                            parse_package("Depends: dracut | linux-initramfs-tool, linux-base (>= 4), "
                                          "linux-binary-7.3.4+deb13-cloud-amd64 (= 7.3.4-1), "
                                          "linux-modules-7.3.4+deb13-cloud-amd64 (= 7.3.4-1)\n")),
            (Parts{"linux-image-7.3.4+deb13-cloud-amd64", "linux-binary-7.3.4+deb13-cloud-amd64",
                   "linux-modules-7.3.4+deb13-cloud-amd64"}));
  EXPECT_EQ(kernel_parts_of("other", parse_package("Depends: linux-base-other\n")), Parts{"other"});
}

TEST(AptSource, KnowsARecentKernelByItsVersion) {
  for (const char* recent : {"6.12.118-1", "6.12-1", "7.3.4-1~bpo13+1", "10.0"})
    EXPECT_TRUE(is_recent_kernel(recent)) << recent;
  for (const char* other : {"6.1.192-2", "6.11.99", "5.20.1", "", "6", "6.", "x.12", ".12"})
    EXPECT_FALSE(is_recent_kernel(other)) << other;
}

TEST(AptSource, ASeriesIsNoPrefixOfNumbers) {
  EXPECT_TRUE(version_matches("6.1.192-2", "6.1"));
  EXPECT_TRUE(version_matches("6.1-1", "6.1"));
  EXPECT_FALSE(version_matches("6.12.95-1~bpo12+1", "6.1"));
  EXPECT_TRUE(version_matches("6.12.95-1~bpo12+1", "6.12"));
  EXPECT_TRUE(version_matches("anything", ""));
  EXPECT_FALSE(version_matches("", "6.1"));
}

TEST(AptSource, AnotherArchitecturesPackagesComeFromTheMachinesOwnPlaces) {
  EXPECT_EQ(all_sources(kTargets, "bookworm", "", "/k", true),
            "deb [signed-by=/k] http://mirror.example/debian/ bookworm-backports main\n"
            "deb [signed-by=/k] http://mirror.example/security/ bookworm-security main\n"
            "deb [signed-by=/k] http://mirror.example/debian/ bookworm-updates main\n"
            "deb [signed-by=/k] http://mirror.example/debian/ bookworm main\n");
  EXPECT_TRUE(all_sources(kTargets, "bookworm", "trixie", "/k", true)
                  ->ends_with("deb [signed-by=/k] http://mirror.example/debian/ trixie main\n"));
  EXPECT_EQ(all_sources(kTargets, "trixie", "", "/k", true), std::nullopt);
  EXPECT_EQ(all_sources(kTargets, "bookworm", "", "/k", false),
            "deb [signed-by=/k] http://mirror.example/security/ bookworm-security main\n"
            "deb [signed-by=/k] http://mirror.example/debian/ bookworm-updates main\n"
            "deb [signed-by=/k] http://mirror.example/debian/ bookworm main\n");
}

}  // namespace
}  // namespace layerboot::launcher
