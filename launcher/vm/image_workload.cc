#include "launcher/vm/image_workload.h"

#include "guest-init/records.h"
#include "oci-mount/store/image.h"

namespace layerboot::launcher {

Result<guest_init::ImageWorkload> image_workload(const StateDirs& dirs, std::string_view image,
                                                 const store::Platform& platform) {
  LB_ASSIGN(const store::Image opened, store::open_image(image, dirs, {.platform = platform}));
  const store::ImageConfig& config = opened.config;
  guest_init::ImageWorkload workload{.entrypoint = config.entrypoint,
                                     .command = config.cmd,
                                     .environment = config.env,
                                     .user = config.user,
                                     .directory = config.working_dir,
                                     .volumes = config.volumes,
                                     .stop_signal = config.stop_signal};
  if (!guest_init::decode_records(guest_init::encode_workload(workload))) {
    return fail(E2BIG, image, ": its configuration has more commands and variables than ",
                guest_init::kMaxRecordsBytes, " bytes");
  }
  return workload;
}

}  // namespace layerboot::launcher
