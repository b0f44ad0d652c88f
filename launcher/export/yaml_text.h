// JSON as YAML that people read. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace layerboot::launcher {

/// The object in block style, its members in their order, texts in quotes as JSON has them, which are YAML's
/// as well (YAML 1.2, 7.3.1).
std::string yaml_text(const nlohmann::ordered_json& object);

}  // namespace layerboot::launcher
