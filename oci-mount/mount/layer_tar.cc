#include "oci-mount/mount/layer_tar.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>
#include <vector>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/device_number.h"
#include "oci-mount/base/identity_names.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/path_rules.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/layer/limits.h"
#include "oci-mount/layer/whiteout_names.h"
#include "oci-mount/overlay/acl.h"
#include "oci-mount/overlay/body.h"
#include "oci-mount/overlay/lower_metadata.h"
#include "oci-mount/overlay/redirects.h"
#include "oci-mount/store/pax_header.h"
#include "oci-mount/store/tar_header.h"

namespace layerboot::mount {

namespace {

using tree::NodeId;

using layer::kOpaqueName;
using layer::kWhiteoutPrefix;

/// What of the upper counts.
class LayerVisitor : public UpperVisitor {
 public:
  explicit LayerVisitor(const LayerOptions& options) : options_(options) {}

  [[nodiscard]] bool leaves_out(std::string_view path) const override {
    if (last_component(path).starts_with(kWhiteoutPrefix)) return true;
    return !options_.keep_identity &&
           (belongs_to_one_machine(path) || options_.not_the_images.contains(path));
  }
  /// A key of the image's that is gone is to be gone; a file that the VM had from elsewhere says nothing of
  /// the image's.
  [[nodiscard]] bool leaves_out_removal(std::string_view path) const override {
    return !options_.keep_identity && options_.not_the_images.contains(path);
  }
  [[nodiscard]] bool drops(std::string_view path) const override {
    return options_.drop_identity && belongs_to_one_machine(path);
  }
  [[nodiscard]] bool knows_what_is_hidden() const override { return true; }

 protected:
  const LayerOptions& options_;
};

/// Files of the image that have got another place, or are in a directory that has, and have several names:
/// their other names have to be in the layer, too, as a layer is unpacked by itself.
class MovedLinks final : public LayerVisitor {
 public:
  MovedLinks(const tree::Tree& tree, const LayerOptions& options) : LayerVisitor(options), tree_(tree) {}

  Result<void> take_removed(std::string_view) override { return {}; }
  Result<void> take(const Found& found) override {
    if (!found.in_upper && !tree_.links(found.row).empty()) names_[found.row].emplace(found.path);
    return {};
  }

  /// The other names where the image has them, with all directories on the way. They may be gone.
  [[nodiscard]] std::set<std::string, std::less<>> others() const {
    std::set<std::string, std::less<>> paths;
    for (const auto& [row, told] : names_) {
      for (const tree::LinkRecord& link : tree_.links(row)) {
        const std::string directory = tree_.path(link.parent);
        std::string path = str_cat(directory == "/" ? "" : directory, "/", tree_.name(link));
        if (told.contains(path)) continue;
        for (; !path.empty(); path.resize(path.rfind('/'))) paths.insert(path);
      }
    }
    return paths;
  }

 private:
  const tree::Tree& tree_;
  std::map<NodeId, std::set<std::string>> names_;
};

class LayerWriter final : public LayerVisitor {
 public:
  LayerWriter(const overlay::Lower& lower, Reactor& reactor, const LayerOptions& options, const PutBytes& put,
              std::set<std::string, std::less<>> wanted)
      : LayerVisitor(options),
        lower_(lower),
        tree_(lower.tree),
        paths_(lower.tree, memory_),
        reactor_(reactor),
        wanted_(std::move(wanted)),
        output_(put) {}

  [[nodiscard]] bool wants(std::string_view path) const override { return wanted_.contains(path); }
  [[nodiscard]] bool leaves_out(std::string_view path) const override {
    const bool left_out = LayerVisitor::leaves_out(path);
    if (left_out && last_component(path).starts_with(kWhiteoutPrefix)) {
      log_warn(printable(path), ": a name that begins with ", kWhiteoutPrefix,
               " means another thing in a layer, and is left out");
    }
    return left_out;
  }

  Result<void> take_removed(std::string_view path) override {
    const auto slash = path.rfind('/') + 1;
    return put_mark(str_cat(path.substr(0, slash), kWhiteoutPrefix, path.substr(slash)));
  }

  Result<void> take(const Found& found) override {
    auto taken = add(found);
    if (!taken) return while_doing(taken.error(), printable(found.path));
    return {};
  }

