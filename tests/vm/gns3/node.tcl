# An appliance as a GNS3 server starts it: QEMU on linked clones, with the arguments that the server makes of the description
# (gns3server/compute/qemu/qemu_vm.py). Sourced, with $layerboot, $guest_init, $state (a directory) and $out (the appliances') set.

proc jq {query file} { return [exec jq -r $query $file] }

# The disk that a description has for `role`.
proc disk_of {role description} {
  global out
  return $out/[jq .versions\[0\].images.${role}_disk_image $description]
}

# A linked clone of `disk`, as GNS3 makes one for each node.
proc clone_of {disk clone} { exec qemu-img create -q -f qcow2 -b $disk -F qcow2 $clone }

# Each file once, there, with its size and sum; each version names files of the list, and the list no other.
proc check_files {out file} {
  set listed [lsort [split [jq {.images[].filename} $file] "\n"]]
  if {[lsort -unique $listed] != $listed} { fail "$file lists a file twice" }
  if {[lsort [split [jq {.versions[0].images[]} $file] "\n"]] != $listed} { fail "$file lists other files than it uses" }
  foreach name $listed {
    set entry ".images\[\] | select(.filename == \"$name\")"
    if {[jq "$entry | .filesize" $file] != [file size $out/$name]} { fail "$name has another size" }
    if {[jq "$entry | .md5sum" $file] != [lindex [exec md5sum $out/$name] 0]} { fail "$name has another sum" }
  }
}

proc export_appliance {args} {
  global layerboot guest_init state out
  exec timeout 900 $layerboot export gns3 {*}$args -q -o $out --guest-init $guest_init 2>@1
}

# Starts a node on a disk of its own, as GNS3 would; sets spawn_id to its serial line.
proc start_node {name description clone serial monitor nics} {
  global out state spawn_id qemu_pid
  set machine [expr {[jq .registry_version $description] == 4 ? ".qemu" : ".settings\[0\].template_properties"}]
  set images ".versions\[0\].images"
  set disks {}
  set number 0
  set modules $state/$name-modules.qcow2
  if {![file exists $modules]} { clone_of [disk_of hdb $description] $modules }
  set attached [list $clone $modules]
  # SATA disks get their names as they answer: here the modules have the better chance to be the first.
  if {[jq $machine.hda_disk_interface $description] == "sata"} { set attached [lreverse $attached] }
  foreach disk $attached {
    set drive "file=$disk,index=$number,media=disk,id=drive$number"
    switch [jq $machine.hda_disk_interface $description] {
      virtio { lappend disks -drive $drive,if=virtio }
      ide { lappend disks -drive $drive,if=ide }
      scsi { lappend disks -device virtio-scsi-pci,id=scsi$number -drive $drive,if=none -device scsi-hd,drive=drive$number }
      sata { lappend disks -device ahci,id=ahci$number -drive $drive,if=none \
               -device ide-hd,drive=drive$number,bus=ahci$number.0,id=disk$number }
      default { fail "an interface that this test does not know" }
    }
    incr number
  }
  set options [string map [list %vm-name% $name] [jq $machine.options $description]]
  exec qemu-system-x86_64 -name $name -m [jq $machine.ram $description]M -smp cpus=[jq $machine.cpus $description] \
    -machine accel=tcg -boot order=c {*}$disks -uuid [exec cat /proc/sys/kernel/random/uuid] \
    -serial telnet:127.0.0.1:$serial,server,nowait -monitor tcp:127.0.0.1:$monitor,server,nowait -net none {*}$nics \
    -kernel $out/[jq $images.kernel_image $description] -initrd $out/[jq $images.initrd $description] \
    -append [jq $machine.kernel_command_line $description] {*}[split $options] -display none \
    -pidfile $state/$name.pid > $state/$name.log 2>@1 &
  for {set i 0} {$i < 600 && [catch {set line [socket 127.0.0.1 $serial]}]} {incr i} { after 100 }
  if {![info exists line]} { fail "QEMU of $name does not listen: [exec cat $state/$name.log]" }
  fconfigure $line -translation binary -blocking 0
  spawn -open $line
  return $spawn_id
}

# HMP's system_powerdown, and QEMU's end. GNS3 kills after 120 s; this machine may be slower.
proc press_power {name monitor} {
  global state
  set pid [string trim [exec cat $state/$name.pid]]
  set line [socket 127.0.0.1 $monitor]
  puts $line system_powerdown
  flush $line
  for {set i 0} {$i < 6000 && ![catch {exec kill -0 $pid}]} {incr i} { after 100 }
  close $line
  if {$i == 6000} { fail "$name does not end by ACPI" }
}

proc expect_said {node command wanted} {
  global spawn_id
  set spawn_id $node
  set said [string trim [guest $command]]
  if {$said != $wanted} { fail "$command: '$said', not '$wanted'" }
}
