#include "launcher/cli/cp_command.h"

#include <gtest/gtest.h>

namespace layerboot::launcher {
namespace {

TEST(CopyEnd, IsAVmsOrAPathHere) {
  EXPECT_EQ(parse_copy_end("web:/etc/hosts"), (CopyEnd{.vm = "web", .path = "/etc/hosts"}));
  EXPECT_EQ(parse_copy_end("web:a:b"), (CopyEnd{.vm = "web", .path = "a:b"}));
  for (const char* here : {"/a:b", "./a:b", "file", "-", "../x:y", ":x", "not a name:x"}) {
    EXPECT_EQ(parse_copy_end(here), (CopyEnd{.vm = "", .path = here})) << here;
  }
}

}  // namespace
}  // namespace layerboot::launcher
