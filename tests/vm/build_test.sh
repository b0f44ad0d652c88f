#!/bin/bash
# `layerboot build --vm`: a systemd service image whose unit systemd itself enables and starts while it is built; booted, and run by way of
# a pipe; unchanged it is there at once. What fails, is stopped or killed on the way leaves nothing.
#   build_test.sh BUILD_DIR
set -euo pipefail
here=$(cd "$(dirname "$(realpath "$0")")" && pwd)
build=$(realpath "$1")
# shellcheck source=tests/vm/state_dir.sh
. "$here/state_dir.sh"
need_test_image
images=$(dirname "$LAYERBOOT_TEST_IMAGE")
"$here/systems/image.sh" busybox "$images/test/busybox"
make_state_dir
make_home "$build"
export LAYERBOOT_CONFIG=
oci_mount=$build/oci-mount/mount/oci-mount
context=$state/context
mkdir -p "$context/units"
build_vm() { layerboot build --vm --oci-mount "$oci_mount" "$@" "$context" -- "${programs[@]}" --accel tcg; }
nothing_left() {
  same "VMs" "$(layerboot ps --all --names)" ""
  same "locks of VMs" "$(ls "$state/data/layerboot/build/vms")" ""
  ! pgrep -f "(qemu|vfsd).*$state" > /dev/null || fail "something runs still"
}

# What is not understood is said before anything is booted, with its line.
refused() { # TEXT-OF-ERROR RECIPE…
  local said=$1
  shift
  printf '%s\n' "$@" > "$context/Containerfile"
  if build_vm > "$state/out" 2> "$state/err"; then fail "taken: $*"; fi
  grep -qF -- "$said" "$state/err" || fail "said otherwise: $(cat "$state/err")"
  same "on standard output" "$(cat "$state/out")" ""
}
base=oci:$LAYERBOOT_TEST_IMAGE:latest
refused "line 2: HEALTHCHECK is not known to build --vm" "FROM $base" "HEALTHCHECK NONE"
refused "line 2: COPY none /x: no none in the context" "FROM $base" "COPY none /x" "RUN true"
refused "line 3: FROM scratch: there is nothing in it that could boot" "FROM $base" "RUN true" "FROM scratch"
refused "line 2: RUN <<EOF: its here-document has no end" "FROM $base" "RUN <<EOF" "true"
echo '!' > "$context/.dockerignore"
refused ".dockerignore: line 1: a ! needs a pattern behind it" "FROM $base"
rm "$context/.dockerignore"
printf 'FROM %s\n' "$base" > "$context/Containerfile"
if layerboot build --vm "$context" -- --name x 2> "$state/err"; then fail "--name was taken"; fi
grep -q -- '--name has no meaning for the VMs of a build' "$state/err" || fail "$(cat "$state/err")"