  Result<void> finish() {
    if (devices_zero_ != 0) {
      log_warn(devices_zero_,
               " character devices 0:0 are devices to a VM alone, and whiteouts to a container; ",
               "the first is ", printable(first_device_zero_));
    }
    LB_TRY(output_.put_zeros(store::kTarEndBytes));
    return output_.flush();
  }

 private:
  using Xattrs = XattrList;

  /// An empty file whose name says something.
  Result<void> put_mark(std::string_view path) {
    LB_TRY(count_entry());
    store::PaxMember member;
    member.name = path.substr(1);
    member.mode = S_IFREG;
    return output_.put(as_bytes(store::pax_header(member)));
  }

  Result<void> count_entry() {
    if (entries_++ < options_.max_entries) return {};
    return fail(E2BIG, "the layer would have more than the ", options_.max_entries,
                " entries that one may have: remove files in the VM first");
  }

  /// What no reader would take.
  static Result<void> check_name(std::string_view path, std::string_view name) {
    if (name.size() > kMaxPathBytes)
      return fail(ENAMETOOLONG, "is over the limit of ", kMaxPathBytes, " bytes for a path in a layer");
    if (static_cast<std::size_t>(std::ranges::count(path, '/')) > kMaxPathDepth) {
      return fail(ENAMETOOLONG, "is deeper than the ", kMaxPathDepth,
                  " directories that a path in a layer may have: move or remove it in the VM first");
    }
    return {};
  }

  Result<void> add(const Found& found) {
    LB_ASSIGN(const overlay::Nature nature, nature_of(found));
    if (S_ISSOCK(nature.mode)) {
      log_warn(printable(found.path), ": a socket, which a layer can't hold, is left out");
      return found.base == tree::kNoNode ? Result<void>() : take_removed(found.path);
    }
    LB_ASSIGN(const bool is_foreign, is_of_another_layer(found, nature));
    if (is_foreign) {
      log_warn(printable(found.path),
               ": only its attributes are the VM's, and the image has no such file: left out");
      return {};
    }
    // Relative, and a directory with a '/' behind it; the top is "./".
    std::string name(found.path.substr(1));
    if (name.empty()) name = ".";
    if (S_ISDIR(nature.mode)) name += '/';
    LB_TRY(check_name(found.path, name));
    LB_TRY(count_entry());

    store::PaxMember member;
    member.name = name;
    member.mode = nature.mode;
    member.uid = nature.uid;
    member.gid = nature.gid;
    set_time(found, member);
    if (S_ISCHR(nature.mode) || S_ISBLK(nature.mode)) {
      member.device_major = major_of(nature.rdev);
      member.device_minor = minor_of(nature.rdev);
    }
    const bool inherits_acl = enter_directory_of(found.path);
    // Of a further name too: who links it changes the owner then, and so loses a capability.
    LB_ASSIGN(Xattrs xattrs, xattrs_of(found));
    if (S_ISDIR(nature.mode))
      directories_.push_back({std::string(found.path), find(xattrs, overlay::kDefaultAclXattr)});
    if (inherits_acl && !S_ISLNK(nature.mode)) disinherit(nature.mode, xattrs);
    for (const auto& [key, value] : xattrs) member.xattrs.emplace_back(key, value);
    std::string link;
    if (const std::string* first = first_name(found, name)) {
      member.hard_link = true;
      member.link = *first;
    } else if (S_ISLNK(nature.mode)) {
      LB_ASSIGN(link, target_of(found));
      if (link.empty()) return fail(EINVAL, "is a symlink to nothing, which a layer can't hold");
      member.link = link;
    }
    if (overlay::looks_like_whiteout(nature.mode, nature.rdev)) {
      if (devices_zero_++ == 0) first_device_zero_ = found.path;
      if (!member.hard_link) member.xattrs.emplace_back(layer::kDeviceZeroXattr, layer::kDeviceZeroValue);
      // Containers' programs take it for a whiteout or for nothing: what the image has there is gone for all.
      if (found.base != tree::kNoNode) LB_TRY(take_removed(found.path));
    }
    if (S_ISREG(nature.mode) && !member.hard_link) return put_file(found, member);
    LB_TRY(output_.put(as_bytes(store::pax_header(member))));
    if (!found.hides_base) return {};
    return put_mark(str_cat(found.path, "/", kOpaqueName));
  }

