#!/bin/bash
# Runs in the guest: what people do to a root file system, each part judged by content. Which parts, and in which
# order, the kernel's command line says: layerboot.workload=apt,git,…  Prints one line for each, "workload: PART ok" or
# "workload: PART FAILED", after what led to it, and at the end "workload: PASSED" if all were.
set -u
work=/root/work
mkdir -p $work

run_apt() {
  export DEBIAN_FRONTEND=noninteractive
  local packages before after
  packages=$(cat /srv/guest_packages)
  apt-get -q update || return 1
  before=$(dpkg-query -W)
  # shellcheck disable=SC2086 # a list of words
  apt-get -q -y install --no-install-recommends $packages || return 1
  [ -z "$(dpkg --audit)" ] || { dpkg --audit; return 1; }
  # Every file of what was installed has the content its package says (configuration aside).
  for package in $packages; do
    dpkg --verify "$package" | grep -v ' c ' && return 1
  done
  [ "$(python3 -c 'print(sum(range(10)))')" = 45 ] || return 1
  [ "$(vim --version | head -c 3)" = VIM ] || return 1
  # shellcheck disable=SC2086
  apt-get -q -y purge $packages || return 1
  apt-get -q -y -o APT::AutoRemove::SuggestsImportant=0 -o APT::AutoRemove::RecommendsImportant=0 autoremove --purge ||
    return 1
  after=$(dpkg-query -W)
  [ "$before" = "$after" ] || { echo "packages are left:"; diff <(echo "$before") <(echo "$after"); return 1; }
  [ ! -e /usr/bin/python3 ] && [ ! -e /usr/share/vim ] && [ -z "$(dpkg --audit)" ]
}

run_git() {
  export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
  local want
  rm -rf $work/repo $work/clone
  git init -q $work/repo && cp -a /usr/include/. $work/repo/ && git -C $work/repo add -A || return 1
  git -C $work/repo commit -qm one || return 1
  for round in 1 2 3; do
    find $work/repo -name '*.h' -path "*$round*" -exec sed -i "1i // round $round" {} +
    git -C $work/repo mv stdio.h "stdio$round.h" && git -C $work/repo mv "stdio$round.h" stdio.h || return 1
    git -C $work/repo commit -qam "round $round" || return 1
  done
  git clone -q --no-local $work/repo $work/clone || return 1
  git -C $work/clone gc -q --prune=now || return 1
  git -C $work/clone fsck --full || return 1
  [ -z "$(git -C $work/clone status --porcelain)" ] || return 1
  want=$(cd $work/repo && find . -path ./.git -prune -o -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)
  [ "$(cd $work/clone && find . -path ./.git -prune -o -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)" = "$want" ]
}

run_sqlite() {
  local db=$work/test.db writers=4 rows=50 pids=()
  rm -f $db*
  sqlite3 $db 'PRAGMA journal_mode=WAL; CREATE TABLE t(writer INTEGER, i INTEGER, data BLOB, PRIMARY KEY(writer, i));' ||
    return 1
  for writer in $(seq $writers); do
    for i in $(seq $rows); do
      echo "BEGIN IMMEDIATE; INSERT INTO t VALUES($writer, $i, zeroblob(3000)); UPDATE t SET data = randomblob(2000) WHERE i = $i; COMMIT;"
    done | sqlite3 -bail -cmd '.timeout 300000' -cmd 'PRAGMA wal_autocheckpoint=20;' $db > "$work/sqlite.$writer" 2>&1 &
    pids+=($!)
  done
  # Readers see whole transactions only.
  while kill -0 "${pids[@]}" 2> /dev/null; do
    sqlite3 -cmd '.timeout 300000' $db 'SELECT count(*) FROM t WHERE length(data) NOT IN (2000)' | grep -qx 0 || return 1
  done
  for pid in "${pids[@]}"; do wait "$pid" || { cat $work/sqlite.?; return 1; }; done
  # A writer that dies in the middle of a transaction leaves nothing of it.
  (echo "BEGIN IMMEDIATE; DELETE FROM t;"; echo ".shell kill -9 \$PPID") | sqlite3 $db
  echo 3 > /proc/sys/vm/drop_caches
  [ "$(sqlite3 $db 'PRAGMA integrity_check')" = ok ] && [ "$(sqlite3 $db 'SELECT count(*) FROM t')" = $((writers * rows)) ]
}

