#include "oci-mount/base/identity_names.h"

#include <gtest/gtest.h>

namespace layerboot {
namespace {

TEST(IdentityNames, AreWhatNoTwoMachinesShare) {
  for (const char* path :
       {"/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key", "/etc/ssh/ssh_host_rsa_key.pub",
        "/var/lib/systemd/random-seed", "/run/x", "/run/a/b", "/tmp/.hidden"})
    EXPECT_TRUE(belongs_to_one_machine(path)) << path;
}

TEST(IdentityNames, AreNotWhatLooksAlike) {
  for (const char* path : {"/", "/run", "/tmp", "/runs/x", "/var/tmp/x", "/etc/machine-id.bak", "/machine-id",
                           "/etc/ssh/ssh_host_key_of/x", "/etc/ssh/ssh_config", "/srv/etc/machine-id"})
    EXPECT_FALSE(belongs_to_one_machine(path)) << path;
}

}  // namespace
}  // namespace layerboot
