#include "tests/process/crash_model.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>

#include "oci-mount/base/str_cat.h"
#include "tests/support/tar_builder.h"

namespace layerboot::test {

namespace {

using Kind = CrashModel::Kind;

constexpr std::size_t kMaxContentBytes = 128U << 10;
constexpr std::size_t kMaxPieceBytes = 40U << 10;
constexpr std::size_t kMaxNames = 40;
constexpr const char* kXattr = "user.test";

std::string below(const std::string& path) { return path + "/"; }

class Chooser {
 public:
  Chooser(const CrashModel& model, std::string top, std::mt19937& random)
      : model_(model), top_(std::move(top)), random_(random) {}

  std::size_t under(std::size_t bound) {
    return std::uniform_int_distribution<std::size_t>(0, bound - 1)(random_);
  }
  /// Empty if there is none.
  std::string any(Kind kind) {
    const auto all = model_.paths(kind);
    return all.empty() ? "" : all[under(all.size())];
  }
  std::string any_object() {
    const std::array kinds{Kind::kFile, Kind::kFile, Kind::kFile, Kind::kDirectory, Kind::kSymlink};
    return any(kinds[under(kinds.size())]);
  }
  /// In one of the directories that there are; sometimes a name that something had before.
  std::string free_name() {
    for (;;) {
      const std::string directory = under(2) == 0 ? "" : any(Kind::kDirectory);
      const std::string name = under(4) == 0 ? str_cat("f", under(8)) : str_cat("n", under(1000));
      const std::string path = directory.empty() ? name : below(directory) + name;
      if (!model_.has(path) && std::ranges::count(path, '/') < 4) return path;
    }
  }
  std::string bytes(std::size_t length) {
    std::string text(length, '\0');
    for (char& c : text) c = static_cast<char>('a' + random_() % 26);
    return text;
  }
  [[nodiscard]] std::string full(const std::string& path) const { return below(top_) + path; }
  [[nodiscard]] const CrashModel& model() const { return model_; }

