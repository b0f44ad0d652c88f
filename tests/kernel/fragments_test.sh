#!/bin/bash
# fragments_test.sh KERNEL_DIR: each line of the configuration fragments is an option, set once, with its reason.
set -euo pipefail
cd "$1"
bad=$(grep -nHvE '^(# .+|CONFIG_[A-Z0-9_]+=(y|m|n|[0-9]+|"[^"]*") +# .{4,})$' -- *.config || true)
[ -z "$bad" ] || { printf 'FAILED: no option with a reason:\n%s\n' "$bad"; exit 1; }
twice=$(sed -n 's/^\(CONFIG_[A-Z0-9_]*\)=.*/\1/p' -- *.config | sort | uniq -d)
[ -z "$twice" ] || { printf 'FAILED: set twice:\n%s\n' "$twice"; exit 1; }
# What a boot without an initrd hangs on.
for option in VIRTIO_PCI VIRTIO_FS VIRTIO_BLK EXT4_FS SERIAL_8250_CONSOLE DEVTMPFS_MOUNT PVH; do
  grep -q "^CONFIG_$option=y " -- *.config || { echo "FAILED: $option is not built in"; exit 1; }
done
# The test fails when it should.
printf 'CONFIG_X=y\n' | grep -qE '^CONFIG_[A-Z0-9_]+=(y|m|n) +# .{4,}$' && exit 1
echo "PASSED: $(cat -- *.config | grep -c '^CONFIG_') options"
