#!/usr/bin/env python3
"""Images that real tools build, read by oci-mount and unpacked by umoci: both have to be the same.

    real_images.py OCI_MOUNT [--all] [--only KIND,...] [--work DIR]

Compared is all that a file has: kind, mode, owner, time to the nanosecond, size, content, link target, device,
extended attributes, and which names are one file. Of directories that no layer has an entry for, runtimes agree
on mode and owner at most, so their times are left out. Without --all a few images of the kinds that need no
daemon are made; with it a hundred. The kinds:

    bazel         tars as rules_docker and rules_oci write them, by this script
    kaniko        tars as kaniko's snapshots are, by this script
    umoci         umoci unpack, changes, umoci repack
    mmdebstrap    the package lists of this machine's apt
    buildah       buildah from scratch, copy, add, config, commit
    docker        docker build and docker save, by the daemon that DOCKER_HOST names, or runs here
    containerify  containerify of npm, on a base out of a registry on loopback

What can't be made here is skipped, and the last lines say what and why. Exit status: 0 all that were made are the
same; 1 some differ; 77 none could be made. Needs root, as umoci has to give files their owners.
"""
import argparse
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import time

LAYER = "application/vnd.oci.image.layer.v1.tar"
COUNTS = {"bazel": 20, "kaniko": 20, "umoci": 20, "mmdebstrap": 4, "buildah": 16, "docker": 16, "containerify": 4}
FEW = {"bazel": 3, "kaniko": 3, "umoci": 2}
SHOWN_DIFFERENCES = 8


class Skipped(Exception):
    """A kind can't be made here."""


def run(*words, **more):
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=False, **more)
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise RuntimeError(f"{' '.join(str(word) for word in words[:4])}: {' / '.join(said[-3:])}")
    return done.stdout


def need(*programs):
    for program in programs:
        if shutil.which(program) is None:
            raise Skipped(f"{program} is not installed")


# ---- what a tree is ----


def digest(data):
    return hashlib.sha256(data).hexdigest()


def tree_of_tar(stream):
    """Of `oci-mount tar`."""
    tree = {}
    links = {}
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            name = member.name.lstrip("./").rstrip("/") or "."
            if member.islnk():
                links[name] = member.linkname.lstrip("./")
                continue
            seconds, _, rest = member.pax_headers.get("mtime", str(int(member.mtime))).partition(".")
            nanoseconds = int((rest + "000000000")[:9])
            if seconds.startswith("-") and nanoseconds:
                seconds, nanoseconds = str(int(seconds) - 1), 1_000_000_000 - nanoseconds
            kinds = {tarfile.DIRTYPE: stat.S_IFDIR, tarfile.SYMTYPE: stat.S_IFLNK, tarfile.CHRTYPE: stat.S_IFCHR,
                     tarfile.BLKTYPE: stat.S_IFBLK, tarfile.FIFOTYPE: stat.S_IFIFO}
            prefix = "SCHILY.xattr."
            one = {"mode": kinds.get(member.type, stat.S_IFREG) | member.mode, "uid": member.uid, "gid": member.gid,
                   "mtime": (int(seconds), nanoseconds),
                   "xattrs": {key[len(prefix):]: digest(value.encode("utf-8", "surrogateescape"))
                              for key, value in member.pax_headers.items() if key.startswith(prefix)}}
            if member.isreg():
                one["content"] = (member.size, digest(tar.extractfile(member).read()))
            if member.issym():
                one["target"] = member.linkname
            if member.ischr() or member.isblk():
                one["device"] = (member.devmajor, member.devminor)
            tree[name] = one
    return join_names(tree, links)


def join_names(tree, links):
    groups = {}
    for name, first in links.items():
        groups.setdefault(first, {first}).add(name)
        tree[name] = tree[first]
    for names in groups.values():
        for name in names:
            tree[name] = {**tree[name], "names": sorted(names)}
    return tree


