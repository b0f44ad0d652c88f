# shellcheck shell=bash
# Sourced. A file system to measure on that is like everyone's, whatever the host's own is: ext4 with a journal.
# Without one ext4 looks at every inode that was freed within the last minute each time it makes a file (recently_deleted()
# in fs/ext4/ialloc.c), so that a server is the slower the more files those before it have deleted; and syncfs(2) would
# write out what the host's other programs have written.

# own_disk DIRECTORY SIZE: mounts DIRECTORY.ext4, made where there is none, at DIRECTORY. Where that can't be done,
# DIRECTORY is a plain one, and it is said.
own_disk() {
  mkdir -p "$1"
  if mountpoint -q "$1"; then return 0; fi
  if [ ! -e "$1.ext4" ]; then
    truncate -s "$2" "$1.ext4.part"
    mkfs.ext4 -q -F "$1.ext4.part"
    mv "$1.ext4.part" "$1.ext4"
  fi
  mount -o loop,discard "$1.ext4" "$1" 2> /dev/null ||
    say "no loop device can be mounted here: measuring on $(stat -f -c %T "$1"), where making files may be slow after others were deleted"
}

# drop_own_disk DIRECTORY: unmounts it; its file is kept.
drop_own_disk() {
  if mountpoint -q "$1"; then umount "$1" 2> /dev/null || umount -l "$1"; fi
}
