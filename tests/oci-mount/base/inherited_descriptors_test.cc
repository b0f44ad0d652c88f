#include "oci-mount/base/inherited_descriptors.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oci-mount/base/unique_fd.h"

namespace layerboot {
namespace {

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

// In a process of its own: what the test's program has from others is closed, too.
TEST(InheritedDescriptors, AreClosedAndNothingElse) {
  const UniqueFd strays(::open("/", O_RDONLY | O_DIRECTORY));
  ASSERT_TRUE(strays);
  const pid_t child = ::fork();
  if (child == 0) {
    note_inherited_descriptors();
    const int own = ::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    close_inherited_descriptors();
    const bool right = own > STDERR_FILENO && is_open(own) && !is_open(strays.get());
    // A number that is another's by now.
    const int next = ::dup2(own, strays.get());
    close_inherited_descriptors();
    ::_exit(right && next == strays.get() && is_open(next) ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace layerboot
