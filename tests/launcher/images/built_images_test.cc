#include "launcher/images/built_images.h"

#include <gtest/gtest.h>

namespace layerboot::launcher {
namespace {

TEST(NeededLibraries, AreOfTheProgramsWithTheirVersions) {
  const std::set<std::string> wanted = {"libc.so.6", "libc.so.6 (GLIBC_2.36)", "libz.so.1",
                                        "libz.so.1 (ZLIB_1.2.2)"};
  EXPECT_EQ(needed_libraries("\tlinux-vdso.so.1 (0x00007f)\n"
                             "\tlibz.so.1 => /lib/libz.so.1 (0x00007f)\n"
                             "\tlibc.so.6 => /lib/libc.so.6 (0x00007f)\n"
                             "\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n"
                             "\n"
                             "\tVersion information:\n"
                             "\t/usr/bin/vfsd:\n"
                             "\t\tlibz.so.1 (ZLIB_1.2.2) => /lib/libz.so.1\n"
                             "\t\tlibc.so.6 (GLIBC_2.36) => /lib/libc.so.6\n"
                             "\t/lib/libz.so.1:\n"
                             "\t\tlibc.so.6 (GLIBC_2.14) => /lib/libc.so.6\n",
                             {"/usr/bin/vfsd"}),
            wanted)
      << "and not what a library needs, which comes with it";
}

TEST(NeededLibraries, AreThoseOfSeveralPrograms) {
  const std::set<std::string> wanted = {"liba.so.1", "libb.so.2 (B_2)", "libb.so.2"};
  EXPECT_EQ(needed_libraries("/a:\n\tliba.so.1 => /lib/liba.so.1 (0x1)\n"
                             "/b:\n\tlibb.so.2 => /lib/libb.so.2 (0x1)\n\n\tVersion information:\n"
                             "\t/b:\n\t\tlibb.so.2 (B_2) => /lib/libb.so.2\n",
                             {"/a", "/b"}),
            wanted);
}

}  // namespace
}  // namespace layerboot::launcher