def tree_of_directory(root):
    tree = {}
    groups = {}
    top = os.fsencode(root)
    for directory, subdirectories, files in os.walk(top):
        for path in [directory] + [os.path.join(directory, name) for name in files] + [
                os.path.join(directory, name) for name in subdirectories
                if os.path.islink(os.path.join(directory, name))]:
            name = os.fsdecode(os.path.relpath(path, top))
            status = os.lstat(path)
            if stat.S_ISSOCK(status.st_mode):
                continue
            one = {"mode": status.st_mode, "uid": status.st_uid, "gid": status.st_gid,
                   "mtime": divmod(status.st_mtime_ns, 1_000_000_000),
                   "xattrs": {key: digest(os.getxattr(path, key, follow_symlinks=False))
                              for key in os.listxattr(path, follow_symlinks=False)}}
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    one["content"] = (status.st_size, digest(file.read()))
            if stat.S_ISLNK(status.st_mode):
                one["target"] = os.fsdecode(os.readlink(path))
            if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
                one["device"] = (os.major(status.st_rdev), os.minor(status.st_rdev))
            tree[name] = one
            if not stat.S_ISDIR(status.st_mode) and status.st_nlink > 1:
                groups.setdefault(status.st_ino, []).append(name)
    for names in groups.values():
        for name in names:
            tree[name] = {**tree[name], "names": sorted(names)}
    return tree


def directories_with_entries(layout, tag):
    """Those whose time some layer says."""
    index = json.load(open(f"{layout}/index.json", encoding="utf-8"))
    entry = next(one for one in index["manifests"]
                 if one.get("annotations", {}).get("org.opencontainers.image.ref.name") == tag)

    def blob(digest_text):
        return f"{layout}/blobs/{digest_text.replace(':', '/')}"

    manifest = json.load(open(blob(entry["digest"]), encoding="utf-8"))
    names = set()
    for layer in manifest["layers"]:
        with tarfile.open(blob(layer["digest"])) as tar:
            names |= {member.name.lstrip("./").rstrip("/") or "." for member in tar if member.isdir()}
    return names


def differences(ours, theirs, with_entries):
    found = []
    for name in sorted(set(ours) | set(theirs)):
        one, other = ours.get(name), theirs.get(name)
        if one is None or other is None:
            found.append(f"{name}: only {'umoci' if one is None else 'oci-mount'} has it")
            continue
        for key in sorted(set(one) | set(other)):
            if key == "mtime" and stat.S_ISDIR(one["mode"]) and name not in with_entries:
                continue
            if one.get(key) != other.get(key):
                found.append(f"{name}: {key} is {one.get(key)} to oci-mount, {other.get(key)} to umoci")
    return found


# ---- making layouts by hand ----


class Layout:
    def __init__(self, path):
        self.path = path
        os.makedirs(f"{path}/blobs/sha256")
        self.write("oci-layout", {"imageLayoutVersion": "1.0.0"})

    def write(self, name, value):
        with open(f"{self.path}/{name}", "w", encoding="utf-8") as file:
            json.dump(value, file)

    def blob(self, data, media_type):
        if not isinstance(data, bytes):
            data = json.dumps(data).encode()
        with open(f"{self.path}/blobs/sha256/{digest(data)}", "wb") as file:
            file.write(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest(data)}", "size": len(data)}

    def image(self, tars, compress):
        layers = [self.blob(gzip.compress(tar, 6, mtime=0), LAYER + "+gzip") if compress else self.blob(tar, LAYER)
                  for tar in tars]
        config = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/sh"]},
                  "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest(tar)}" for tar in tars]}}
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "config": self.blob(config, "application/vnd.oci.image.config.v1+json"), "layers": layers}
        entry = self.blob(manifest, manifest["mediaType"])
        entry["annotations"] = {"org.opencontainers.image.ref.name": "t"}
        self.write("index.json", {"schemaVersion": 2, "manifests": [entry]})


