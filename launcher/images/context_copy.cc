#include "launcher/images/context_copy.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <set>
#include <system_error>
#include <utility>

#include "guest-init/tar_header.h"
#include "launcher/host/file_xattrs.h"
#include "launcher/host/run_tool.h"
#include "launcher/images/context_sources.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;
using guest_init::TarEntry;
using guest_init::TarKind;

constexpr std::size_t kPieceBytes = std::size_t{256} << 10;
constexpr mode_t kPermissions = 07777;
constexpr std::size_t kMagicBytes = 512;
constexpr mode_t kModeOfDocuments = 0644;

std::string shown(const fs::path& path) { return printable(path.string()); }

/// By what is at its beginning: what Docker's ADD unpacks.
bool is_archive(std::span<const std::byte> begin) {
  const std::string_view text = as_text(begin);
  return text.starts_with("\x1f\x8b") || text.starts_with("BZh") || text.starts_with("\x28\xb5\x2f\xfd") ||
         text.starts_with(
             "\xfd"
             "7zXZ") ||
         (text.size() > 262 && text.substr(257, 5) == "ustar");
}

/// Those that make the file what it is wherever it lies: capabilities, ACLs, what programs have noted.
bool is_copied(std::string_view attribute) {
  return attribute == "security.capability" || attribute.starts_with("user.") ||
         attribute.starts_with("system.posix_acl_");
}

class ContextTar {
 public:
  ContextTar(const ContextCopy& copy, bool with_times, const PutTar& put)
      : copy_(copy), with_times_(with_times), put_(put), now_(with_times ? ::time(nullptr) : 0) {}

  /// Nothing is written then, and no file is read: what no layer will have is noted.
  void note_left_out(LeftOut& left_out) { left_out_ = &left_out; }

  Result<void> write() {
    const CopyAction& action = copy_.action;
    LB_ASSIGN(const auto sources, sources_in(copy_.context, action.sources));
    if (sources.size() + action.documents.size() > 1 && !action.into_directory)
      return fail(EINVAL, "several files need a directory for a target, which ends with a /");
    for (const auto& [name, real, relative] : sources) {
      std::error_code error;
      if (fs::is_directory(real, error)) {
        LB_TRY(add_directories(action.target));
        LB_TRY(add_below(real, relative, action.target));
      } else {
        const std::string target = action.into_directory ? joined(action.target, name) : action.target;
        LB_TRY(add_directories(fs::path(target).parent_path()));
        if (action.refuses_archives && fs::is_regular_file(real, error)) LB_TRY(refuse_archive(real));
        if (!action.into_directory) name_within_ = name;
        LB_TRY(add(real, relative, target));
      }
    }
    for (const CopiedDocument& document : action.documents) LB_TRY(add_document(document));
    return {};
  }
  /// Those on the way to `path`, and it; each once.
  Result<void> add_directories(const fs::path& path) {
    fs::path whole;
    for (const fs::path& part : path.relative_path()) {
      whole /= part;
      if (part.empty() || !directories_.insert(whole.string()).second) continue;
      TarEntry entry;
      entry.kind = TarKind::kDirectory;
      entry.name = whole.string();
      entry.mode = 0755;
      entry.uid = copy_.action.uid;
      entry.gid = copy_.action.gid;
      entry.mtime = now_;
      LB_TRY(header(entry));
    }
    return {};
  }
  Result<void> add_text(TarEntry& entry, const std::string& text) {
    set_file(entry, text.size());
    return add_data(entry, text);
  }
  /// Two blocks of zeros.
  Result<void> finish() { return put_(std::vector<std::byte>(2 * guest_init::kTarBlock)); }

 private:
  Result<void> add_data(TarEntry& entry, const std::string& data) {
    entry.size_bytes = data.size();
    LB_TRY(header(entry));
    LB_TRY(put_(as_bytes(data)));
    return put_(std::vector<std::byte>(guest_init::tar_padding(data.size())));
  }
  static std::string joined(const std::string& directory, const std::string& name) {
    return (fs::path(directory) / name).string();
  }
  Result<void> header(const TarEntry& entry) {
    return left_out_ != nullptr ? Result<void>() : put_(as_bytes(guest_init::encode_tar_entry(entry)));
  }
  void note(const std::string& path) const {
    if (left_out_->paths.size() < kMaxLeftOut) {
      left_out_->paths.push_back(path);
    } else {
      ++left_out_->more;
    }
  }