run_tree() {
  local lister
  rm -rf $work/tree && mkdir $work/tree && tar -C $work/tree -xf /srv/tree.tar || return 1
  sync && echo 3 > /proc/sys/vm/drop_caches
  (cd $work/tree && sha256sum --quiet -c /srv/tree.sums) || return 1
  [ "$(find $work/tree -type f | wc -l)" = "$(wc -l < /srv/tree.sums)" ] || return 1
  (while [ -d $work/tree ]; do find $work/tree -name '*.c' > /dev/null 2>&1; done) &
  lister=$!
  rm -rf $work/tree || return 1
  wait $lister
  [ ! -e $work/tree ] || return 1
  # What is not removed is listed exactly once each time, whatever goes meanwhile.
  mkdir $work/half && (cd $work/half && seq -f 'keep%g' 500 | xargs touch && seq -f 'gone%g' 500 | xargs touch) || return 1
  (cd $work/half && seq -f 'gone%g' 500 | xargs -n 10 rm) &
  lister=$!
  while kill -0 $lister 2> /dev/null; do
    # shellcheck disable=SC2010 # the listing itself is what is looked at
    [ "$(ls -f $work/half | grep ^keep | sort -u | wc -l) $(ls -f $work/half | grep -c ^keep)" = "500 500" ] || return 1
  done
  # shellcheck disable=SC2012
  wait $lister && [ "$(ls $work/half | wc -l)" = 500 ] && rm -rf $work/half
}

run_make() {
  local project=$work/project sum=0
  rm -rf $project && mkdir -p $project && cd $project || return 1
  for i in $(seq 24); do
    printf '#include <stdio.h>\n#include "all.h"\nint f%d(int x) { return x + %d; }\n' "$i" "$i" > "f$i.c"
    echo "int f$i(int);" >> all.h
    sum=$((sum + i))
  done
  { echo '#include <stdio.h>'; echo '#include "all.h"'; echo 'int main(void) { int s = 0;'
    for i in $(seq 24); do echo "s += f$i(0);"; done; printf '%s\n' 'printf("%d\n", s); return 0; }'; } > main.c
  printf 'objects := $(patsubst %%.c,%%.o,$(wildcard *.c))\nprogram: libf.a main.o\n\tgcc -o $@ main.o libf.a\nlibf.a: $(filter-out main.o,$(objects))\n\tar rcs $@ $^\n%%.o: %%.c all.h\n\tgcc -O1 -c -o $@ $<\n' > Makefile
  make -s -j2 program || return 1
  [ "$(./program)" = $sum ] || return 1
  make -q program || { echo "make finds work after all is built: times are wrong"; return 1; }
  touch f3.c && ! make -q program && make -s -j2 program && [ "$(./program)" = $sum ] && cd /
}

run_fsx() {
  local seed=${fsx_seed:-1}
  # One in the upper from birth, two at once, one that starts as a file of the image.
  /srv/workload_fsx $work/fsx.a "$seed" 1500 & local a=$!
  /srv/workload_fsx $work/fsx.b $((seed + 1)) 1500 & local b=$!
  /srv/workload_fsx /usr/lib/x86_64-linux-gnu/libc.a $((seed + 2)) 500 & local c=$!
  wait $a && wait $b && wait $c
}

run_overlay() {
  local top=$work/overlay
  umount $work/overlay/merged 2> /dev/null
  rm -rf $top && mkdir -p $top/upper $top/work $top/merged || return 1
  mount -t overlay overlay -o lowerdir=/usr/include,upperdir=$top/upper,workdir=$top/work $top/merged || return 1
  (cd $top/merged && echo changed > stdio.h && rm stdlib.h && mv linux linux2 && rm -r asm-generic && mkdir asm-generic &&
    touch asm-generic/new && ln stdio.h stdio2.h && setfattr -n trusted.overlay.mine -v x stdio.h 2> /dev/null
    mv string.h string2.h && chmod 600 math.h && chown 5:6 math.h) || return 1
  local before after
  list() { (cd $top/merged && find . -printf '%P %y %m %U %G %l\n' | sort && find . -type f -print0 | sort -z | xargs -0 sha256sum); }
  before=$(list | sha256sum)
  umount $top/merged && echo 3 > /proc/sys/vm/drop_caches || return 1
  mount -t overlay overlay -o lowerdir=/usr/include,upperdir=$top/upper,workdir=$top/work $top/merged || return 1
  after=$(list | sha256sum)
  [ "$before" = "$after" ] || { echo "another mount shows another tree"; return 1; }
  [ ! -e $top/merged/stdlib.h ] && [ -c $top/upper/stdlib.h ] && [ -e $top/merged/linux2/fs.h ] || return 1
  [ "$(ls $top/merged/asm-generic)" = new ] && [ "$(getfattr -n trusted.overlay.opaque --only-values $top/upper/asm-generic)" = y ] ||
    return 1
  dmesg | grep overlayfs
  dmesg | grep -q 'overlayfs: .*\(not supported\|does not support\|falling back\)' && return 1
  umount $top/merged && rm -rf $top
}