cat > "$context/units/hello.service" << 'TEXT'
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'cat /etc/greeting > /run/hello'
[Install]
WantedBy=multi-user.target
TEXT
cat > "$context/Dockerfile" << 'TEXT'
ARG BASE
FROM $BASE
ARG WHO=nobody
ENV GREETING="hello ${WHO:-x}"
COPY units/*.service /etc/systemd/system/
ADD --chown=0:8 --chmod=0640 units/hello.service /etc
WORKDIR /srv/app
USER mail
RUN test "$(id -un)" = mail && test "$PWD" = /srv/app && touch /tmp/not-kept
USER root
RUN test "$(cat /proc/1/comm)" = systemd && \
    # the running systemd, not a link that somebody makes
    printf '%s\n' "$GREETING" > /etc/greeting && \
    systemctl enable --now hello.service && grep -q "$WHO" /run/hello
WORKDIR /etc
CMD ["/sbin/init"]
TEXT
rm "$context/Containerfile"
digest=$(build_vm -t hello:1 --build-arg "BASE=$base" --build-arg WHO=world 2> "$state/err") || fail "$(cat "$state/err")"
case $digest in sha256:*) ;; *) fail "no digest: $digest" ;; esac
nothing_left
same "greeting" "$("$oci_mount" -q cat hello:1 /etc/greeting)" "hello world"
same "an owner, a mode" "$("$oci_mount" -q ls -l hello:1 /etc/hello.service | awk '{ print $1, $3, $4 }')" "-rw-r----- 0 8"
same "/tmp" "$("$oci_mount" -q ls hello:1 /tmp)" ""
[ "$("$oci_mount" -q ls -l hello:1 /srv | awk '{ print $NF }')" = app ] || fail "no /srv/app"
layerboot history --json hello:1 > "$state/history"
same "steps" "$(grep -o 'build --vm, line' "$state/history" | wc -l)" 3

# A module that a RUN puts beside the kernel's is found by the next one, though the index is the launcher's.
cat > "$context/Containerfile" << 'TEXT'
ARG BASE
FROM $BASE
RUN here=/lib/modules/$(uname -r) && mkdir -p "$here/updates" && cp "$(find "$here/kernel/" -name 'dummy.ko*' | head -n 1)" "$here/updates/" && \
    cd "$here/updates" && for file in dummy.ko*; do mv "$file" "mine${file#dummy}"; done
RUN modinfo -F filename mine | grep /updates/
TEXT
build_vm -t module:1 --build-arg "BASE=$base" > "$state/out" 2> "$state/err" || fail "$(cat "$state/err")"
nothing_left
rm "$context/Containerfile"

# Unchanged, it is there at once; another file is another image.
start=$SECONDS
same "the digest, again" "$(build_vm -t hello:2 --build-arg "BASE=$base" --build-arg WHO=world 2> "$state/err")" "$digest"
same "steps as before" "$(grep -c 'as before' "$state/err")" 3
[ $((SECONDS - start)) -lt 30 ] || fail "an unchanged build took $((SECONDS - start)) s"

layerboot run -q -d --wait --name svc --accel tcg "${programs[@]}" hello:2 > "$state/said"
same "the unit" "$(layerboot exec svc -- systemctl is-active hello.service)" active
same "what it did" "$(layerboot exec svc -- cat /run/hello)" "hello world"
# shellcheck disable=SC2016 # for the guest
same "the image's variables" "$(layerboot exec svc -- sh -c 'echo $GREETING $WHO')" "hello world"
layerboot stop svc > /dev/null
layerboot rm svc > /dev/null

# The rest is about the end, for which a small system does: busybox, which boots by itself.
small=oci:$images/test/busybox:latest
rm "$context/Dockerfile"
touch "$context/units/secret"
echo '**/secret' > "$context/.dockerignore"
printf 'FROM %s\nCOPY units /units\nRUN echo built > /made\n' "$small" > "$context/Containerfile"
same "build | run" "$(build_vm 2> "$state/err" | layerboot run -q --accel tcg -m 192m --rm "${programs[@]}" -- sh -c 'cat /made; ls /units')" \
  "$(printf 'built\nhello.service')"
nothing_left

# Stages, and here-documents: what the last one needs is built, and nothing else; images that are copied from are mounted only as long.
cat > "$context/Containerfile" << TEXT
FROM $small AS tools
RUN <<EOF
mkdir -p /out/deep && ln -s /out /link
echo tool > /out/deep/tool && chmod 750 /out/deep/tool
EOF
FROM $small AS never
RUN exit 3
FROM $small
ARG WHO=world
COPY --from=tools --chown=7:8 /link/deep /opt/
COPY --from=$small /bin/busybox /opt/box
COPY <<passwd <<group /etc/
someone:x:1234:1235::/:/bin/sh
passwd
things:x:77:
group
COPY --from=$base --link --chown=someone:things /usr/bin/ping /opt/
COPY <<a.txt <<'b.txt' /srv/
hello \$WHO
a.txt
\$WHO
b.txt
RUN <<-EOF
	#!/bin/sh
	echo "\$0 \$WHO" > /made
