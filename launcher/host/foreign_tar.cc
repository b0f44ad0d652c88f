#include "launcher/host/foreign_tar.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "oci-mount/base/path_rules.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/store/tar_extensions.h"
#include "oci-mount/store/tar_header.h"

namespace layerboot::launcher {

namespace {

using store::TarExtensions;
using store::TarHeader;

constexpr std::size_t kChunkBytes = std::size_t{64} << 10;
/// A guest can have any number of things to complain of.
constexpr std::size_t kMaxTold = 20;

/// Where an entry of that name goes.
Result<std::string> place_of(std::string_view name) {
  std::vector<std::string_view> parts;
  for (std::string_view rest = name; !rest.empty();) {
    const std::string_view part = rest.substr(0, rest.find('/'));
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
    if (part == "..") return fail(EPERM, "leads out of what was asked for");
    if (!part.empty() && part != ".") parts.push_back(part);
  }
  std::string path = joined_path(parts);
  LB_TRY(check_path(path));
  return path;
}

class Unpacking {
 public:
  Unpacking(int fd, ForeignTree& tree, const ForeignTarWishes& wishes,
            const std::function<void(const std::string&)>& tell)
      : fd_(fd), tree_(tree), wishes_(wishes), tell_(tell) {}

  Result<bool> run() {
    for (;;) {
      std::array<std::byte, store::kTarBlockBytes> block{};
      LB_TRY(read_whole(block));
      if (store::is_zero_block(block)) break;
      LB_ASSIGN(TarHeader header, store::parse_tar_header(block));
      LB_TRY(TarExtensions::is_extension(header.type) ? take_extension(header) : take_member(header));
    }
    if (const auto finished = tree_.finish(); !finished) leave_out(finished.error().describe());
    // Whoever writes is not to be cut off.
    for (bool more = true; more;) {
      LB_ASSIGN(const std::size_t got, read_some(chunk_));
      more = got != 0;
    }
    if (told_ > kMaxTold) tell_(str_cat("and ", told_ - kMaxTold, " more"));
    if (!has_come_ && complete_) return fail(ENOENT, "what came has nothing of what was asked for");
    return complete_;
  }

 private:
  void say(const std::string& text) {
    if (++told_ <= kMaxTold) tell_(text);
  }
  void leave_out(const std::string& text) {
    complete_ = false;
    say(text);
  }
  void leave_out(const TarHeader& header, const Error& why) {
    leave_out(str_cat(printable(header.name), ": ", why.describe()));
  }

  Result<std::size_t> read_some(std::span<std::byte> into) const {
    for (;;) {
      const ssize_t got = ::read(fd_, into.data(), into.size());
      if (got >= 0) return static_cast<std::size_t>(got);
      if (errno != EINTR) return errno_error("the copy cannot be read");
    }
  }
  Result<void> read_whole(std::span<std::byte> into) const {
    while (!into.empty()) {
      LB_ASSIGN(const std::size_t got, read_some(into));
      if (got == 0) return fail(EBADMSG, "the copy was cut off");
      into = into.subspan(got);
    }
    return {};
  }
  Result<void> skip(std::uint64_t size_bytes) {
    while (size_bytes != 0) {
      const auto piece = static_cast<std::size_t>(std::min<std::uint64_t>(size_bytes, chunk_.size()));
      LB_TRY(read_whole(std::span(chunk_).first(piece)));
      size_bytes -= piece;
    }
    return {};
  }

  Result<void> take_extension(const TarHeader& header) {
    LB_ASSIGN(const std::uint64_t size_bytes, TarExtensions::text_bytes(header));
    std::string text(size_bytes, '\0');
    LB_TRY(read_whole(std::as_writable_bytes(std::span(text))));
    LB_TRY(extensions_.add(header.type, text));
    return skip(store::tar_padding(size_bytes));
  }

