#include "tests/oci-mount/vfs/upper_operations.h"

#include <linux/fs.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "oci-mount/base/str_cat.h"
#include "tests/support/host_steps.h"
#include "tests/support/host_usage.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"

namespace layerboot::test {

namespace {

/// Less than the smallest disk has free, so that statfs(2) tells of the budget.
constexpr std::uint64_t kQuotaBytes = 16U << 20;

std::string old_bytes() { return std::string(20'480, 'o'); }

template <typename Call>
int at(FsDriver& driver, const std::string& path, Call call) {
  const auto node = driver.acquire(path);
  if (node == 0) return ENOENT;
  const auto done = driver.reactor->block_on(call(node));
  if (node != vfs::kRootId) driver.release(node);
  return done ? 0 : done.error().code;
}

Act fsync(const std::string& path) {
  return [=](FsDriver& d) {
    return at(d, path, [&](vfs::NodeId node) { return d.fs.fsync(*d.reactor, node, false); });
  };
}
Act fdatasync(const std::string& path) {
  return [=](FsDriver& d) {
    return at(d, path, [&](vfs::NodeId node) { return d.fs.fsync(*d.reactor, node, true); });
  };
}
Act fsyncdir(const std::string& path) {
  return [=](FsDriver& d) {
    return at(d, path, [&](vfs::NodeId node) { return d.fs.fsyncdir(*d.reactor, node, false); });
  };
}
Act both(const Act& first, const Act& second) {
  return [=](FsDriver& d) {
    const int code = first(d);
    return code != 0 ? code : second(d);
  };
}
Act syncfs() {
  return [](FsDriver& d) {
    const auto done = d.reactor->block_on(d.fs.syncfs(*d.reactor));
    return done ? 0 : done.error().code;
  };
}

Act create(const std::string& path) {
  return [=](FsDriver& d) { return d.create(path, ""); };
}
Act write(const std::string& path, const std::string& bytes, std::uint64_t offset = 0) {
  return [=](FsDriver& d) { return d.write(path, offset, bytes); };
}
Act truncate(const std::string& path, std::uint64_t size) {
  return [=](FsDriver& d) { return d.truncate(path, size); };
}
Act chmod(const std::string& path, std::uint32_t mode) {
  return [=](FsDriver& d) {
    vfs::AttrChange change;
    change.mode = mode;
    return d.setattr(path, change);
  };
}
Act chown(const std::string& path, std::uint32_t uid) {
  return [=](FsDriver& d) {
    vfs::AttrChange change;
    change.uid = uid;
    return d.setattr(path, change);
  };
}
Act mkdir(const std::string& path) {
  return [=](FsDriver& d) { return d.mkdir(path); };
}
Act symlink(const std::string& path, const std::string& target) {
  return [=](FsDriver& d) { return d.symlink(path, target); };
}
Act mknod(const std::string& path, std::uint32_t mode) {
  return [=](FsDriver& d) { return d.mknod(path, mode, 0); };
}
/// By a user of the guest's who is not root, in "d" or another directory at the top.
Act make_as_user(const std::string& directory, const std::string& name, std::uint32_t mode) {
  return [=](FsDriver& d) {
    constexpr vfs::Caller kUser{.uid = 1000, .gid = 1001, .umask = 022};
    const auto parent = d.acquire(directory);
    if (parent == 0) return ENOENT;
    auto made = S_ISREG(mode)   ? d.fs.create(parent, name, mode, true, kUser)
                : S_ISDIR(mode) ? d.fs.mkdir(parent, name, mode, kUser)
                : S_ISLNK(mode) ? d.fs.symlink(parent, name, "target", kUser)
                                : d.fs.mknod(parent, name, mode, 0, kUser);
    d.release(parent);
    if (!made) return made.error().code;
    d.release(made->id);
    return 0;
  };
}
Act unlink(const std::string& path) {
  return [=](FsDriver& d) { return d.unlink(path); };
}
Act rmdir(const std::string& path) {
  return [=](FsDriver& d) { return d.rmdir(path); };
}
Act link(const std::string& path, const std::string& to) {
  return [=](FsDriver& d) { return d.link(path, to); };
}
Act rename(const std::string& path, const std::string& to, std::uint32_t flags = 0) {
  return [=](FsDriver& d) { return d.rename(path, to, flags); };
}
Act setxattr(const std::string& path, const std::string& value) {
  return [=](FsDriver& d) { return d.setxattr(path, "user.test", value); };
}
Act removexattr(const std::string& path) {
  return [=](FsDriver& d) { return d.removexattr(path, "user.test"); };
}
/// Until let_go().
vfs::NodeId held_node = 0;
Act hold(const std::string& path) {
  return [=](FsDriver& d) {
    held_node = d.acquire(path);
    return held_node != 0 ? 0 : ENOENT;
  };
}
Act let_go() {
  return [](FsDriver& d) {
    d.release(held_node);
    return 0;
  };
}
Act link_nameless(const std::string& path) {
  return [=](FsDriver& d) { return d.link_nameless(path, 0644); };
}

std::vector<Operation> operations_on_new_objects() {
  return {
      {"create, write, fsync", {}, {create("d/new"), write("d/new", "bytes")}, fsync("d/new")},
      {"create, fsync of the directory", {}, {create("d/new")}, fsyncdir("d")},
      {"create where a name was removed", {unlink("d/file")}, {create("d/file")}, fsyncdir("d")},
      {"mkdir", {}, {mkdir("d/new")}, fsyncdir("d")},
      {"mkdir where a directory was removed", {rmdir("d/empty")}, {mkdir("d/empty")}, fsyncdir("d")},
      {"mkdir, create in it, fsync",
       {},
       {mkdir("d/n"), create("d/n/f"), write("d/n/f", "b")},
       fsync("d/n/f")},
      {"symlink", {}, {symlink("d/new", "/etc/target")}, fsyncdir("d")},
      {"long symlink", {}, {symlink("d/new", std::string(1000, 't'))}, fsyncdir("d")},
      {"longest symlink", {}, {symlink("d/new", std::string(4095, 't'))}, fsyncdir("d")},
      {"symlink where a name was removed", {unlink("d/file")}, {symlink("d/file", "target")}, fsyncdir("d")},
      {"mknod of a fifo", {}, {mknod("d/new", S_IFIFO | 0644)}, fsyncdir("d")},
      {"mknod of a device 0:0", {}, {mknod("d/new", S_IFCHR | 0644)}, fsyncdir("d")},
      {"create by a user", {}, {make_as_user("d", "new", S_IFREG | 0666)}, fsyncdir("d")},
      {"create of a set-id file by a user", {}, {make_as_user("d", "new", S_IFREG | 06755)}, fsyncdir("d")},
      {"mkdir by a user", {}, {make_as_user("d", "new", S_IFDIR | 0777)}, fsyncdir("d")},
      {"symlink by a user", {}, {make_as_user("d", "new", S_IFLNK | 0777)}, fsyncdir("d")},
      {"mknod by a user", {}, {make_as_user("d", "new", S_IFIFO | 0666)}, fsyncdir("d")},
      {"tmpfile, link", {}, {link_nameless("new")}, fsyncdir("")},
      {"syncfs",
       {},
       {mkdir("d/n"), symlink("d/n/l", "target"), unlink("d/file"), create("d/new"), write("d/new", "bytes")},
       syncfs()},
  };
}

std::vector<Operation> operations_on_files() {
  return {
      {"first write, fdatasync", {}, {write("d/file", "NEW")}, fdatasync("d/file")},
      {"first write, fsync", {}, {write("d/file", "NEW")}, fsync("d/file")},
      {"first write far down, fdatasync",
       {},
       {write("far/down/and/file", "NEW")},
       fdatasync("far/down/and/file")},
      {"first write of one of three names, fdatasync", {}, {write("h/a", "NEW")}, fdatasync("h/a")},
      {"write to a metacopy, fdatasync",
       {chmod("d/file", 0600)},
       {write("d/file", "NEW")},
       fdatasync("d/file")},
      {"chmod, write, fdatasync", {}, {chmod("d/file", 0600), write("d/file", "NEW")}, fdatasync("d/file")},
      {"second write, fdatasync", {write("d/file", "2ND")}, {write("d/file", "NEW")}, fdatasync("d/file")},
      {"append", {}, {write("d/file", "NEW", 20'480)}, fdatasync("d/file")},
      {"truncate to nothing", {}, {truncate("d/file", 0)}, fsync("d/file")},
      {"truncate to a part", {}, {truncate("d/file", 5000)}, fsync("d/file")},
      {"truncate of a metacopy", {chmod("d/file", 0600)}, {truncate("d/file", 5000)}, fsync("d/file")},
      {"truncate of a metacopy, and back",
       {chmod("d/file", 0600)},
       {truncate("d/file", 5000), truncate("d/file", 20'480)},
       fsync("d/file")},
      {"chmod of a file", {}, {chmod("d/file", 0600)}, fsync("d/file")},
      {"chmod, fsync of the directory", {}, {chmod("d/file", 0600)}, both(fsyncdir("d"), fsync("d/file"))},
      {"chmod far down", {}, {chmod("far/down/and/file", 0600)}, fsync("far/down/and/file")},
      {"chown of a symlink", {}, {chown("d/link", 1)}, fsyncdir("d")},
      {"chmod of a directory", {}, {chmod("far/down", 0700)}, fsyncdir("far/down")},
      {"setxattr", {}, {setxattr("d/file", "value")}, fsync("d/file")},
      {"link", {}, {link("d/file", "h/new")}, fsync("h/new")},
      {"link where a name was removed", {unlink("h/c")}, {link("d/file", "h/c")}, fsync("h/c")},
  };
}

std::vector<Operation> operations_on_names() {
  const auto replace = [](const std::string& path) -> std::vector<Act> {
    return {create("d/tmp"), write("d/tmp", "replaced"), fsync("d/tmp"), rename("d/tmp", path)};
  };
  return {
      {"unlink", {}, {unlink("d/file")}, fsyncdir("d")},
      {"unlink of what was written", {write("d/file", "2ND")}, {unlink("d/file")}, fsyncdir("d")},
      {"unlink of what is held", {hold("d/file")}, {unlink("d/file")}, fsyncdir("d"), {}, {let_go()}},
      {"unlink of what was written and is held",
       {write("d/file", "2ND"), hold("d/file")},
       {unlink("d/file")},
       fsyncdir("d"),
       {},
       {let_go()}},
      {"unlink of what was made", {create("d/new")}, {unlink("d/new")}, fsyncdir("d")},
      {"rmdir", {}, {rmdir("d/empty")}, fsyncdir("d")},
      {"rmdir of what was emptied", {unlink("one/f")}, {rmdir("one")}, fsyncdir("")},
      {"rmdir of what was made", {mkdir("d/new")}, {rmdir("d/new")}, fsyncdir("d")},
      {"rename", {}, {rename("d/file", "d/moved")}, fsyncdir("d")},
      {"rename to elsewhere", {}, {rename("d/file", "h/moved")}, both(fsyncdir("h"), fsyncdir("d"))},
      {"rename over another", {}, {rename("d/file", "d/other")}, fsyncdir("d")},
      {"rename over what was written",
       {write("d/other", "2ND")},
       {rename("d/file", "d/other")},
       fsyncdir("d")},
      {"rename over one of two names",
       {link("d/other", "h/new")},
       {rename("d/file", "d/other")},
       fsyncdir("d")},
      {"rename over what is held",
       {write("d/other", "2ND"), hold("d/other")},
       {rename("d/file", "d/other")},
       fsyncdir("d"),
       {},
       {let_go()}},
      {"rename of a metacopy",
       {chmod("d/file", 0600)},
       {rename("d/file", "h/moved")},
       both(fsyncdir("h"), fsyncdir("d"))},
      {"chmod, create beside it, fsync of the directory",
       {},
       {chmod("d/file", 0600), create("d/new")},
       fsyncdir("d")},
      {"chmod of two files, write to one, fdatasync",
       {},
       {chmod("d/file", 0600), chmod("d/c", 0600), write("d/c", "NEW")},
       both(fdatasync("d/c"), fsyncdir("d")),
       {{chmod("d/c", 0600)}, {chmod("d/c", 0600), write("d/c", "NEW")}}},
      {"chmod, and replacement of another",
       {},
       {chmod("d/file", 0600), create("d/tmp"), write("d/tmp", "t"), fsync("d/tmp"), rename("d/tmp", "d/x")},
       both(fsync("d/x"), fsyncdir("d")),
       {{create("d/tmp"), write("d/tmp", "t")}, {create("d/x"), write("d/x", "t")}}},
      {"rename of a directory of the upper", {chmod("far", 0700)}, {rename("far", "moved")}, fsyncdir("")},
      {"replace", {}, replace("d/file"), fsyncdir("d")},
      {"rename of a directory", {}, {rename("far", "moved")}, fsyncdir("")},
      {"rename of a directory over an emptied one", {unlink("one/f")}, {rename("far", "one")}, fsyncdir("")},
      {"exchange", {}, {rename("d/file", "h/a", RENAME_EXCHANGE)}, both(fsyncdir("d"), fsyncdir("h"))},
      {"exchange of directories", {}, {rename("far", "one", RENAME_EXCHANGE)}, fsyncdir("")},
      {"rename and whiteout",
       {},
       {rename("d/file", "d/moved", RENAME_WHITEOUT)},
       fsyncdir("d"),
       {{rename("d/file", "d/moved")}}},
      {"rename and whiteout of what was made",
       {create("d/new")},
       {rename("d/new", "h/moved", RENAME_WHITEOUT)},
       both(fsyncdir("h"), fsyncdir("d")),
       {{rename("d/new", "h/moved")}}},
      {"rename and whiteout over another",
       {write("h/c", "2ND")},
       {rename("d/file", "h/c", RENAME_WHITEOUT)},
       both(fsyncdir("h"), fsyncdir("d")),
       {{rename("d/file", "h/c", RENAME_EXCHANGE)}}},
      {"rename and whiteout of a directory where one was removed",
       {unlink("one/f"), rmdir("one")},
       {rename("far", "one", RENAME_WHITEOUT)},
       fsyncdir(""),
       {{rename("far", "one")}}},
      {"rename and whiteout of a directory over an emptied one",
       {unlink("one/f")},
       {rename("far", "one", RENAME_WHITEOUT)},
       fsyncdir(""),
       {{rename("far", "one", RENAME_EXCHANGE)}}},
      {"removexattr", {setxattr("d/file", "value")}, {removexattr("d/file")}, fsync("d/file")},
      {"chown of a file", {}, {chown("d/file", 1)}, fsync("d/file")},
      {"setxattr of a directory", {}, {setxattr("d", "value")}, fsyncdir("d")},
      {"mknod where a name was removed",
       {unlink("d/file")},
       {mknod("d/file", S_IFIFO | 0644)},
       fsyncdir("d")},
  };
}

}  // namespace

std::vector<Operation> all_operations() {
  auto all = operations_on_new_objects();
  for (const auto& more : {operations_on_files(), operations_on_names()}) {
    all.insert(all.end(), more.begin(), more.end());
  }
  return all;
}

void make_operations_image(const std::filesystem::path& directory) {
  ImageBuilder image(directory);
  image.add_gzip_layer(TarBuilder()
                           .directory("d")
                           .file("d/file", old_bytes())
                           .file("d/other", "other")
                           .symlink("d/link", "/usr/lib/target-of-the-image")
                           .directory("d/empty")
                           .directory("h")
                           .file("h/a", old_bytes())
                           .hard_link("h/b", "h/a")
                           .hard_link("d/c", "h/a")
                           .file("h/c", "another")
                           .directory("one")
                           .file("one/f", "alone")
                           .directory("far")
                           .directory("far/down")
                           .directory("far/down/and")
                           .file("far/down/and/file", old_bytes())
                           .finish());
  image.write();
}

Result<OpenUpper> OpenUpper::open(const Options& options, const std::filesystem::path& upper) {
  OpenUpper open;
  vfs::ImageSourceOptions source;
  source.index_dir = options.index;
  source.show_progress = false;
  LB_ASSIGN(open.source, vfs::open_image_source("oci:" + options.image.string(), source));
  vfs::UpperOptions how;
  how.directory = upper;
  how.quota_bytes = kQuotaBytes;
  how.host_floor_bytes = 0;
  how.record_owners = options.recorded;
  LB_ASSIGN(open.fs, vfs::make_writable_fs(*open.source, how));
  open.driver = std::make_unique<FsDriver>(*open.fs);
  return open;
}

int OpenUpper::sync_all() { return syncfs()(*driver); }

std::string OpenUpper::stop() {
  driver.reset();
  const auto stopped = fs->stop();
  fs.reset();
  return stopped ? std::string() : stopped.error().describe();
}

std::string OpenUpper::miscounted(const std::filesystem::path& upper) {
  static_cast<void>(fs->getattr(vfs::kRootId));
  const auto booked = fs->statfs();
  if (!booked) return booked.error().describe();
  const std::uint64_t bytes = kQuotaBytes - booked->blocks_free * booked->block_size_bytes;
  const HostUsage there = host_usage(upper);
  return bytes == there.bytes ? std::string()
                              : str_cat("booked ", bytes, " bytes, there are ", there.bytes, "\n");
}

std::string do_all(OpenUpper& open, const std::vector<Act>& acts) {
  for (const auto& act : acts) {
    if (const int code = act(*open.driver); code != 0) return str_cat("error ", code);
  }
  return {};
}

std::string OpenUpper::look() {
  std::string text;
  for (const auto& [path, line] : driver->snapshot()) text += str_cat(path, " ", line, "\n");
  return text;
}

std::string difference(const std::string& expected, const std::string& seen) {
  constexpr std::size_t kShownBytes = 200;
  const auto lines = [](const std::string& text) {
    std::set<std::string> set;
    std::istringstream rest(text);
    for (std::string line; std::getline(rest, line);) {
      std::ranges::replace(line, '\0', '@');
      set.insert(line.substr(0, kShownBytes));
    }
    return set;
  };
  const auto wanted = lines(expected);
  const auto there = lines(seen);
  std::string text;
  for (const auto& line : wanted) {
    if (!there.contains(line)) text += str_cat("  - ", line, "\n");
  }
  for (const auto& line : there) {
    if (!wanted.contains(line)) text += str_cat("  + ", line, "\n");
  }
  return text;
}

namespace {

std::vector<std::string> states_by(const std::vector<Act>& before, const std::vector<Act>& acts,
                                   const OpenUpper::Options& options, const std::filesystem::path& upper) {
  constexpr char kBetween = '\1';
  const auto states = run_apart([&] {
    auto open = OpenUpper::open(options, upper);
    if (!open) return open.error().describe();
    if (auto wrong = do_all(*open, before); !wrong.empty()) return str_cat("before: ", wrong);
    std::string text = open->look();
    for (const auto& act : acts) {
      if (const int code = act(*open->driver); code != 0) return str_cat("act: error ", code);
      text += kBetween;
      text += open->look();
    }
    return text;
  });
  std::vector<std::string> list;
  std::string_view rest = states ? std::string_view(*states) : std::string_view();
  while (!rest.empty()) {
    const auto end = rest.find(kBetween);
    list.emplace_back(rest.substr(0, end));
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  return list;
}

}  // namespace

std::vector<std::string> states_of(const Operation& operation, const OpenUpper::Options& options,
                                   const std::filesystem::path& upper) {
  return states_by(operation.before, operation.acts, options, upper);
}

std::vector<std::string> states_between(const Operation& operation, const OpenUpper::Options& options,
                                        const std::filesystem::path& upper) {
  std::vector<std::string> states;
  for (const auto& acts : operation.between) {
    const auto made = states_by(operation.before, acts, options, str_cat(upper.string(), "-", states.size()));
    states.push_back(made.empty() ? "" : made.back());
  }
  return states;
}

}  // namespace layerboot::test