EOF
TEXT
no_mounts() {
  ! grep -q "$state" /proc/mounts || fail "mounted still: $(grep "$state" /proc/mounts)"
  same "mountpoints" "$(find "$state" -name '*build-trees*')" ""
}
staged=$(build_vm -t staged:1 2> "$state/err") || fail "$(cat "$state/err")"
nothing_left
no_mounts
same "of a stage" "$("$oci_mount" -q ls -l staged:1 /opt | awk '$NF == "tool" { print $1, $3, $4 }')" "-rwxr-x--- 7 8"
same "of a stage, by a link" "$("$oci_mount" -q cat staged:1 /opt/tool)" tool
same "of an image" "$("$oci_mount" -q cat staged:1 /opt/box | cksum)" "$("$oci_mount" -q cat "$small" /bin/busybox | cksum)"
same "by names" "$("$oci_mount" -q ls -l staged:1 /opt | awk '$NF == "ping" { print $3, $4 }')" "1234 77"
capability_of() { "$oci_mount" -q tar "$1" | grep -a -o 'SCHILY.xattr.security.capability=.\{20\}' | sort -u | od -c; }
same "a capability" "$(capability_of staged:1)" "$(capability_of "$base")"
same "of a stage that is not the last" "$("$oci_mount" -q ls staged:1 / | grep -cx out || true)" 0
same "documents" "$("$oci_mount" -q cat staged:1 /srv/a.txt; "$oci_mount" -q cat staged:1 /srv/b.txt)" "$(printf 'hello world\n$WHO')"
same "a program" "$("$oci_mount" -q cat staged:1 /made)" "/tmp/layerboot-run world"
same "stages, again" "$(build_vm 2> "$state/err")" "$staged"
same "their steps" "$(grep -c 'as before' "$state/err")" 2
# Another stage with the same files.
sed -i 's/^mkdir -p/touch \/other \&\& &/' "$context/Containerfile"
same "a stage anew" "$(build_vm 2> "$state/err")" "$staged"
same "the steps upon it" "$(grep -c 'as before' "$state/err")" 1
no_mounts
sed -i 's|/link/deep|/link/none|' "$context/Containerfile"
if build_vm > "$state/out" 2> "$state/err"; then fail "a COPY of nothing"; fi
grep -qF 'COPY --from=tools --chown=7:8 /link/none /opt/: no /link/none in the stage tools' "$state/err" || fail "$(cat "$state/err")"
nothing_left
no_mounts

