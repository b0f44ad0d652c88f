// libext2fs's header. From e2fsprogs 1.47.2 on (Debian 13) it defines `clamp` as a macro, which no header of
// the standard library behind it outlives: so nobody includes it otherwise.
#pragma once

#include <ext2fs/ext2fs.h>

#undef clamp
