// What a machine needs and an image lacks, or has from another machine. Nothing of the image is edited but
// root's password, when one was given: files of ours in /run are put over those of the image.
#pragma once

#include "guest-init/workload.h"

namespace guest_init {

struct Gaps {
  bool systemd = false;  // the init that is to run
  bool stays = false;    // guest-init is the first process: nothing of the image's is started
};

/// REQUIRES: / is the image's root, /proc, /sys and /run are mounted, and no other program runs. What fails
/// is told of; the boot goes on.
void fill_gaps(const ImageWorkload& workload, const Gaps& gaps);

/// What the kernel runs this program for, where the image has no modprobe: `modprobe -q -- NAME`. The exit
/// code.
int run_as_modprobe(int count, char** arguments);
/// Whether this is it.
[[nodiscard]] bool is_modprobe(const char* program);

}  // namespace guest_init
