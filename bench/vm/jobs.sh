#!/bin/bash
# Runs inside the guest, once it has booted: each job's figure as a line `BENCH NAME VALUE` on the console, then
# power off. Times are in milliseconds, throughput in operations or KiB per second.
cd /
export LC_ALL=C
say() { echo "BENCH $*" > /dev/console; }
now() { echo $((${EPOCHREALTIME/./} / 1000)); }
# job NAME COMMAND…: its time, or nothing and a word of failure
job() {
  local name=$1 begin
  shift
  begin=$(now)
  if "$@" > /bench/log 2>&1; then say "$name" $(($(now) - begin)); else say "failed $name: $(tail -n 1 /bench/log)"; fi
}
cold() { sync; echo 3 > /proc/sys/vm/drop_caches; }
for _ in $(seq 100); do systemctl is-system-running --quiet --wait && break; systemctl list-jobs | grep -q "No jobs" && break; sleep 1; done
times=$(systemd-analyze time | head -n 1)
# "Startup finished in 6.505s (kernel) + 1min 25.229s (userspace) = …"
seconds() { sed -n "s/.* \(\([0-9]*\)min \)\?\([0-9.]*\)\(m\?\)s ($1).*/\2 \3 \4/p" <<< "${times/in/in }" | awk '{ if (NF == 1) print $1 * 1000; else if ($2 == "m") print $1; else print ($1 * 60 + $2) * 1000 }'; }
say boot-kernel "$(seconds kernel | cut -d. -f1)"
say boot-userspace "$(seconds userspace | cut -d. -f1)"
# The kernel's part, up to the initrd; boot-kernel counts both.
say boot-before-initrd "$(dmesg | sed -n 's/^\[ *\([0-9]*\)\.\([0-9]\{3\}\).*Run \/init as init process.*/\1\2/p' | sed 's/^0*//')"

job find-cold bash -c 'find / -xdev > /dev/null'
job find-warm bash -c 'find / -xdev > /dev/null'
cold
job stat-cold bash -c 'find /usr -xdev -printf %s%m > /dev/null'
cold
job read-cold bash -c 'cat /usr/bin/* > /dev/null 2>&1; true'
job read-warm bash -c 'cat /usr/bin/* > /dev/null 2>&1; true'

mkdir -p /jobs
job untar bash -c 'tar -C /jobs -xf /bench/tree.tar && sync -f /jobs'
cd /jobs/tree && git init -q . > /dev/null 2>&1 && git -c core.fsync=none add -A > /dev/null 2>&1 && git -c user.name=b -c user.email=b@b commit -qm all > /dev/null 2>&1
cold
job git-status-cold git status --porcelain
job git-status-warm git status --porcelain
cd /
job compile make -s -C /bench/source clean all
job sqlite bash -c 'sqlite3 /jobs/db < /bench/insert.sql && sync -f /jobs'
job apt-get bash -c 'DEBIAN_FRONTEND=noninteractive apt-get -qq -o APT::Sandbox::User=root install --yes --no-install-recommends /bench/debs/*.deb'
job rm-rf bash -c 'rm -rf /jobs/tree && sync -f /jobs'

# fio: the figure of interest in its terse version 3: field 7 and 48 are KiB/s, 8 and 49 operations per second.
fallocate -l 32M /jobs/file && dd if=/dev/urandom of=/jobs/file bs=1M count=32 conv=notrunc status=none && sync
fio_job() { # NAME RW BLOCK DIRECT FIELD
  cold
  local line
  line=$(fio --name=j --filename=/jobs/file --size=32M --rw="$2" --bs="$3" --direct="$4" --ioengine=psync --runtime=1 \
    --time_based --terse-version=3 --minimal --randrepeat=1 2> /bench/log | grep '^3;')
  if [ -n "$line" ]; then say "fio-$1" "$(cut -d';' -f"$5" <<< "$line")"; else say "failed fio-$1: $(tail -n 1 /bench/log)"; fi
}
for direct in 0 1; do
  kind=$([ $direct = 1 ] && echo direct || echo buffered)
  fio_job "randread-4k-$kind" randread 4k $direct 8
  fio_job "randwrite-4k-$kind" randwrite 4k $direct 49
  fio_job "read-1m-$kind" read 1M $direct 7
  fio_job "write-1m-$kind" write 1M $direct 48
done
echo kept > /jobs/kept
sync
say "done" 0
# The host looks at the memory before it lets us go.
sleep 8
systemctl poweroff