  /// Whether no layer will have it. A file's target may turn out to be a directory in the guest.
  bool is_noted(const std::string& target) const {
    const std::string within = name_within_.empty() ? target : joined(target, name_within_);
    if (!is_in_no_layer(target) && !is_in_no_layer(within)) return false;
    note(is_in_no_layer(target) ? target : within);
    return true;
  }

  Result<void> add_document(const CopiedDocument& document) {
    const CopyAction& action = copy_.action;
    const std::string target = action.into_directory ? joined(action.target, document.name) : action.target;
    LB_TRY(add_directories(fs::path(target).parent_path()));
    if (!action.into_directory) name_within_ = document.name;
    if (left_out_ != nullptr) {
      is_noted(target);
      return {};
    }
    TarEntry entry;
    entry.name = target.substr(1);
    entry.mode = action.mode.value_or(kModeOfDocuments);
    entry.uid = action.uid;
    entry.gid = action.gid;
    entry.mtime = now_;
    return add_text(entry, document.text);
  }

  /// Of a source itself: what a directory holds is not unpacked.
  static Result<void> refuse_archive(const fs::path& path) {
    LB_ASSIGN(const UniqueFd file, open_path(path, O_RDONLY | O_NOFOLLOW));
    std::array<std::byte, kMagicBytes> begin;
    const ssize_t got = ::pread(file.get(), begin.data(), begin.size(), 0);
    if (got > 0 && is_archive(std::span(begin).first(static_cast<std::size_t>(got))))
      return fail(ENOTSUP, shown(path), " is an archive, which ADD would unpack: COPY it, and RUN tar");
    return {};
  }

  /// `relative`: `directory` as the context's ignore file names it.
  Result<void> add_below(const fs::path& directory, const fs::path& relative, const std::string& target) {
    const ContextIgnore& ignore = copy_.context.ignore;
    std::error_code error;
    for (const std::string& name : names_in(directory, error)) {
      const fs::path path = directory / name;
      if (!ignore.leaves_out(relative / name)) {
        LB_TRY(add(path, relative / name, joined(target, name)));
      } else if (std::error_code none;
                 ignore.takes_back() && fs::is_directory(fs::symlink_status(path, none))) {
        LB_TRY(add_below(path, relative / name, joined(target, name)));
      }
    }
    if (error) return fail(error.value(), shown(directory));
    return {};
  }

  Result<void> add(const fs::path& path, const fs::path& relative, const std::string& target) {
    struct stat st{};
    if (::lstat(path.c_str(), &st) != 0) return errno_error(shown(path));
    if (left_out_ != nullptr) {
      LB_TRY(InterruptScope::check());
      if (is_noted(target) || !S_ISDIR(st.st_mode)) return {};
    }
    // Those that are left out themselves.
    if (copy_.context.ignore.takes_back()) LB_TRY(add_directories(fs::path(target).parent_path()));
    const CopyAction& action = copy_.action;
    TarEntry entry;
    entry.name = target.substr(1);
    entry.mode = action.mode.value_or(st.st_mode & kPermissions);
    entry.uid = action.uid;
    entry.gid = action.gid;
    entry.mtime = with_times_ ? st.st_mtim.tv_sec : 0;
    if (copy_.context.is_root && !S_ISLNK(st.st_mode)) LB_TRY(add_attributes(path));
    if (S_ISREG(st.st_mode)) return add_file(path, entry);
    if (S_ISDIR(st.st_mode)) {
      entry.kind = TarKind::kSetDirectory;
      directories_.insert(entry.name);
      LB_TRY(header(entry));
      return add_below(path, relative, target);
    }
    if (!S_ISLNK(st.st_mode))
      return fail(ENOTSUP, shown(path), " is neither a file nor a directory nor a symlink");
    std::error_code error;
    entry.kind = TarKind::kSymlink;
    entry.target = fs::read_symlink(path, error).string();
    if (error) return fail(error.value(), shown(path));
    return header(entry);
  }