class Tar:
    def __init__(self, form):
        self.bytes = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.bytes, mode="w", format=form)

    def add(self, name, kind=tarfile.REGTYPE, data=b"", **fields):
        member = tarfile.TarInfo(name)
        member.type = kind
        member.size = len(data)
        for key, value in fields.items():
            setattr(member, key, value)
        self.tar.addfile(member, io.BytesIO(data))

    def finish(self):
        self.tar.close()
        return self.bytes.getvalue()


def some_bytes(chance):
    size = chance.choice([0, 1, 511, 512, 513, 4096, 70_000, 300_000])
    return chance.randbytes(size) if chance.random() < 0.5 else b"text " * (size // 5)


def some_name(chance):
    return chance.choice(["bin", "etc", "lib", "srv", "opt", "a b", "ü", "n" * 120, "x.conf", "data"]) + str(
        chance.randrange(30))


def bazel(number, work):
    """Nothing that hangs on the day: no time but 0, no directories but for some, names with "./"."""
    chance = random.Random(number)
    dots = chance.random() < 0.5
    tars = []
    seen = set()
    for _ in range(chance.randrange(1, 5)):
        tar = Tar(chance.choice([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT]))
        for _ in range(chance.randrange(5, 40)):
            parts = [some_name(chance)[:90] for _ in range(chance.randrange(1, 4))]
            path = "app/" + "/".join(parts)
            # A file is replaced by a later layer's, never by a directory.
            if any(other.startswith(path + "/") or path.startswith(other + "/") for other in seen):
                continue
            seen.add(path)
            name = ("./" if dots else "") + path
            owner = {"uid": chance.choice([0, 0, 65532]), "gid": chance.choice([0, 65532]), "mtime": 0}
            if len(name) > 99 and tar.tar.format == tarfile.USTAR_FORMAT:
                continue
            if chance.random() < 0.15:
                tar.add(name, tarfile.SYMTYPE, linkname=chance.choice(["../target", "/app/bin1", "x"]), mode=0o777,
                        **owner)
            else:
                tar.add(name, data=some_bytes(chance), mode=chance.choice([0o555, 0o644, 0o755]), **owner)
        tars.append(tar.finish())
    Layout(f"{work}/image").image(tars, number % 3 != 0)
    return f"{work}/image", "t"


def kaniko(number, work):
    """Whole snapshots: every parent has its entry in every layer, whiteouts come among the rest."""
    chance = random.Random(1000 + number)
    tree = {}
    tars = []
    now = 1_600_000_000
    for level in range(chance.randrange(2, 5)):
        tar = Tar(tarfile.PAX_FORMAT)
        written = set()

        def parents(path):
            for at in range(1, len(path.split("/"))):
                parent = "/".join(path.split("/")[:at])
                if parent not in written:
                    written.add(parent)
                    tar.add(parent + "/", tarfile.DIRTYPE, mode=0o755, mtime=now + level, uname="root", gname="root")

        tar.add("./", tarfile.DIRTYPE, mode=0o755, mtime=now)
        for path in sorted(tree):
            if level and chance.random() < 0.25:
                parents(path)
                directory, _, name = path.rpartition("/")
                tar.add(f"{directory}/.wh.{name}", mtime=0)
                del tree[path]
        for _ in range(chance.randrange(5, 30)):
            path = "/".join(["usr", some_name(chance), some_name(chance)][:chance.randrange(2, 4)])
            if path in tree or any(other.startswith(path + "/") or path.startswith(other + "/") for other in tree):
                continue
            parents(path)
            if path in written:
                continue
            pax = {"mtime": f"{now + chance.randrange(10**6)}.{chance.randrange(10**9):09d}"}
            common = {"uid": chance.choice([0, 33, 3_000_000]), "gid": chance.choice([0, 33]),
                      "mtime": now, "pax_headers": pax}
            kind = chance.random()
            if kind < 0.1 and tree:
                first = chance.choice([name for name in written if name in tree] or [None])
                if first is not None and tree[first] == "file":
                    tar.add(path, tarfile.LNKTYPE, linkname=first, **{**common, "pax_headers": {}})
                    written.add(path)
                    tree[path] = "link"
                continue
            if kind < 0.2:
                tar.add(path, tarfile.SYMTYPE, linkname="../" + some_name(chance), mode=0o777, **common)
                tree[path] = "symlink"
            elif kind < 0.25:
                tar.add(path, tarfile.CHRTYPE, devmajor=1, devminor=chance.randrange(3, 10), mode=0o666, **common)
                tree[path] = "device"
            else:
                if chance.random() < 0.2:
                    pax["SCHILY.xattr.user.colour"] = "blue"
                tar.add(path, data=some_bytes(chance), mode=chance.choice([0o644, 0o4755, 0o600, 0o2711]), **common)
                tree[path] = "file"
            written.add(path)
        tars.append(tar.finish())
    Layout(f"{work}/image").image(tars, True)
    return f"{work}/image", "t"


def change_tree(root, chance):
    """Anything that people do to a root file system."""
    for _ in range(chance.randrange(5, 25)):
        files = [os.path.join(directory, name) for directory, _, names in os.walk(root) for name in names]
        directories = [directory for directory, _, _ in os.walk(root)]
        here = chance.choice(directories)
        path = os.path.join(here, some_name(chance)[:100])
        action = chance.randrange(9)
        if action < 3 and not os.path.lexists(path):
            with open(path, "wb") as file:
                file.write(some_bytes(chance))
            os.chmod(path, chance.choice([0o644, 0o755, 0o4755, 0o600]))
            os.lchown(path, chance.choice([0, 1000, 70_000]), chance.choice([0, 5]))
            if chance.random() < 0.3:
                os.setxattr(path, "user.origin", b"made by\0a test")
        elif action == 3 and not os.path.lexists(path):
            os.mkdir(path, 0o755)
            os.chmod(path, chance.choice([0o755, 0o1777, 0o700]))
        elif action == 4 and not os.path.lexists(path):
            os.symlink(chance.choice(["../x", "/etc/passwd", "y" * 150]), path)
        elif action == 5 and files:
            os.unlink(chance.choice(files))
        elif action == 6 and files and not os.path.lexists(path):
            source = chance.choice(files)
            if os.path.isfile(source) and not os.path.islink(source):
                os.link(source, path)
        elif action == 7 and len(directories) > 3:
            victim = chance.choice(directories[1:])
            shutil.rmtree(victim, ignore_errors=True)
        elif action == 8 and files:
            victim = chance.choice(files)
            os.utime(victim, ns=(chance.randrange(10**18, 17 * 10**17),) * 2, follow_symlinks=False)


def umoci(number, work):
    need("umoci")
    chance = random.Random(2000 + number)
    layout = f"{work}/image"
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", f"{layout}:t")
    for level in range(chance.randrange(1, 4)):
        bundle = f"{work}/bundle{level}"
        run("umoci", "unpack", "--image", f"{layout}:t", bundle)
        change_tree(f"{bundle}/rootfs", chance)
        run("umoci", "repack", "--refresh-bundle", "--image", f"{layout}:t", bundle)
        shutil.rmtree(bundle)
    return layout, "t"


def mmdebstrap(number, work):
    need("mmdebstrap", "umoci")
    packages = ["busybox-static", "base-files", "passwd,libc-bin", "coreutils,tar"][number % 4]
    tar = f"{work}/root.tar"
    run("mmdebstrap", "--quiet", "--variant=extract", f"--include={packages}", "bookworm", tar)
    with open(tar, "rb") as file:
        Layout(f"{work}/image").image([file.read()], True)
    return f"{work}/image", "t"


def context(work, chance):
    """A directory to copy from."""
    path = f"{work}/context"
    os.makedirs(f"{path}/tree/sub")
    change_tree(f"{path}/tree", chance)
    with tarfile.open(f"{path}/more.tar.gz", "w:gz") as tar:
        tar.add(f"{path}/tree", "from-tar")
    shutil.copy(shutil.which("busybox") or "/bin/true", f"{path}/busybox")
    return path


def to_layout(source, work):
    need("skopeo")
    run("skopeo", "--insecure-policy", "copy", "--quiet", source, f"oci:{work}/image:t")
    return f"{work}/image", "t"


def buildah(number, work):
    need("buildah")
    chance = random.Random(3000 + number)
    files = context(work, chance)
    where = ["buildah", "--root", f"{work}/storage", "--runroot", f"{work}/run", "--storage-driver", "vfs"]
    container = run(*where, "from", "scratch").decode().strip()
    run(*where, "copy", "--chown", "7:8", container, f"{files}/tree", "/srv")
    run(*where, "add", container, f"{files}/more.tar.gz", "/opt/")
    run(*where, "config", "--env", "A=b", "--cmd", "/bin/sh", container)
    layered = f"{work}/first"
    run(*where, "commit", "--quiet", container, f"oci:{layered}:t")
    second = run(*where, "from", f"oci:{layered}:t").decode().strip()
    run(*where, "copy", second, f"{files}/busybox", "/bin/")
    run(*where, "copy", "--chmod", "0711", second, f"{files}/tree", "/srv/again")
    form = ["oci", "docker"][number % 2]
    squash = ["--squash"] if number % 5 == 4 else []
    name = f"{'oci' if form == 'oci' else 'docker'}-archive:{work}/made.tar:made:t"
    run(*where, "commit", "--quiet", "--format", form, *squash, second, name)
    return to_layout(name if form == "oci" else f"docker-archive:{work}/made.tar", work)


def docker(number, work):
    need("docker")
    try:
        run("docker", "version")
    except RuntimeError as error:
        raise Skipped(f"no daemon answers ({error})") from error
    chance = random.Random(4000 + number)
    files = context(work, chance)
    lines = ["FROM scratch", "COPY busybox /bin/busybox", 'SHELL ["/bin/busybox", "sh", "-c"]',
             "COPY --chown=3:4 tree /srv/", "ADD more.tar.gz /opt/"]
    if shutil.which("busybox"):
        commands = ["/bin/busybox ln -s busybox /bin/ls", "/bin/busybox rm -rf /srv/sub; /bin/busybox mkdir /srv/sub",
                    "/bin/busybox chmod 4711 /bin/busybox", "/bin/busybox ln /bin/busybox /bin/other",
                    "echo new > /opt/new", "/bin/busybox mv /opt/from-tar /opt/renamed",
                    "/bin/busybox mknod /null c 1 3; /bin/busybox mkfifo /pipe"]
        lines += [f"RUN {command}" for command in chance.sample(commands, chance.randrange(1, 5))]
    with open(f"{files}/Dockerfile", "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    name = f"layerboot-real-images:{os.getpid()}-{number}"
    try:
        run("docker", "build", "-q", "-t", name, files,
            env={**os.environ, "DOCKER_BUILDKIT": os.environ.get("DOCKER_BUILDKIT", "0")})
        run("docker", "save", "-o", f"{work}/saved.tar", name)
    finally:
        subprocess.run(["docker", "rmi", "-f", name], capture_output=True, check=False)
    return to_layout(f"docker-archive:{work}/saved.tar", work)


class Registry:
    """docker-registry on a port of its own."""

    def __init__(self, work):
        need("docker-registry")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        config = f"{work}/registry.yml"
        with open(config, "w", encoding="utf-8") as file:
            file.write(f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {work}/registry}}}}\n"
                       f"http: {{addr: '127.0.0.1:{self.port}'}}\nlog: {{level: error}}\n")
        self.process = subprocess.Popen(["docker-registry", "serve", config], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        for _ in range(100):
            with socket.socket() as knock:
                if knock.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        self.stop()
        raise Skipped("docker-registry does not start")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def containerify(number, work):
    need("containerify", "skopeo")
    chance = random.Random(5000 + number)
    os.makedirs(f"{work}/base")
    kaniko(500 + number, f"{work}/base")
    registry = Registry(work)
    try:
        base = f"127.0.0.1:{registry.port}/base:1"
        run("skopeo", "--insecure-policy", "copy", "--quiet", "--format", "v2s2", "--dest-tls-verify=false",
            f"oci:{work}/base/image:t", f"docker://{base}")
        project = f"{work}/project"
        os.makedirs(f"{project}/node_modules/one")
        change_tree(f"{project}/node_modules/one", chance)
        # It follows symlinks, and gives up at one that leads nowhere.
        for directory, _, names in os.walk(project):
            for name in names:
                if os.path.islink(f"{directory}/{name}"):
                    os.unlink(f"{directory}/{name}")
        with open(f"{project}/package.json", "w", encoding="utf-8") as file:
            json.dump({"name": "one", "version": "1.0.0"}, file)
        for name in ["index.js", "node_modules/one/index.js"]:
            with open(f"{project}/{name}", "w", encoding="utf-8") as file:
                file.write("console.log(1)\n")
        run("containerify", "--allowInsecureRegistries", "--fromImage", "base:1", "--folder", f"{project}/",
            "--toImage", "made:1", "--toTar", f"{work}/made.tar", "--fromRegistry",
            f"http://127.0.0.1:{registry.port}/v2/", *(["--layerOwner", "7:8"] if number % 2 else []))
    finally:
        registry.stop()
    return to_layout(f"docker-archive:{work}/made.tar", work)


KINDS = {"bazel": bazel, "kaniko": kaniko, "umoci": umoci, "mmdebstrap": mmdebstrap, "buildah": buildah,
         "docker": docker, "containerify": containerify}


# ---- comparing ----


def compare(oci_mount, layout, tag, work):
    environment = {**os.environ, "XDG_CACHE_HOME": f"{work}/cache", "XDG_DATA_HOME": f"{work}/data"}
    environment.pop("LAYERBOOT_INDEX_DIR", None)
    tar = run(oci_mount, "tar", "-q", f"oci:{layout}:{tag}", env=environment)
    run("umoci", "unpack", "--image", f"{layout}:{tag}", f"{work}/unpacked")
    return differences(tree_of_tar(io.BytesIO(tar)), tree_of_directory(f"{work}/unpacked/rootfs"),
                       directories_with_entries(layout, tag))


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("oci_mount")
    arguments.add_argument("--all", action="store_true", help="a hundred images instead of a few")
    arguments.add_argument("--only", default="", help="kinds, with commas between them")
    arguments.add_argument("--work", help="where to work; the images that differ stay there")
    options = arguments.parse_args()
    if os.geteuid() != 0 or shutil.which("umoci") is None:
        print("skipped: umoci, as root, has to unpack what is compared with")
        return 77
    wanted = COUNTS if options.all else FEW
    if options.only:
        wanted = {kind: COUNTS[kind] for kind in options.only.split(",")}
    work = tempfile.mkdtemp(prefix="layerboot-images-", dir=options.work)
    same, differing, skipped = 0, 0, []
    for kind, count in wanted.items():
        for number in range(count):
            place = f"{work}/{kind}-{number}"
            os.makedirs(place)
            try:
                layout, tag = KINDS[kind](number, place)
                found = compare(options.oci_mount, layout, tag, place)
            except Skipped as why:
                skipped.append(f"{kind}: {why}")
                shutil.rmtree(place)
                break
            except RuntimeError as error:
                found = [f"could not be made or read: {error}"]
            if not found:
                same += 1
                shutil.rmtree(place)
                continue
            differing += 1
            print(f"{kind}-{number} differs ({len(found)}):", *found[:SHOWN_DIFFERENCES], sep="\n  ")
            if options.work is None:
                shutil.rmtree(place)
    if options.work is None:
        shutil.rmtree(work)
    print(f"{same} images are the same, {differing} differ")
    for why in skipped:
        print(f"skipped {why}")
    if differing:
        return 1
    return 0 if same else 77


if __name__ == "__main__":
    sys.exit(main())