  Result<void> take_member(TarHeader& header) {
    const store::PaxRecords pax = extensions_.complete(header);
    // More headers than one may follow, which nothing here reads: what comes after would be taken for them.
    if (header.type == 'S' || pax.sparse)
      return fail(EBADMSG, "\"", printable(header.name), "\" is a sparse file, which no copy has");
    LB_ASSIGN(data_left_, store::tar_data_bytes(header));
    const std::size_t padding = store::tar_padding(data_left_);
    if (const auto path = wanted_path(header); !path) {
      leave_out(header, path.error());
    } else if (path->empty()) {
      has_come_ = true;  // the directory that all goes into
    } else {
      LB_TRY(make(*path, header));
    }
    LB_TRY(skip(data_left_));
    return skip(padding);
  }

  Result<std::string> wanted_path(const TarHeader& header) const {
    LB_ASSIGN(std::string path, place_of(header.name));
    if (wishes_.name == ".") {
      if (!path.empty() || header.type == '5') return path;
      return fail(EINVAL, "has no name");
    }
    if (std::string_view(path).substr(0, path.find('/')) == wishes_.name) return path;
    return fail(EPERM, "was not asked for");
  }

  /// An Error is one of the stream's. What can't be made is left out.
  Result<void> make(const std::string& path, const TarHeader& header) {
    switch (header.type) {
      case '\0':
      case '0':
      case '7':
        return make_file(path, header);
      case '5':
        note(header, tree_.add_directory(path, attributes_of(header)));
        return {};
      case '2':
        if (!is_valid_symlink_target(header.link)) {
          leave_out(header, {EINVAL, "is a symlink to nothing that could be"});
        } else {
          note(header, tree_.add_symlink(path, header.link, attributes_of(header)));
        }
        return {};
      case '3':
      case '4':
        say(str_cat(printable(header.name), ": a device is left out"));
        return {};
      case '6':
        say(str_cat(printable(header.name), ": a fifo is left out"));
        return {};
      case '1':
        leave_out(header, {EPERM, "is a hard link, which no copy has"});
        return {};
      default:
        leave_out(header, {EINVAL, "is of a kind that is not known"});
        return {};
    }
  }

  Result<void> make_file(const std::string& path, const TarHeader& header) {
    auto file = tree_.begin_file(path);
    if (!file) return note(header, std::unexpected(file.error())), Result<void>();
    while (data_left_ != 0) {
      const auto piece = static_cast<std::size_t>(std::min<std::uint64_t>(data_left_, chunk_.size()));
      const auto bytes = std::span(chunk_).first(piece);
      LB_TRY(read_whole(bytes));
      data_left_ -= piece;
      if (const auto put = file->append(bytes); !put) {
        note(header, put);
        return {};
      }
    }
    note(header, file->commit(attributes_of(header)));
    return {};
  }

  void note(const TarHeader& header, const Result<void>& made) {
    has_come_ = true;
    if (!made) leave_out(header, made.error());
  }

  ForeignAttributes attributes_of(const TarHeader& header) {
    ForeignAttributes attributes{.mode = static_cast<std::uint32_t>(header.mode),
                                 .owner = {},
                                 .mtime_sec = header.mtime_sec,
                                 .mtime_nsec = header.mtime_nsec};
    if (!wishes_.keep_owners) return attributes;
    // The last number is chown(2)'s word for no change.
    constexpr std::int64_t kNobody = std::numeric_limits<std::uint32_t>::max();
    const auto is_id = [](std::int64_t id) { return id >= 0 && id < kNobody; };
    if (is_id(header.uid) && is_id(header.gid)) {
      attributes.owner.emplace(static_cast<std::uint32_t>(header.uid),
                               static_cast<std::uint32_t>(header.gid));
    } else {
      leave_out(header, {EINVAL, "belongs to nobody that there could be, and so to you"});
    }
    return attributes;
  }

  int fd_;
  ForeignTree& tree_;
  const ForeignTarWishes& wishes_;
  const std::function<void(const std::string&)>& tell_;
  TarExtensions extensions_;
  std::uint64_t data_left_ = 0;  // of the member that is being made
  std::size_t told_ = 0;
  bool complete_ = true;
  bool has_come_ = false;
  std::array<std::byte, kChunkBytes> chunk_{};
};

}  // namespace

Result<bool> unpack_foreign_tar(int fd, ForeignTree& tree, const ForeignTarWishes& wishes,
                                const std::function<void(const std::string&)>& tell) {
  return Unpacking(fd, tree, wishes, tell).run();
}

}  // namespace layerboot::launcher