 private:
  const CrashModel& model_;
  std::string top_;
  std::mt19937& random_;
};

CrashStep make_something(Chooser& choose) {
  const std::string path = choose.free_name();
  const std::string full = choose.full(path);
  const std::uint32_t mode = choose.under(2) == 0 ? 0644 : 0755;
  switch (choose.under(3)) {
    case 0:
      return {.text = "mkdir " + path,
              .expect = [=](CrashModel& model) { model.add(path, {Kind::kDirectory, mode, "", ""}); },
              .run = [=](Door& door) { return door.mkdir(full, mode); },
              .written = ""};
    case 1:
      return {
          .text = "symlink " + path,
          .expect = [=](CrashModel& model) { model.add(path, {Kind::kSymlink, 0777, "target " + path, ""}); },
          .run = [=](Door& door) { return door.symlink(full, "target " + path); },
          .written = ""};
    default:
      return {.text = "create " + path,
              .expect = [=](CrashModel& model) { model.add(path, {Kind::kFile, mode, "", ""}); },
              .run = [=](Door& door) { return door.create(full, mode, true); },
              .written = ""};
  }
}

CrashStep write_to(Chooser& choose, const std::string& path) {
  const std::uint64_t offset = choose.under(kMaxContentBytes - kMaxPieceBytes);
  const std::string piece = choose.bytes(1 + choose.under(kMaxPieceBytes));
  const std::string full = choose.full(path);
  return {.text = str_cat("write ", path, " ", offset, " ", piece.size()),
          .expect =
              [=](CrashModel& model) {
                auto& content = model.at(path).content;
                content.resize(std::max<std::size_t>(content.size(), offset + piece.size()));
                content.replace(offset, piece.size(), piece);
              },
          .run = [=](Door& door) { return door.write(full, offset, piece); },
          .written = path};
}

CrashStep change_file(Chooser& choose, const std::string& path) {
  const std::string full = choose.full(path);
  const std::uint64_t size = choose.under(kMaxContentBytes);
  switch (choose.under(8)) {
    case 0:
      return {.text = str_cat("truncate ", path, " ", size),
              .expect = [=](CrashModel& model) { model.at(path).content.resize(size); },
              .run = [=](Door& door) { return door.truncate(full, size); },
              .written = ""};
    case 1:
      return {.text = "chmod " + path,
              .expect = [=](CrashModel& model) { model.at(path).mode = 0600; },
              .run = [=](Door& door) { return door.chmod(full, 0600); },
              .written = ""};
    case 2:
      return {.text = "setxattr " + path,
              .expect = [=](CrashModel& model) { model.at(path).xattr = str_cat("v", size); },
              .run = [=](Door& door) { return door.setxattr(full, kXattr, str_cat("v", size)); },
              .written = ""};
    case 3:
      return {.text = "fsync " + path,
              .expect = [](CrashModel&) {},
              .run = [=](Door& door) { return door.fsync(full); },
              .written = ""};
    case 4:
      return {.text = str_cat("fallocate ", path, " ", size),
              .expect =
                  [=](CrashModel& model) {
                    auto& content = model.at(path).content;
                    content.resize(std::max<std::size_t>(content.size(), size + 1));
                  },
              .run = [=](Door& door) { return door.fallocate(full, 0, size + 1); },
              .written = ""};
    default:
      return write_to(choose, path);
  }
}

CrashStep remove_something(const std::string& path, const std::string& full, Kind kind) {
  return {.text = "remove " + path,
          .expect = [=](CrashModel& model) { model.erase(path); },
          .run = [=](Door& door) { return kind == Kind::kDirectory ? door.rmdir(full) : door.unlink(full); },
          .written = ""};
}

CrashStep rename_something(Chooser& choose, const std::string& path, Kind kind) {
  std::string to = choose.free_name();
  // Over something else, half of the time.
  if (kind != Kind::kDirectory && choose.under(2) == 0) to = choose.any(Kind::kFile);
  const bool into_itself = to.empty() || to == path || to.starts_with(below(path));
  if (into_itself) return make_something(choose);
  const std::string full = choose.full(path);
  const std::string full_to = choose.full(to);
  return {.text = str_cat("rename ", path, " ", to),
          .expect = [=](CrashModel& model) { model.rename(path, to); },
          .run = [=](Door& door) { return door.rename(full, full_to, 0); },
          .written = ""};
}

CrashStep link_something(Chooser& choose, const std::string& path) {
  const std::string to = choose.free_name();
  const std::string full = choose.full(path);
  const std::string full_to = choose.full(to);
  return {.text = str_cat("link ", path, " ", to),
          .expect = [=](CrashModel& model) { model.link(path, to); },
          .run = [=](Door& door) { return door.link(full, full_to); },
          .written = ""};
}

}  // namespace

CrashStep random_step(const CrashModel& model, const std::string& top, std::mt19937& random) {
  Chooser choose(model, top, random);
  const std::string path = choose.any_object();
  if (path.empty()) return make_something(choose);
  const Kind kind = model.find(path)->kind;
  const bool crowded = model.describe().size() > kMaxNames;
  const std::size_t what = crowded ? 9 : choose.under(10);
  if (what < 2) return make_something(choose);
  if (what < 6 && kind == Kind::kFile) return change_file(choose, path);
  if (what == 6 && kind == Kind::kFile) return link_something(choose, path);
  if (what < 9) return rename_something(choose, path, kind);
  if (kind == Kind::kDirectory && !model.is_empty_directory(path)) {
    const std::string file = choose.any(Kind::kFile);
    return file.empty() ? make_something(choose) : remove_something(file, choose.full(file), Kind::kFile);
  }
  return remove_something(path, choose.full(path), kind);
}

int CrashModel::add(const std::string& path, Object object) {
  objects_[next_] = std::move(object);
  names_[path] = next_;
  return next_++;
}

void CrashModel::rename(const std::string& path, const std::string& new_path) {
  if (names_.at(path) == (has(new_path) ? names_.at(new_path) : -1))
    return;  // two names of one file: nothing happens
  std::map<std::string, int> moved;
  for (const auto& [name, object] : names_) {
    if (name == new_path) continue;
    const bool below_it = name.starts_with(below(path));
    moved[name == path || below_it ? new_path + name.substr(path.size()) : name] = object;
  }
  names_ = std::move(moved);
}

bool CrashModel::is_empty_directory(const std::string& path) const {
  return std::ranges::none_of(names_,
                              [&](const auto& entry) { return entry.first.starts_with(below(path)); });
}

std::vector<std::string> CrashModel::paths(Kind kind) const {
  std::vector<std::string> found;
  for (const auto& [name, object] : names_) {
    if (objects_.at(object).kind == kind) found.push_back(name);
  }
  return found;
}

const CrashModel::Object* CrashModel::find(const std::string& path) const {
  const auto name = names_.find(path);
  return name == names_.end() ? nullptr : &objects_.at(name->second);
}

std::map<std::string, std::string> CrashModel::describe() const {
  std::map<int, std::string> first_name;
  std::map<std::string, std::string> lines;
  for (const auto& [name, number] : names_) {
    const Object& object = objects_.at(number);
    const std::string& first = first_name.try_emplace(number, name).first->second;
    lines[name] = str_cat(static_cast<int>(object.kind), " ", object.mode, " ", object.content.size(), " ",
                          std::hash<std::string>()(object.content), " ", object.xattr, " ", first);
  }
  return lines;
}

CrashModel CrashModel::with_content(const std::string& path, std::string content) const {
  CrashModel changed = *this;
  changed.at(path).content = std::move(content);
  return changed;
}

CrashModel CrashModel::read(Door& door, const std::string& top) {
  CrashModel model;
  std::map<std::uint64_t, std::string> first_names;
  std::vector<std::string> directories{""};
  while (!directories.empty()) {
    const std::string directory = directories.back();
    directories.pop_back();
    std::set<std::string> names;
    if (door.list(directory.empty() ? top : below(top) + directory, names) != 0) return {};
    for (const auto& name : names) {
      const std::string path = directory.empty() ? name : below(directory) + name;
      const std::string full = below(top) + path;
      Door::Stat stat;
      if (door.stat(full, stat) != 0) return {};
      const auto known = first_names.find(stat.ino);
      if (known != first_names.end() && !S_ISDIR(stat.mode)) {
        model.link(known->second, path);
        continue;
      }
      first_names[stat.ino] = path;
      Object object{.kind = Kind::kFile, .mode = stat.mode & 07777U, .content = "", .xattr = ""};
      if (S_ISDIR(stat.mode)) object.kind = Kind::kDirectory;
      if (S_ISLNK(stat.mode)) object.kind = Kind::kSymlink;
      if (S_ISDIR(stat.mode)) directories.push_back(path);
      if (S_ISLNK(stat.mode) && door.readlink(full, object.content) != 0) return {};
      if (S_ISREG(stat.mode)) {
        if (door.read(full, 0, 2 * kMaxContentBytes, object.content) != 0) return {};
        static_cast<void>(door.getxattr(full, kXattr, object.xattr));
      }
      model.add(path, std::move(object));
    }
  }
  return model;
}

}  // namespace layerboot::test
