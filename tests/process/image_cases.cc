#include "tests/process/image_cases.h"

#include "oci-mount/base/str_cat.h"
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
  return {std::move(name), "", {base().finish(), upper.finish()}, umoci, containerd, std::move(rule)};
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

TarMember linked(std::string name, char type, std::string target) {
  TarMember member = typed(std::move(name), type);
  member.link = std::move(target);
  return member;
}

/// Names that lead through a symlink of their own layer.
void add_own_symlinks(std::vector<ImageCase>& cases) {
  const auto with_lib = [] { return TarBuilder().directory("o").directory("o/lib").symlink("l", "o/lib"); };
  cases.push_back(on_base("a file through a symlink of its layer", with_lib().file("l/x", "x")));
  cases.push_back(
      on_base("a file through a symlink to nothing yet", TarBuilder().symlink("l", "p/q").file("l/x", "x")));
  cases.push_back(
      on_base("a file through an absolute symlink", TarBuilder().symlink("l", "/usr/lib").file("l/x", "x")));
  cases.push_back(on_base("a file through a symlink that leads out",
                          TarBuilder().symlink("l", "../../d").file("l/x", "x")));
  cases.push_back(on_base("a file through two symlinks",
                          TarBuilder().symlink("m", "d").symlink("l", "m/e").file("l/x", "x")));
  cases.push_back(
      on_base("a directory, then a symlink in its place, then a file through it",
              TarBuilder().directory("t").file("t/gone", "").symlink("t", "usr").file("t/x", "x")));
  cases.push_back(on_base("a symlink over a lower directory, then a file through it",
                          TarBuilder().symlink("d", "usr").file("d/x", "x")));
  cases.push_back(on_base("a symlink, then a directory in its place",
                          TarBuilder().symlink("t", "usr").directory("t", 0700).file("t/x", "x")));
  cases.push_back(on_base(
      "a symlink that leads elsewhere the second time",
      TarBuilder().directory("e").symlink("l", "d").file("l/x", "1").symlink("l", "e").file("l/x", "22")));
  cases.push_back(on_base("a directory's entry through a symlink",
                          with_lib().directory("l/sub", 0700).file("l/sub/x", "x")));
  cases.push_back(on_base("a file through symlinks in a circle",
                          TarBuilder().symlink("l", "m").symlink("m", "l").file("l/x", "x"), kBothRefuse,
                          kBothRefuse, "symlinks in a circle: the layer is refused"));
  cases.push_back(on_base("a file below a file of its layer", TarBuilder().file("t", "").file("t/x", ""),
                          kBothRefuse, kBothRefuse, "an entry below a file: the layer is refused"));
  cases.push_back(on_base("a file below a symlink to a file",
                          TarBuilder().file("t", "").symlink("l", "t").file("l/x", ""), kBothRefuse,
                          kBothRefuse, "an entry below a file: the layer is refused"));
  cases.push_back(on_base("a symlink to the root", TarBuilder().symlink("r", "/").file("r/r/x", "x")));
  cases.push_back(
      on_base("a directory, a file in its place, and a directory again",
              TarBuilder().directory("t").file("t/gone", "").file("t", "").directory("t").file("t/x", "")));
}

void add_whiteouts_through_symlinks(std::vector<ImageCase>& cases) {
  cases.push_back(on_base("a whiteout through a symlink of its layer",
                          TarBuilder().symlink("l", "usr/lib").whiteout("l/base")));
  cases.push_back(on_base("a symlink in a directory's place, then a whiteout in it",
                          TarBuilder().symlink("d", "usr").whiteout("d/lib")));
  cases.push_back(on_base("a whiteout in a directory, then a symlink in its place",
                          TarBuilder().whiteout("d/old").symlink("d", "usr")));
  cases.push_back(on_base("an opaque mark through a symlink of its layer",
                          TarBuilder().symlink("l", "d").opaque("l").file("l/new", "n")));
  cases.push_back(on_base("a whiteout of a directory, then one in it",
                          TarBuilder().whiteout("d").whiteout("d/old"), kSame, kItFails,
                          ".wh.d and d/.wh.x in one layer: no d"));
  cases.push_back(on_base("a whiteout in a directory, then one of it",
                          TarBuilder().whiteout("d/old").whiteout("d"), kSame, kItFails,
                          ".wh.d and d/.wh.x in one layer: no d"));
  cases.push_back(on_base("a whiteout of a directory, then an opaque mark of it",
                          TarBuilder().whiteout("d").opaque("d"), kSame, kItFails,
                          ".wh.d and d/.wh..wh..opq in one layer: no d"));
  cases.push_back(on_base("a file, then a whiteout below it", TarBuilder().file("q", "").whiteout("q/x"),
                          kSame, kItFails, "a file, then a mark below it: the file"));
  cases.push_back(on_base("an opaque mark, then a file in its directory's place",
                          TarBuilder().opaque("d").file("d", "f")));
}