run_full() {
  local used
  sync
  used=$(df -B1 --output=used / | tail -1)
  fallocate -l $(($(df -B1 --output=avail / | tail -1) - (8 << 20))) $work/big || return 1
  # The write that does not fit is the one that fails, not a later one or the close.
  dd if=/dev/zero of=$work/rest bs=64k count=1000 2> $work/dd.log && return 1
  grep -q 'No space left' $work/dd.log || { cat $work/dd.log; return 1; }
  [ "$(df -B1 --output=avail / | tail -1)" -lt $((128 << 10)) ] || return 1
  rm $work/rest || return 1
  head -c 1M /dev/zero > $work/again || { echo "what was freed is not there"; return 1; }
  rm $work/big $work/again $work/dd.log && sync || return 1
  local now
  now=$(df -B1 --output=used / | tail -1)
  echo "used before $used, after $now"
  [ $((now - used)) -lt $((1 << 20)) ]
}

# Of a VM with --writeback.
run_kept() {
  local writer
  mkfifo $work/go
  # Nothing here may close a copy of its output, not even a child's: closing sends what is kept.
  (
    exec > $work/kept
    for ((count = 1; count <= 500; ++count)); do echo "line $count"; done
    : 3> $work/written
    read -r < $work/go
  ) & writer=$!
  until [ -e $work/written ]; do sleep 0.1; done
  # Nobody has been asked for room yet, and nobody takes what is only here for a hole.
  [ "$(stat -c %b $work/kept)" = 0 ] || { echo "it is not kept here"; return 1; }
  cp --sparse=auto $work/kept $work/copy && cmp $work/kept $work/copy || return 1
  [ "$(tail -n 1 $work/copy)" = "line 500" ] || return 1
  echo > $work/go
  wait $writer
  [ "$(stat -c %b $work/kept)" = 16 ] || { echo "closed, it has $(stat -c %b $work/kept) blocks"; return 1; }
  # Times that were set stay.
  touch -d @1000000000 $work/kept && sync && echo 3 > /proc/sys/vm/drop_caches
  [ "$(stat -c %Y $work/kept)" = 1000000000 ] || return 1
  # A full disk is told when the file is synced or closed.
  fallocate -l $(($(df -B1 --output=avail / | tail -1) - (8 << 20))) $work/big || return 1
  dd if=/dev/zero of=$work/rest bs=64k count=1000 conv=fsync 2> $work/dd.log && return 1
  grep -q 'No space left' $work/dd.log || { cat $work/dd.log; return 1; }
  rm $work/rest && ! head -c 16M /dev/zero > $work/rest || { echo "close says that it fits"; return 1; }
  rm $work/rest $work/big $work/kept $work/copy $work/written $work/go && sync
}

parts=$(sed -n 's/.*layerboot\.workload=\([a-z,]*\).*/\1/p' /proc/cmdline)
fsx_seed=$(sed -n 's/.*layerboot\.seed=\([0-9]*\).*/\1/p' /proc/cmdline)
failed=
# A line of its own, whatever else the console has just been told.
say() { printf '\nworkload: %s\n' "$*"; }
for part in ${parts//,/ }; do
  start=$SECONDS
  if "run_$part" > /run/workload.log 2>&1 < /dev/null; then
    say "$part ok ($((SECONDS - start)) s)"
  else
    tail -40 /run/workload.log
    say "$part FAILED ($((SECONDS - start)) s)"
    failed=1
  fi
done
rm -rf $work
sync
dmesg --level err,crit,alert,emerg | tail -5
# Enough that one in a hundred of them is more than what systemd makes and removes while it goes down.
mkdir /var/many
(cd /var/many && seq 3000 | xargs touch)
sync
say "used $(df -B1 --output=used / | tail -1) inodes $(df --output=iused / | tail -1 | tr -d ' ')"
[ -n "$failed" ] || say PASSED
