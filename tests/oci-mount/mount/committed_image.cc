#include "tests/oci-mount/mount/committed_image.h"

#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <sstream>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/device_number.h"
#include "oci-mount/mount/upper_walk.h"
#include "oci-mount/store/tar_header.h"

namespace layerboot::test {

namespace {

namespace fs = std::filesystem;

std::string exact_line(const View& view) {
  std::ostringstream line;
  line << std::oct << view.mode << std::dec << " " << view.uid << ":" << view.gid << " mtime "
       << view.mtime.sec << "." << view.mtime.nsec;
  if (!S_ISDIR(view.mode)) line << " nlink " << view.nlink << " size " << view.size_bytes;
  if (S_ISCHR(view.mode) || S_ISBLK(view.mode)) line << " rdev " << view.rdev;
  if (S_ISREG(view.mode) || S_ISLNK(view.mode)) line << " content " << std::hash<std::string>{}(view.content);
  for (const auto& [name, value] : view.xattrs) {
    line << "\n  " << name << "=" << std::hex;
    for (const char c : value) line << static_cast<unsigned>(static_cast<unsigned char>(c)) << ".";
    line << std::dec;
  }
  return line.str();
}

View view_of(const std::string& path) {
  struct stat st{};
  EXPECT_EQ(::lstat(path.c_str(), &st), 0) << path;
  View view;
  view.mode = st.st_mode;
  view.uid = st.st_uid;
  view.gid = st.st_gid;
  view.nlink = static_cast<std::uint32_t>(st.st_nlink);
  view.rdev = encode_dev(st.st_rdev);
  view.size_bytes = static_cast<std::uint64_t>(st.st_size);
  view.mtime = {st.st_mtim.tv_sec, static_cast<std::uint32_t>(st.st_mtim.tv_nsec)};
  if (S_ISREG(st.st_mode)) view.content = read_text(path);
  if (S_ISLNK(st.st_mode)) view.content = fs::read_symlink(path).string();
  std::string names(65536, '\0');
  const ssize_t length = ::llistxattr(path.c_str(), names.data(), names.size());
  std::istringstream rest(names.substr(0, static_cast<std::size_t>(std::max<ssize_t>(length, 0))));
  for (std::string name; std::getline(rest, name, '\0');) {
    std::string value(65536, '\0');
    const ssize_t got = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
    value.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    view.xattrs.emplace_back(name, value);
  }
  std::ranges::sort(view.xattrs);
  return view;
}

void add_below(OurSide& side, const std::string& path, ExactTree& tree) {
  const auto view = side.view({.path = path});
  ASSERT_TRUE(view) << path << ": " << view.error().describe();
  if (S_ISSOCK(view->mode)) return;
  tree[path] = exact_line(*view);
  if (!S_ISDIR(view->mode)) return;
  for (const auto& name : side.names_in(path)) add_below(side, path + "/" + name, tree);
}

}  // namespace

ExactTree exact_tree(vfs::FileSystem& fs) {
  ExactTree tree;
  OurSide side(fs, OurSide::Client::kCold);
  add_below(side, "", tree);
  return tree;
}

ExactTree exact_tree(const std::string& directory) {
  ExactTree tree;
  tree[""] = exact_line(view_of(directory));
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    const std::string path = entry.path().string();
    // overlayfs lists a whiteout where no lower directory has anything, and has nothing of that name.
    if (!fs::exists(fs::symlink_status(entry.path()))) continue;
    tree[path.substr(directory.size())] = exact_line(view_of(path));
  }
  return tree;
}

namespace {

template <typename Drops>
ExactTree without_xattrs_that(ExactTree tree, Drops drops) {
  for (auto& [path, line] : tree) {
    std::istringstream rest(line);
    std::string kept;
    for (std::string part; std::getline(rest, part);) {
      const bool is_xattr = part.starts_with("  ");
      if (!is_xattr || (!drops(part) && !part.ends_with('=')))
        kept += str_cat(kept.empty() ? "" : "\n", part);
    }
    line = kept;
  }
  return tree;
}

}  // namespace

