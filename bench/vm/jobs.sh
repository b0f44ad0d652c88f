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
  if "$@" > /run/bench.log 2>&1; then say "$name" $(($(now) - begin)); else say "failed $name: $(tail -n 1 /run/bench.log)"; fi
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

cold
job find-cold bash -c 'find /usr /etc /var -xdev -printf %s%m > /dev/null'
job find-warm bash -c 'find /usr /etc /var -xdev -printf %s%m > /dev/null'
cold
job read-cold bash -c 'cat /usr/bin/[a-m]* > /dev/null 2>&1; true'
job read-warm bash -c 'cat /usr/bin/[a-m]* > /dev/null 2>&1; true'

mkdir -p /jobs
job untar bash -c 'tar -C /jobs -xf /bench/tree.tar && sync -f /jobs'
cold
job git-status-cold git -C /jobs/tree status --porcelain
job git-status-warm git -C /jobs/tree status --porcelain
job compile make -s -C /bench/source clean all
job sqlite bash -c 'sqlite3 /jobs/db < /bench/insert.sql && sync -f /jobs'
job apt-get bash -c 'DEBIAN_FRONTEND=noninteractive apt-get -qq -o APT::Sandbox::User=root install --yes --no-install-recommends /bench/debs/*.deb'
job rm-rf bash -c 'rm -rf /jobs/tree && sync -f /jobs'

# fio: one program for all its jobs, which costs an emulated guest less than one for each. It drops the file from the
# page cache before each of them. Terse version 3: field 3 is the name, 7 and 48 are KiB/s, 8 and 49 operations per second.
head -c 16M /bench/random > /jobs/file && sync
cold
jobs=() fields=()
add_fio() { # NAME RW BLOCK DIRECT FIELD
  jobs+=(--name="$1" --stonewall --filename=/jobs/file --size=16M --rw="$2" --bs="$3" --direct="$4" --ioengine=psync
    --runtime=2 --time_based --randrepeat=1)
  fields+=("$5")
}
for direct in 0 1; do
  kind=$([ $direct = 1 ] && echo direct || echo buffered)
  add_fio "randread-4k-$kind" randread 4k $direct 8
  add_fio "randwrite-4k-$kind" randwrite 4k $direct 49
  add_fio "read-1m-$kind" read 1M $direct 7
  add_fio "write-1m-$kind" write 1M $direct 48
done
mapfile -t lines < <(fio --thread --terse-version=3 --minimal "${jobs[@]}" 2> /run/bench.log | grep '^3;')
[ ${#lines[@]} = ${#fields[@]} ] || say "failed fio: $(tail -n 1 /run/bench.log)"
for i in "${!lines[@]}"; do
  say "fio-$(cut -d';' -f3 <<< "${lines[i]}")" "$(cut -d';' -f"${fields[i]}" <<< "${lines[i]}")"
done
echo kept > /jobs/kept
sync
say "done" 0
# The host looks at the memory before it lets us go.
sleep 3
systemctl poweroff