  /// A metacopy, as a guest's overlayfs makes it, of a file that the VM had on top of its image.
  Result<bool> is_of_another_layer(const Found& found, const overlay::Nature& nature) {
    if (!found.in_upper || !S_ISREG(nature.mode) || !options_.not_the_images.contains(found.path))
      return false;
    const overlay::MergedName merged{lower_, paths_, found.directory, found.name};
    LB_ASSIGN(const overlay::DataSource source, found.in_upper->data_source(merged));
    return source.where == overlay::DataSource::Where::kLost;
  }

  static bool find(const Xattrs& xattrs, std::string_view name) {
    return std::ranges::find(xattrs, name, &Xattrs::value_type::first) != xattrs.end();
  }
  /// Whether the directory that `path` is in has a default ACL: who unpacks the layer makes the object with
  /// what that says, unless it is told otherwise.
  bool enter_directory_of(std::string_view path) {
    const auto holds = [&](std::string_view directory) {
      return directory == "/" ||
             (path.starts_with(directory) && path.substr(directory.size()).starts_with('/'));
    };
    while (!directories_.empty() && !holds(directories_.back().path)) directories_.pop_back();
    return !directories_.empty() && directories_.back().has_default_acl;
  }
  static void disinherit(std::uint32_t mode, Xattrs& xattrs) {
    if (!find(xattrs, overlay::kAccessAclXattr))
      xattrs.emplace_back(overlay::kAccessAclXattr, overlay::Acl::of_mode(mode).text());
    if (S_ISDIR(mode) && !find(xattrs, overlay::kDefaultAclXattr))
      xattrs.emplace_back(overlay::kDefaultAclXattr, overlay::kNoAcl);
    std::ranges::sort(xattrs);
  }

  Result<overlay::Nature> nature_of(const Found& found) const {
    if (!found.in_upper) return overlay::nature_of(tree_.node(found.row));
    return found.in_upper->nature();
  }

  void set_time(const Found& found, store::PaxMember& member) const {
    if (found.in_upper != nullptr) {
      member.mtime_sec = found.in_upper->st().st_mtim.tv_sec;
      member.mtime_nsec = static_cast<std::uint32_t>(found.in_upper->st().st_mtim.tv_nsec);
    } else {
      member.mtime_sec = tree_.node(found.row).mtime_sec;
      member.mtime_nsec = tree_.node(found.row).mtime_nsec;
    }
    if (!options_.newest_mtime_sec || member.mtime_sec < *options_.newest_mtime_sec) return;
    member.mtime_sec = *options_.newest_mtime_sec;
    member.mtime_nsec = 0;
  }

  Result<Xattrs> xattrs_of(const Found& found) const {
    Xattrs xattrs;
    if (!found.in_upper) {
      for (const tree::XattrRecord& xattr : tree_.xattrs(found.row))
        xattrs.emplace_back(tree_.xattr_name(xattr), tree_.xattr_value(xattr));
    } else {
      LB_ASSIGN(xattrs, found.in_upper->xattrs());
    }
    std::erase_if(xattrs, [&](const auto& xattr) {
      if (!xattr.second.empty()) return !fits_tar(found.path, xattr.first);
      // In PAX an empty value takes a record back.
      log_warn(printable(found.path), ": extended attribute ", printable(xattr.first),
               ", whose value is empty, can't be in a layer, and is left out");
      return true;
    });
    Xattrs renamed = renamed_for_layer(found.path, xattrs);
    // By these names they would say something to who reads the layer: to its overlayfs, or to ourselves.
    std::erase_if(xattrs,
                  [](const auto& xattr) { return xattr.first.starts_with(layer::kOverlayXattrPrefix); });
    std::ranges::move(renamed, std::back_inserter(xattrs));
    std::ranges::sort(xattrs);
    return xattrs;
  }

  /// Those of trusted.*, by the names that say that they are the guest's.
  static Xattrs renamed_for_layer(std::string_view path, const Xattrs& xattrs) {
    Xattrs renamed;
    for (const auto& [key, value] : xattrs) {
      if (!key.starts_with(layer::kTrustedPrefix)) continue;
      std::string name = str_cat(layer::kGuestXattrPrefix, key);
      if (name.size() > kMaxXattrNameBytes) {
        log_warn(printable(path), ": extended attribute ", printable(key),
                 ", whose name is too long for a layer, is left out");
        continue;
      }
      renamed.emplace_back(std::move(name), value);
    }
    return renamed;
  }