# The same by buildah; and a kernel as an image, built by it as README has it.
if command -v buildah > /dev/null && [ "$(id -u)" = 0 ]; then
  kernel=$(echo "$state"/data/layerboot/kernels/*)
  mkdir "$state/kernel"
  cp "$kernel/modules.tar" "$kernel/vmlinuz" "$state/kernel"
  printf 'FROM scratch\nADD modules.tar /\nCOPY vmlinuz /boot/vmlinuz-%s\n' "$(cat "$kernel/release")" > "$state/kernel/Containerfile"
  layerboot build -q -t kernel:1 "$state/kernel" > "$state/out" 2> "$state/err" || fail "the kernel's image: $(cat "$state/err")"
  printf 'FROM %s\nCOPY units /units\n' "$small" > "$context/Containerfile"
  same "build | run, by buildah, on an image's kernel" \
    "$(layerboot build "$context" 2> "$state/err" |
      layerboot run -q --accel tcg -m 192m --rm --kernel image:kernel:1 "${programs[@]}" -- sh -c 'uname -r; ls /units')" \
    "$(cat "$kernel/release"; echo hello.service)"
fi
printf 'FROM %s\nRUN true\n\nRUN echo said; exit 7\n' "$small" > "$context/Containerfile"
if build_vm -t broken > "$state/out" 2> "$state/err"; then fail "a RUN that fails"; fi
grep -q '^said' "$state/err" || fail "what it said is not there: $(cat "$state/err")"
grep -qF 'line 4: RUN echo said; exit 7: ended with exit status 7' "$state/err" || fail "$(cat "$state/err")"
same "on standard output" "$(cat "$state/out")" ""
nothing_left

# What COPY, WORKDIR, rm and variables come to in an image with next to no programs.
mkdir -p "$context/root/etc" "$context/root/srv/kept"
echo named > "$context/root/etc/hosts"
echo copied > "$context/file"
chmod 751 "$context/root/srv"
cat > "$context/Containerfile" << TEXT
FROM $small
ARG TOKEN
COPY --chown=7:8 root/ /
COPY file missing* /srv/
RUN mkdir -p /srv/into && echo 'app:x:1234:1235::/:/bin/sh' >> /etc/passwd && rm -f /bin/test
COPY file /srv/into
USER app
WORKDIR /srv/own/deep
RUN for file in /proc/[0-9]*/cmdline; do cat "\$file"; done > /dev/null; echo "\$TOKEN" > /srv/own/deep/token; sleep 3
WORKDIR /tmp/build
TEXT
TOKEN=$(printf 'two\nlines-of-a-secret') && export TOKEN
build_vm -t small:1 --build-arg TOKEN > "$state/out" 2> "$state/err" &
building=$!
seen=
while kill -0 $building 2> /dev/null; do
  seen+=$(cat /proc/[0-9]*/cmdline 2> /dev/null | tr '\0' ' ' | grep -o 'lines-of-[a]-secret' || true)
  sleep 0.2
done
wait $building || fail "$(cat "$state/err")"
same "a secret in a command line" "$seen" ""
unset TOKEN
listing() { "$oci_mount" -q ls -l small:1 "$1" | awk -v name="$2" '$NF == name { print $1, $3, $4 }'; }
same "a directory that was copied onto" "$(listing / srv)" "drwxr-x--x 7 8"
same "a directory of USER's" "$(listing /srv own)" "drwxr-xr-x 1234 1235"
same "a file in a directory that is there" "$("$oci_mount" -q cat small:1 /srv/into/file)" copied
same "what the RUN was given" "$("$oci_mount" -q cat small:1 /srv/own/deep/token)" "$(printf 'two\nlines-of-a-secret')"
grep -qF 'COPY --chown=7:8 root/ /: /etc/hosts is in no layer' "$state/err" || fail "no word of /etc/hosts: $(cat "$state/err")"
grep -qF 'WORKDIR /tmp/build: what one machine has for itself' "$state/err" || fail "no word of /tmp: $(cat "$state/err")"

# A host key that came with an image can be removed from it.
layerboot run -q -d --wait --name keys --accel tcg -m 192m "${programs[@]}" "$small" -- sh -c 'mkdir -p /etc/ssh && echo key > /etc/ssh/ssh_host_rsa_key && sleep 1000' > /dev/null
for ((i = 0; i < 300; ++i)); do layerboot exec keys -- ls /etc/ssh/ssh_host_rsa_key > /dev/null 2>&1 && break || sleep 0.2; done
layerboot stop keys > /dev/null
layerboot commit -q --oci-mount "$oci_mount" --keep-identity keys keys:1 > /dev/null
layerboot rm keys > /dev/null
same "the base's key" "$("$oci_mount" -q cat keys:1 /etc/ssh/ssh_host_rsa_key)" key
printf 'FROM keys:1\nRUN rm /etc/ssh/ssh_host_rsa_key\n' > "$context/Containerfile"
build_vm -t keys:2 > "$state/out" 2> "$state/err" || fail "$(cat "$state/err")"
same "the base's key, once removed" "$("$oci_mount" -q ls keys:2 /etc/ssh)" ""

# Stopped while a RUN goes on, by Ctrl-C and by a KILL, after which the next build clears up.
# An image is mounted meanwhile.
printf 'FROM %s\nRUN true\nCOPY --from=%s /etc /copied\nRUN echo sleeping; sleep 1000\n' "$small" "$small" > "$context/Containerfile"
begin() {
  # A shell without job control has its jobs ignore the signal.
  env --default-signal=INT "$build/launcher/layerboot" build --vm --oci-mount "$oci_mount" "$context" -- "${programs[@]}" --accel tcg > "$state/out" 2> "$state/err" &
  building=$!
  for ((i = 0; i < 600; ++i)); do grep -q '^sleeping' "$state/err" && return || sleep 0.2; done
  fail "the RUN does not begin: $(cat "$state/err")"
}
begin
grep -q "$state" /proc/mounts || fail "no image is mounted, which was to be shown"
kill -INT $building
status=0
wait $building || status=$?
same "the status" $status 130
nothing_left
no_mounts
begin
kill -KILL $building
wait $building || true
[ -n "$(layerboot ps --names)" ] || fail "no VM is left by a KILL, which was to be shown"
printf 'FROM %s\nRUN true\n' "$small" > "$context/Containerfile"
build_vm > "$state/out" 2> "$state/err" || fail "$(cat "$state/err")"
grep -q 'as before' "$state/err" || fail "done again: $(cat "$state/err")"
nothing_left
no_mounts
echo "passed: images built by VMs of themselves"