  /// Of an image's file. One of a context has this host's: labels, and what a person's programs note there.
  Result<void> add_attributes(const fs::path& path) {
    if (left_out_ != nullptr) return {};
    auto attributes = read_xattrs(path);
    if (!attributes) return while_doing(attributes.error(), shown(path));
    std::ranges::sort(*attributes);
    for (const auto& [name, value] : *attributes) {
      if (!is_copied(name)) continue;
      TarEntry attribute;
      attribute.kind = TarKind::kAttribute;
      attribute.name = name;
      LB_TRY(add_data(attribute, value));
    }
    return {};
  }

  void set_file(TarEntry& entry, std::uint64_t size_bytes) const {
    entry.kind = name_within_.empty() ? TarKind::kFile : TarKind::kFileOrInto;
    entry.target = name_within_;
    entry.size_bytes = size_bytes;
  }

  Result<void> add_file(const fs::path& path, TarEntry& entry) {
    LB_ASSIGN(const UniqueFd file, open_path(path, O_RDONLY | O_NOFOLLOW));
    struct stat st{};
    if (::fstat(file.get(), &st) != 0) return errno_error(shown(path));
    set_file(entry, static_cast<std::uint64_t>(st.st_size));
    std::vector<std::byte> piece(kPieceBytes);
    LB_TRY(header(entry));
    for (std::uint64_t left = entry.size_bytes; left > 0;) {
      const ssize_t got = ::read(file.get(), piece.data(), std::min<std::uint64_t>(left, piece.size()));
      if (got < 0) return errno_error(shown(path));
      if (got == 0) return fail(EIO, shown(path), " became shorter while it was read");
      LB_TRY(put_(std::span(piece).first(static_cast<std::size_t>(got))));
      left -= static_cast<std::uint64_t>(got);
    }
    return put_(std::vector<std::byte>(guest_init::tar_padding(entry.size_bytes)));
  }

  const ContextCopy& copy_;
  bool with_times_;
  const PutTar& put_;
  std::int64_t now_;  // of directories on the way
  LeftOut* left_out_ = nullptr;
  std::string name_within_;  // of the one file, where its target may be a directory
  std::set<std::string> directories_;
};

Result<void> write_tar(const ContextCopy& copy, bool with_times, const PutTar& put) {
  ContextTar tar(copy, with_times, put);
  LB_TRY(tar.write());
  return tar.finish();
}

}  // namespace

Result<void> write_context_tar(const ContextCopy& copy, const PutTar& put) {
  return write_tar(copy, true, put);
}

Result<void> write_directory_tar(const std::string& directory, std::uint32_t uid, std::uint32_t gid,
                                 const PutTar& put) {
  const BuildContext nowhere;
  ContextCopy nothing{.context = nowhere, .action = {}};
  nothing.action.uid = uid;
  nothing.action.gid = gid;
  ContextTar tar(nothing, true, put);
  LB_TRY(tar.add_directories(directory));
  return tar.finish();
}

Result<void> write_script_tar(const std::string& path, const std::string& text, const PutTar& put) {
  constexpr mode_t kModeOfTmp = 01777;
  constexpr mode_t kModeOfScript = 0755;
  const BuildContext nowhere;
  const ContextCopy nothing{.context = nowhere, .action = {}};
  TarEntry directory;
  directory.kind = TarKind::kDirectory;
  directory.name = fs::path(path).parent_path().relative_path().string();
  directory.mode = kModeOfTmp;
  LB_TRY(put(as_bytes(guest_init::encode_tar_entry(directory))));
  ContextTar tar(nothing, true, put);
  TarEntry script;
  script.name = path.substr(1);
  script.mode = kModeOfScript;
  LB_TRY(tar.add_text(script, text));
  return tar.finish();
}

Result<store::Digest> digest_of_copy(const ContextCopy& copy) {
  LB_ASSIGN(auto hasher, store::Hasher::create(store::HashAlgorithm::kSha256));
  // Every file has a header, and so comes here; a context may be large.
  LB_TRY(write_tar(copy, false, [&hasher](std::span<const std::byte> bytes) {
    hasher.update(bytes);
    return InterruptScope::check();
  }));
  return hasher.finish();
}

Result<LeftOut> left_out_of_layers(const ContextCopy& copy) {
  LeftOut left_out;
  const std::string& target = copy.action.target;
  if (is_in_no_layer(target) || is_in_no_layer(target + '/')) return left_out;
  const PutTar nowhere;
  ContextTar tar(copy, false, nowhere);
  tar.note_left_out(left_out);
  LB_TRY(tar.write());
  return left_out;
}

}  // namespace layerboot::launcher
