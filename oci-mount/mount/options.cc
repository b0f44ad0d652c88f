#include "oci-mount/mount/options.h"

#include <CLI/CLI.hpp>

#include <sstream>

#include "oci-mount/base/choice_option.h"
#include "oci-mount/base/size.h"

namespace layerboot::mount {

namespace {

constexpr const char* kImageHelp = "the image: a name in the local store such as debian:12, or see below";
constexpr const char* kFooter =
    "IMAGE is one of\n"
    "  debian:12, localhost:5000/app   a name in the local store (layerboot pull puts it there)\n"
    "  oci:DIR[:TAG]                   an OCI layout\n"
    "  oci-archive:FILE[:TAG]          the same in a tar, read in place\n"
    "  docker-archive:FILE[:NAME:TAG]  what docker save wrote, read in place\n"
    "  containerd:NAME                 an image of this machine's containerd\n"
    "  dir:PATH                        a directory, as it is\n"
    "Of an image for several platforms the one for this machine is taken, or for --platform. More in "
    "oci-mount(1).";

void add_mount(CLI::App& app, MountCommand& command) {
  CLI::App* sub = app.add_subcommand("mount", "mount an image on a directory, by FUSE; unpacks nothing");
  sub->add_option("IMAGE", command.image, kImageHelp)->required();
  sub->add_option("MOUNTPOINT", command.mountpoint, "an existing directory")->required();
  CLI::Option* upper = sub->add_option(
      "--upper", command.upper, "keep what is written in this directory; without it nothing can be written");
  sub->add_option_function<std::string>(
         "--quota",
         [&command](const std::string& text) {
           const auto size_bytes = parse_size(text);
           if (!size_bytes) throw CLI::ValidationError("--quota", size_bytes.error().describe());
           command.quota_bytes = *size_bytes;
         },
         "the most that may be written, such as 512M (if not said: 4G)")
      ->type_name("SIZE")
      ->needs(upper);
  sub->add_flag("-f,--foreground", command.foreground, "stay, and end the mount with this process");
  CLI::Option* others =
      sub->add_flag("--allow-other", command.allow_other, "let other users in (as FUSE's allow_other)");
  sub->add_flag("--read-all", command.read_all,
                "let the user who mounts read everything, whatever its owner and mode (to copy it)")
      ->excludes(upper)
      ->excludes(others);
  sub->add_option("--ready-fd", command.ready_fd, "write a line to this descriptor when the mount is of use")
      ->type_name("FD")
      ->check(CLI::Range(3, 1023))
      ->needs("--foreground");
}

void add_list(CLI::App& app, ListCommand& command) {
  CLI::App* sub = app.add_subcommand("ls", "list what is in an image");
  sub->add_option("IMAGE", command.image, kImageHelp)->required();
  sub->add_option("PATH", command.path, "where to start")->capture_default_str();
  sub->add_flag("-R,--recursive", command.recursive, "everything below, each with its path");
  sub->add_flag("-l,--long", command.details, "mode, names, owner, group, size, time (UTC) and target");
}

void add_cat(CLI::App& app, CatCommand& command) {
  CLI::App* sub = app.add_subcommand("cat", "write files of an image to standard output");
  sub->add_option("IMAGE", command.image, kImageHelp)->required();
  sub->add_option("PATH", command.paths, "files; symlinks are followed inside the image")->required();
}

void add_tar(CLI::App& app, TarCommand& command) {
  CLI::App* sub = app.add_subcommand("tar", "write the flattened image to standard output, as a PAX tar");
  sub->add_option("IMAGE", command.image, kImageHelp)->required();
  sub->footer(
      "To unpack it: oci-mount tar IMAGE | tar -xp --numeric-owner --xattrs --xattrs-include='*' -C DIR");
}

void add_index(CLI::App& app, IndexCommand& command) {
  CLI::App* sub = app.add_subcommand("index", "build the indexes that are missing; print what they cost");
  sub->add_option("IMAGE", command.image, kImageHelp)->required();
  sub->add_flag("--json", command.json, "one JSON document instead of columns");
  sub->footer("With --index-dir of an empty directory all are built.");
}

void add_verify(CLI::App& app, VerifyCommand& command) {
  CLI::App* sub = app.add_subcommand("verify", "read every byte again; say which are wrong");
  sub->add_option("IMAGE", command.image, kImageHelp)->required();
  sub->footer("Exit status: 0 all is as it was, 1 something is wrong or could not be read.");
}

void add_diff(CLI::App& app, DiffCommand& command) {
  CLI::App* sub = app.add_subcommand("diff", "list what a VM changed: A added, C changed, D deleted");
  sub->add_option("IMAGE", command.image, kImageHelp)->required();
  sub->add_option(
         "UPPER", command.upper,
         "what --upper named; a VM's is vms/NAME/disk, or of one with --upper disk vms/NAME/upper.raw")
      ->required();
  auto* layer =
      sub->add_flag("--layer", command.layer, "instead: write it as one layer of an OCI image, a tar");
  add_choice<store::Compression>(
      sub, "--compression", command.compression,
      {{"none", store::Compression::kNone},
       {"gzip", store::Compression::kGzip},
       {"zstd", store::Compression::kZstd}},
      "none (if not said), gzip or zstd, so that any place of it can be read by itself")
      ->needs(layer);
  sub->add_option("-o,--output", command.output,
                  "write the layer to this file, build its index, and print its digests as JSON")
      ->type_name("FILE")
      ->needs(layer);
  sub->add_flag("--squash", command.squash, "all that the VM sees, as an image's only layer")->needs(layer);
  sub->add_flag("--keep-identity", command.keep_identity,
                "also what belongs to one machine: machine-id, ssh host keys, random seeds, /run, /tmp")
      ->needs(layer);
  sub->add_flag("--drop-identity", command.drop_identity,
                "with --squash: leave what the image has of that out, too")
      ->needs("--squash")
      ->excludes("--keep-identity");
  sub->footer(
      "Of a layer, --add-layer names what the VM had on top of the image: its files are left out. "
      "SOURCE_DATE_EPOCH,\nif set, is the time of all that is newer.");
}

}  // namespace

ParsedOptions parse_options(int argc, const char* const* argv) {
  ParsedOptions parsed;
  MountCommand mount;
  ListCommand list;
  CatCommand cat;
  TarCommand tar;
  IndexCommand index;
  VerifyCommand verify;
  DiffCommand diff;
  bool quiet = false;
  bool debug = false;
  CLI::App app("Looks into container images where they lie: mounts, lists, prints, checks and compares them.",
               "oci-mount");
  app.set_version_flag("--version", LAYERBOOT_VERSION);
  app.require_subcommand(1);
  app.fallthrough();
  app.footer(kFooter);
  app.add_option("--index-dir", parsed.options.index_dir, "where indexes are kept")
      ->envname("LAYERBOOT_INDEX_DIR");
  app.add_option("--add-layer", parsed.options.add_layers,
                 "a plain tar to put on top of the image; may be repeated")
      ->allow_extra_args(false);
  app.add_option_function<std::string>(
         "--platform",
         [&parsed](const std::string& text) {
           auto platform = store::parse_platform(text);
           if (!platform) throw CLI::ValidationError("--platform", platform.error().text);
           parsed.options.platform = *std::move(platform);
         },
         "which of an image for several platforms, such as linux/arm64")
      ->type_name("OS/ARCH");
  add_choice(&app, "--io-engine", parsed.options.io_engine, io_engine_names(),
             "what it waits and works by; auto is io_uring where this host allows it, else epoll")
      ->envname(kIoEngineVariable);
  app.add_flag("-q,--quiet", quiet, "say only what is wrong");
  app.add_flag("--debug", debug, "say everything");
  add_mount(app, mount);
  add_list(app, list);
  add_cat(app, cat);
  add_tar(app, tar);
  add_index(app, index);
  add_verify(app, verify);
  add_diff(app, diff);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out;
    std::ostringstream err;
    parsed.leave = true;
    parsed.exit_code = error.get_exit_code() == 0 ? 0 : 2;
    if (parsed.exit_code != 0) {
      parsed.text = str_cat("oci-mount: ", error.what(), "; see oci-mount --help\n");
    } else {
      app.exit(error, out, err);
      parsed.text = out.str() + err.str();
    }
    return parsed;
  }
  parsed.options.log_level = debug ? LogLevel::kDebug : quiet ? LogLevel::kWarn : LogLevel::kInfo;
  if (app.got_subcommand("mount")) parsed.options.command = std::move(mount);
  if (app.got_subcommand("ls")) parsed.options.command = std::move(list);
  if (app.got_subcommand("cat")) parsed.options.command = std::move(cat);
  if (app.got_subcommand("tar")) parsed.options.command = std::move(tar);
  if (app.got_subcommand("index")) parsed.options.command = std::move(index);
  if (app.got_subcommand("verify")) parsed.options.command = std::move(verify);
  if (app.got_subcommand("diff")) parsed.options.command = std::move(diff);
  return parsed;
}

}  // namespace layerboot::mount