  Result<std::string> target_of(const Found& found) const {
    if (!found.in_upper) return std::string(tree_.symlink_target(found.row));
    return found.in_upper->link_target();
  }

  /// Of an object with several names, the one that is in the layer already; `name` is that from now on where
  /// there is none.
  const std::string* first_name(const Found& found, const std::string& name) {
    const bool in_upper = found.in_upper != nullptr;
    const bool has_several = in_upper
                                 ? !S_ISDIR(found.in_upper->st().st_mode) && found.in_upper->st().st_nlink > 1
                                 : !tree_.links(found.row).empty();
    if (!has_several) return nullptr;
    const std::uint64_t number = in_upper ? found.in_upper->st().st_ino : found.row;
    const auto [first, is_first] = first_names_.try_emplace({in_upper, number}, name);
    return is_first ? nullptr : &first->second;
  }

  /// A file may be of holes, of which the layer would be as large as without.
  Result<void> count_data(std::uint64_t size_bytes) {
    if (size_bytes > layer::kMaxStreamBytes - data_bytes_) {
      return fail(E2BIG, "with its ", size_bytes,
                  " bytes, holes counted, the layer would be larger than the ", layer::kMaxStreamBytes,
                  " that one may have: remove it in the VM first, or make it smaller");
    }
    data_bytes_ += size_bytes;
    return {};
  }

  Result<void> put_file(const Found& found, store::PaxMember& member) {
    NodeId row = found.row;
    if (found.in_upper) {
      const overlay::MergedName merged{lower_, paths_, found.directory, found.name};
      LB_ASSIGN(const overlay::DataSource source, found.in_upper->data_source(merged));
      if (source.where == overlay::DataSource::Where::kLost) {
        return fail(EIO,
                    "its data is lost: it was in a layer that this image does not have; remove it in "
                    "the VM first");
      }
      if (source.where == overlay::DataSource::Where::kOwn) return put_own_data(*found.in_upper, member);
      row = source.row;
    }
    member.size_bytes = tree_.node(row).size_bytes;
    LB_TRY(count_data(member.size_bytes));
    LB_TRY(output_.put(as_bytes(store::pax_header(member))));
    return output_.put_data(member.size_bytes, [&](std::uint64_t offset, std::span<std::byte> into) {
      return read_lower(lower_, reactor_, row, offset, into);
    });
  }

  Result<void> put_own_data(const UpperObject& object, store::PaxMember& member) {
    member.size_bytes = static_cast<std::uint64_t>(object.st().st_size);
    LB_TRY(count_data(member.size_bytes));
    LB_TRY(output_.put(as_bytes(store::pax_header(member))));
    if (member.size_bytes == 0) return {};
    LB_ASSIGN(const auto data, object.open());
    return output_.put_data(member.size_bytes, [&](std::uint64_t offset, std::span<std::byte> into) {
      return data->read(offset, into);
    });
  }

  const overlay::Lower& lower_;
  const tree::Tree& tree_;
  MemoryBudget memory_;
  overlay::LowerPaths paths_;
  Reactor& reactor_;
  const std::set<std::string, std::less<>> wanted_;
  struct Directory {
    std::string path;
    bool has_default_acl;
  };
  std::vector<Directory> directories_;  // from the top to where the walk is
  TarOutput output_;
  std::uint64_t data_bytes_ = 0;
  std::uint32_t entries_ = 0;
  std::size_t devices_zero_ = 0;
  std::string first_device_zero_;
  /// Of objects with several names: of the upper, by inode; of the image, by row.
  std::map<std::pair<bool, std::uint64_t>, std::string> first_names_;
};

}  // namespace

Result<void> write_layer(const overlay::Lower& lower, Reactor& reactor, const SeenUpper& upper,
                         const LayerOptions& options, const PutBytes& put) {
  const Compared compared = options.squash ? Compared::kWithNothing : Compared::kWithImage;
  std::set<std::string, std::less<>> wanted;
  if (!options.squash && !lower.tree.all_links().empty()) {
    MovedLinks moved(lower.tree, options);
    LB_TRY(walk_upper(lower.tree, upper, compared, false, moved));
    wanted = moved.others();
  }
  LayerWriter writer(lower, reactor, options, put, std::move(wanted));
  LB_TRY(walk_upper(lower.tree, upper, compared, true, writer));
  return writer.finish();
}

}  // namespace layerboot::mount