ExactTree without_empty_xattrs(ExactTree tree) {
  return without_xattrs_that(std::move(tree), [](const std::string&) { return false; });
}

ExactTree without_xattrs(ExactTree tree, std::string_view prefix) {
  return without_xattrs_that(std::move(tree), [start = str_cat("  ", prefix)](const std::string& line) {
    return line.starts_with(start);
  });
}

std::string difference_of(const ExactTree& expected, const ExactTree& seen) {
  constexpr int kMostLines = 12;
  std::string text;
  int lines = 0;
  const auto tell = [&](const std::string& path, const std::string& line, const char* what) {
    if (++lines <= kMostLines) text += str_cat(what, " ", path.substr(0, 80), ": ", line, "\n");
  };
  for (const auto& [path, line] : expected) {
    const auto found = seen.find(path);
    if (found == seen.end()) {
      tell(path, line, "missing");
    } else if (found->second != line) {
      tell(path, line, "expected");
      tell(path, found->second, "    seen");
    }
  }
  for (const auto& [path, line] : seen) {
    if (!expected.contains(path)) tell(path, line, "too much");
  }
  return text;
}

namespace {

struct MadeLayer {
  std::string blob;
  mount::WrittenLayer written;
};

Result<MadeLayer> make_layer(ImageFixture& fixture, const mount::LayerOptions& options,
                             store::Compression compression) {
  LB_ASSIGN(const auto upper, mount::see_upper(fixture.upper, fixture.source->image.chain_id.text()));
  LB_ASSIGN(const auto reactor, Reactor::create());
  const overlay::Lower lower{*fixture.source->tree, fixture.source->reader};
  MadeLayer made;
  LB_ASSIGN(made.written, mount::write_compressed_layer(lower, *reactor, upper, options, compression,
                                                        [&made](std::span<const std::byte> bytes) {
                                                          made.blob += as_text(bytes);
                                                          return Result<void>();
                                                        }));
  return made;
}

}  // namespace

Result<std::string> layer_of(ImageFixture& fixture, const mount::LayerOptions& options,
                             store::Compression compression) {
  LB_ASSIGN(MadeLayer made, make_layer(fixture, options, compression));
  return std::move(made.blob);
}

Result<std::string> commit_into_layout(ImageFixture& fixture, const std::vector<std::string>& tars,
                                       const mount::LayerOptions& options, store::Compression compression) {
  LB_ASSIGN(MadeLayer made, make_layer(fixture, options, compression));
  const std::string layout = (fixture.directory / "committed").string();
  ImageBuilder builder(layout);
  if (!options.squash) {
    for (const auto& tar : tars) builder.add_gzip_layer(tar);
  }
  builder.add_layer({made.written.media_type(), std::move(made.blob), made.written.diff_id.text()});
  builder.write();
  return layout;
}

std::vector<std::string> members_of(std::string_view tar) {
  std::vector<std::string> members;
  store::PaxRecords pax;
  const auto bytes = as_bytes(tar);
  for (std::size_t at = 0; at + store::kTarBlockBytes <= bytes.size();) {
    const store::TarBlock block = bytes.subspan(at).first<store::kTarBlockBytes>();
    if (store::is_zero_block(block)) break;
    auto header = store::parse_tar_header(block);
    if (!header) return {"error: " + header.error().describe()};
    const std::size_t header_at = at;
    if (header->type != 'x') store::apply_pax(*header, pax);
    const auto size = static_cast<std::size_t>(header->size_bytes);
    at += store::kTarBlockBytes + size + store::tar_padding(size);
    if (header->type == 'x') {
      auto parsed = store::parse_pax_records(tar.substr(header_at + store::kTarBlockBytes, size));
      if (!parsed) return {"error: " + parsed.error().describe()};
      pax = std::move(*parsed);
      continue;
    }
    pax = {};
    members.push_back(str_cat(std::string(1, header->type), " ", header->name,
                              header->link.empty() ? "" : " -> ", header->link));
  }
  return members;
}

}  // namespace layerboot::test
