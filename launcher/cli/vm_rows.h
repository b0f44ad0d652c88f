// What lists of VMs say of each.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/cli/list_filter.h"
#include "launcher/cli/list_template.h"
#include "launcher/cli/options.h"
#include "launcher/vm/vm_list.h"

namespace layerboot::launcher {

struct VmRow {
  VmView vm;
  bool whole_names = false;
};

/// For templates.
std::span<const ListField<VmRow>> vm_fields();

/// EINVAL for one that is none.
Result<std::vector<ListFilter>> parse_vm_filters(const std::vector<std::string>& texts);
/// That the filters and the template of `options` are ones.
Result<void> check_vm_list(Options& options);
/// Whether the VM passes all of the filters: those of one key are alternatives.
bool passes_filters(const VmView& vm, const std::vector<ListFilter>& filters);
/// Whether the filters ask for VMs that do not run, too.
bool filters_want_stopped(const std::vector<ListFilter>& filters);

/// The columns of `ps`; the first row is the heading.
std::vector<std::string> vm_heading();
std::vector<std::string> vm_cells(const VmRow& row);

/// What the VM has written, where that is known without a walk through all of it; null elsewhere.
nlohmann::json used_bytes_of(const VmView& vm);
/// "running 5 min", "stopped (exit 3) 2 h ago".
std::string state_text(const VmView& vm);

}  // namespace layerboot::launcher