/// Hard links are bound in the tar's order.
void add_bound_links(std::vector<ImageCase>& cases) {
  cases.push_back(on_base("a hard link, then its target again",
                          TarBuilder().file("t", "1").hard_link("hard", "t").file("t", "22")));
  cases.push_back(
      on_base("two hard links, then their target again",
              TarBuilder().file("t", "1").hard_link("h", "t").hard_link("g", "t").file("t", "22")));
  cases.push_back(on_base("a hard link, then a directory in its target's place",
                          TarBuilder().file("t", "1").hard_link("h", "t").directory("t").file("t/x", "")));
  cases.push_back(on_base("a hard link, then a symlink in its target's directory's place",
                          TarBuilder().file("e/t", "1").hard_link("h", "e/t").symlink("e", "h")));
  cases.push_back(on_base(
      "a hard link to a hard link that is replaced later",
      TarBuilder().file("t", "1").hard_link("h", "t").file("t", "22").hard_link("g", "h").file("h", "333")));
  cases.push_back(on_base("a hard link to a lower file, then that again",
                          TarBuilder().hard_link("h", "file").file("file", "new"), kSame, kItFails,
                          "hard link to a lower file that the same layer replaces: to the lower one"));
  cases.push_back(on_base("a file again, then a hard link to it",
                          TarBuilder().file("file", "new").hard_link("h", "file")));
  cases.push_back(on_base("a hard link to a lower file, then its whiteout",
                          TarBuilder().hard_link("h", "file").whiteout("file"), kSame, kItFails,
                          "hard link to a lower file that the same layer hides: to the lower one"));
  cases.push_back(
      on_base("a hard link through a symlink of its layer",
              TarBuilder().directory("o").file("o/t", "").symlink("l", "o").hard_link("h", "l/t")));
  cases.push_back(on_base("a hard link's name through a symlink",
                          TarBuilder().file("t", "").symlink("l", "d").hard_link("l/h", "t")));
  cases.push_back(
      on_base("a hard link to a symlink through a symlink",
              TarBuilder().directory("o").symlink("o/s", "x").symlink("l", "o").hard_link("h", "l/s")));
  cases.push_back(on_base("a hard link through a lower symlink", TarBuilder().hard_link("h", "lib/base"),
                          kSame, kItFails, "hard link whose target leads through a lower symlink: links"));
  cases.push_back(on_base("a hard link through its layer's symlink to a lower file",
                          TarBuilder().symlink("l", "usr/lib").hard_link("h", "l/base"), kSame, kItFails,
                          "links: one node, nlink counts both"));
  cases.push_back(on_base("a hard link to a directory", TarBuilder().directory("t").hard_link("h", "t"),
                          kBothRefuse, kBothRefuse, "hard link to a directory: the layer is refused"));
  cases.push_back(on_base("a hard link to itself", TarBuilder().hard_link("h", "h"), kBothRefuse, kBothRefuse,
                          "a circle: the image is refused"));
  cases.push_back(on_base("a hard link over a directory", TarBuilder().file("t", "").hard_link("d", "t")));
  cases.push_back(on_base("a hard link to aufs's own",
                          TarBuilder().file(".wh..wh.plnk/1.2", "x").hard_link("h", ".wh..wh.plnk/1.2"),
                          kDiffers, kDiffers,
                          "hard link to a file below .wh..wh.plnk: taken; the file itself has no name"));
}

void add_kinds(std::vector<ImageCase>& cases) {
  cases.push_back(
      on_base("a directory over a file", TarBuilder().directory("file", 0750).file("file/in", "x")));
  cases.push_back(on_base("a file over a directory", TarBuilder().file("d", "now a file")));
  TarMember odd_mode = linked("s", '2', "file");
  odd_mode.mode = 0640;
  cases.push_back(on_base("a symlink with a mode", with(odd_mode)));
  cases.push_back(on_base("a symlink with a slash behind its name", with(linked("s/", '2', "usr"))));
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
  ImageCase replaced{"one of two hard-linked names replaced above",      "", {}, kSame, kDiffers,
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
  for (const std::int64_t id : {4'294'967'295LL, 4'294'967'294LL, 4'294'967'301LL}) {
    TarMember owner = typed("owner", '0');
    owner.pax = {{"uid", str_cat(id)}, {"gid", str_cat(id)}};
    cases.push_back(on_base(str_cat("the owner ", id), with(owner)));
  }
  TarMember negative = typed("owner", '0');
  negative.uid = negative.gid = -1;
  cases.push_back(on_base("the owner -1", TarBuilder(TarFormat::kGnu).add(negative)));
  TarMember on_symlink = linked("s", '2', "file");
  on_symlink.pax = {{"SCHILY.xattr.user.a", "b"}};
  cases.push_back(on_base("an attribute user.* on a symlink", with(on_symlink), kItFails, kSame,
                          "user.* of what is neither file nor directory: dropped"));
  TarMember big_owner = typed("owner", '0');
  big_owner.uid = 3'000'000;
  cases.push_back(on_base("an owner in base-256", TarBuilder(TarFormat::kGnu).add(big_owner)));
  cases.push_back({"an empty layer on top", "", {base().finish(), TarBuilder().finish()}, kSame, kSame, ""});
}

}  // namespace

std::vector<ImageCase> image_cases() {
  constexpr std::string_view kWhiteouts = "layer.md, Whiteouts";
  constexpr std::string_view kApplying = "layer.md, Applying Changesets";
  constexpr std::string_view kTypes = "layer.md, File Types";
  constexpr std::string_view kAttributes = "layer.md, File Attributes";
  constexpr std::string_view kHardLinks = "layer.md, Hardlinks";
  struct Part {
    std::string_view section;
    void (*add)(std::vector<ImageCase>&);
  };
  std::vector<ImageCase> cases;
  for (const auto& [section, add] :
       {Part{kWhiteouts, add_whiteouts}, Part{kWhiteouts, add_whiteouts_through_symlinks},
        Part{kTypes, add_kinds}, Part{kHardLinks, add_links}, Part{kHardLinks, add_bound_links},
        Part{kApplying, add_own_symlinks}, Part{"pax(1), names", add_paths},
        Part{kAttributes, add_attributes}}) {
    const std::size_t before = cases.size();
    add(cases);
    for (std::size_t i = before; i < cases.size(); ++i) cases[i].section = section;
  }
  return cases;
}

}  // namespace layerboot::test
