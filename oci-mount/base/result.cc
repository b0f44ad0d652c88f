#include "oci-mount/base/result.h"

#include <system_error>

namespace layerboot {

std::string Error::describe() const { return text.empty() ? std::generic_category().message(code) : text; }

}  // namespace layerboot
