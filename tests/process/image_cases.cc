#include "tests/process/image_cases.h"

#include "tests/support/tar_builder.h"

namespace layerboot::test {

namespace {

/// What most cases begin with.
TarBuilder base() {
  TarBuilder tar;
  tar.directory("./").directory("usr", 0711).directory("usr/lib", 0711).file("usr/lib/base", "base");
  tar.directory("d", 0700).file("d/old", "old").file("file", "lower").symlink("lib", "usr/lib");
  return tar;
}

TarMember typed(std::string name, char type) {
  TarMember member;
  member.name = std::move(name);
  member.type = type;
  return member;
}

TarBuilder with(TarMember member) {
  TarBuilder tar;
  tar.add(std::move(member));
  return tar;
}

TarMember device(std::string name, std::uint64_t major_number, std::uint64_t minor_number) {
  TarMember member = typed(std::move(name), '3');
  member.device_major = major_number;
  member.device_minor = minor_number;
  return member;
}

TarMember with_record(std::string name, std::string key, std::string value) {
  TarMember member = typed(std::move(name), '0');
  member.pax = {{std::move(key), std::move(value)}};
  return member;
}

TarMember owned(std::string name, std::int64_t uid, std::uint64_t mode) {
  TarMember member = typed(std::move(name), '0');
  member.uid = uid;
  member.mode = mode;
  return member;
}

using enum Compared;

ImageCase on_base(std::string name, const TarBuilder& upper, Compared umoci = kSame,
                  Compared containerd = kSame, std::string rule = "") {
  return {std::move(name), {base().finish(), upper.finish()}, umoci, containerd, std::move(rule)};
}

void add_whiteouts(std::vector<ImageCase>& cases) {
  cases.push_back(on_base("a file, then its whiteout, in one layer",
                          TarBuilder().file("file", "new").whiteout("file"), kSame, kItFails,
                          "a file, then .wh.file: keeps the new file"));
  cases.push_back(
      on_base("a whiteout, then its file, in one layer", TarBuilder().whiteout("file").file("file", "new")));
  cases.push_back(
      on_base("an opaque mark before its files", TarBuilder().directory("d").opaque("d").file("d/new", "n")));
  cases.push_back(
      on_base("an opaque mark after its files", TarBuilder().directory("d").file("d/new", "n").opaque("d")));
  cases.push_back(on_base("a whiteout of a directory", TarBuilder().whiteout("d")));
  cases.push_back(on_base("a whiteout of a directory, then files in it",
                          TarBuilder().whiteout("d").file("d/new", "n"), kSame, kItFails,
                          ".wh.d and d/new in one layer: an opaque d, 0755 root"));
  cases.push_back(on_base("files in a directory, then its whiteout",
                          TarBuilder().file("d/new", "n").whiteout("d"), kDiffers, kItFails,
                          ".wh.d and d/new in one layer: an opaque d, 0755 root; umoci keeps 0700"));
  cases.push_back(on_base("a whiteout of what is not there", TarBuilder().whiteout("none")));
  cases.push_back(
      on_base("a whiteout typed as a hard link", TarBuilder().hard_link(".wh.file", "usr/lib/base")));
  cases.push_back(on_base("a whiteout through a lower symlink", TarBuilder().whiteout("lib/base"), kDiffers,
                          kDiffers, "lib/.wh.base: lib becomes a directory; nothing else is hidden"));
  cases.push_back(on_base("a whiteout without a name", with(typed(".wh.", '0')), kBothRefuse, kBothRefuse,
                          ".wh. alone is refused"));
  cases.push_back(on_base("aufs's hard link directory",
                          TarBuilder().directory(".wh..wh.plnk").file(".wh..wh.plnk/1", ""), kDiffers,
                          kDiffers, "other .wh. names are left out"));
}

void add_kinds(std::vector<ImageCase>& cases) {
  cases.push_back(
      on_base("a directory over a file", TarBuilder().directory("file", 0750).file("file/in", "x")));
  cases.push_back(on_base("a file over a directory", TarBuilder().file("d", "now a file")));
  cases.push_back(on_base("a symlink over a directory", TarBuilder().symlink("d", "usr")));
  cases.push_back(
      on_base("a directory entry over a symlink", TarBuilder().directory("lib").file("lib/foo", "x")));
  cases.push_back(on_base("a file through a lower symlink", TarBuilder().file("lib/foo", "x"), kDiffers,
                          kDiffers, "lib/foo: lib becomes a directory, 0755 root"));
  cases.push_back(on_base("a device 0:0", with(device("file", 0, 0)), kDiffers, kDiffers,
                          "character device 0:0 in a layer: left out; what is below stays"));
  cases.push_back(on_base("a device", with(device("null", 1, 3))));
  cases.push_back(on_base("a pipe", with(typed("pipe", '6'))));
  cases.push_back(on_base("a directory typed as a file", with(typed("e/", '0'))));
  cases.push_back(on_base("a contiguous file", with(typed("contiguous", '7')), kItFails, kItFails,
                          "typeflag 7 is a file, as POSIX has it"));
  cases.push_back(on_base("a directory's mode changed", TarBuilder().directory("d", 01777)));
  cases.push_back(on_base("set-id bits and an owner", with(owned("suid", 1234, 06755))));
}

void add_links(std::vector<ImageCase>& cases) {
  cases.push_back(on_base("a hard link to a file of a lower layer", TarBuilder().hard_link("hard", "file"),
                          kSame, kItFails, "links: one node, nlink counts both"));
  cases.push_back(on_base("a hard link before its target", TarBuilder().hard_link("hard", "t").file("t", "x"),
                          kItFails, kItFails, "hard link before its target: links"));
  cases.push_back(on_base("a hard link to nothing", TarBuilder().hard_link("hard", "none"), kBothRefuse,
                          kBothRefuse, "the image is refused"));
  cases.push_back(on_base("a hard link over a file", TarBuilder().file("t", "x").hard_link("file", "t")));
  cases.push_back(
      on_base("a hard link to a symlink", TarBuilder().symlink("s", "file").hard_link("hard", "s")));
  ImageCase replaced{"one of two hard-linked names replaced above",
                     {},
                     kSame,
                     kDiffers,
                     "the other has nlink 1: counted in the merged tree"};
  replaced.layers = {TarBuilder().directory("./").file("a", "x").hard_link("b", "a").finish(),
                     TarBuilder().file("a", "y").finish()};
  cases.push_back(std::move(replaced));
}

void add_paths(std::vector<ImageCase>& cases) {
  cases.push_back(on_base("a path that leads out", TarBuilder().file("../escaped", "x")));
  cases.push_back(on_base("an absolute path", TarBuilder().file("/absolute", "x")));
  cases.push_back(on_base("a path with .. and . inside", TarBuilder().file("d/.././usr/in", "x")));
  cases.push_back(on_base("missing parents", TarBuilder().file("a/b/c", "x")));
  cases.push_back(on_base("an entry twice", TarBuilder().file("twice", "1").file("twice", "22", 0600)));
  cases.push_back(
      on_base("a long path", TarBuilder().file(std::string(90, 'l') + "/" + std::string(120, 'n'), "x")));
  cases.push_back(on_base("a GNU long name", TarBuilder(TarFormat::kGnu).file(std::string(200, 'g'), "x")));
  cases.push_back(on_base("a V7 tar", TarBuilder(TarFormat::kV7).file("v7", "x")));
  cases.push_back(on_base("odd bytes in a name", TarBuilder().file("\xff\x01 \n", "x")));
}

void add_attributes(std::vector<ImageCase>& cases) {
  cases.push_back(on_base("an extended attribute", with(with_record("x", "SCHILY.xattr.user.a", "b"))));
  cases.push_back(on_base("overlayfs's own attribute",
                          with(with_record("x", "SCHILY.xattr.trusted.overlay.opaque", "y"))));
  cases.push_back(
      on_base("a time with nanoseconds", with(with_record("t", "mtime", "1600000000.123456789"))));
  cases.push_back(on_base("a path in a PAX record", with(with_record("short", "path", "from-pax"))));
  TarMember big_owner = typed("owner", '0');
  big_owner.uid = 3'000'000;
  cases.push_back(on_base("an owner in base-256", TarBuilder(TarFormat::kGnu).add(big_owner)));
  cases.push_back({"an empty layer on top", {base().finish(), TarBuilder().finish()}, kSame, kSame, ""});
}

}  // namespace

std::vector<ImageCase> image_cases() {
  std::vector<ImageCase> cases;
  add_whiteouts(cases);
  add_kinds(cases);
  add_links(cases);
  add_paths(cases);
  add_attributes(cases);
  return cases;
}

}  // namespace layerboot::test
