#include "launcher/export/kubernetes_set.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "launcher/export/yaml_text.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/size.h"

namespace layerboot::launcher {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t kGib = std::uint64_t{1} << 30;
/// Whoever it is on the nodes: the same for all, so that a claim fits each pod.
constexpr unsigned kUser = 1000;
/// The launcher's own: 90 s for the guest, 30 s for the daemon, and some to spare.
constexpr unsigned kGraceSeconds = 130;
constexpr unsigned kProbeSeconds = 10;
/// Of an emulated guest's first boot: 15 min.
constexpr unsigned kStartProbes = 90;
constexpr unsigned kLiveProbes = 6;
constexpr std::size_t kMaxLabelBytes = 63;
/// A pod's controller-revision-hash is the set's name, a '-' and up to ten digits, and has to be a label.
constexpr std::size_t kMaxNameBytes = kMaxLabelBytes - 11;

/// RFC 1123's label, which names of Services have to be in older clusters.
bool is_label(std::string_view text) {
  const bool plain = std::ranges::all_of(
      text, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
  return plain && !text.empty() && text.size() <= kMaxLabelBytes && text.front() >= 'a' &&
         text.front() <= 'z' && text.back() != '-';
}

std::string mib_text(std::uint64_t bytes) { return str_cat((bytes + kMib - 1) / kMib, "Mi"); }

Json labels(const KubernetesSet& set) { return {{"app.kubernetes.io/name", set.name}}; }

Json metadata(const KubernetesSet& set) {
  Json data = {{"name", set.name}};
  if (!set.space.empty()) data["namespace"] = set.space;
  data["labels"] = labels(set);
  return data;
}

/// Of the guest, each once: what leads there on a host is nothing of a pod's.
std::vector<PublishedPort> guest_ports(const std::vector<PublishedPort>& published) {
  std::vector<PublishedPort> ports;
  for (const PublishedPort& port : published) {
    const bool known = std::ranges::any_of(
        ports, [&](const PublishedPort& one) { return one.guest == port.guest && one.udp == port.udp; });
    if (!known) ports.push_back(port);
  }
  return ports;
}

/// A text that the kubelet takes as it is: "$(NAME)" is its to fill in, and "$$" its '$'.
std::string literal(std::string text) {
  for (std::size_t at = 0; (at = text.find('$', at)) != std::string::npos; at += 2) text.insert(at, "$");
  return text;
}

std::string port_name(const PublishedPort& port) { return str_cat(port.udp ? "udp-" : "tcp-", port.guest); }

Json service(const KubernetesSet& set) {
  Json spec = {{"clusterIP", "None"}, {"selector", labels(set)}};
  for (const PublishedPort& port : set.ports) {
    spec["ports"].push_back(
        {{"name", port_name(port)}, {"port", port.guest}, {"protocol", port.udp ? "UDP" : "TCP"}});
  }
  return {{"apiVersion", "v1"}, {"kind", "Service"}, {"metadata", metadata(set)}, {"spec", spec}};
}

/// Of `run`, for this set: what is needed is asked for, and nothing left to what a node happens to have.
std::string run_options(const KubernetesSet& set) {
  std::string words = str_cat("--cpus ", set.cpus, " --memory ", set.memory_bytes / kMib, "M --disk ",
                              set.disk_bytes / kMib, "M");
  words += set.kvm_resource.empty() ? " --accel tcg" : " --require-kvm";
  if (set.image_forwards) return words;
  for (const PublishedPort& port : set.ports)
    words += str_cat(" -p 0.0.0.0:", port.guest, ":", port.guest, port.udp ? "/udp" : "");
  return words;
}

/// Of variables of the same name the last counts, as in a guest.
Json environment(const KubernetesSet& set) {
  Json list = {{{"name", kOptionsVariable}, {"value", literal(run_options(set))}}};
  for (const std::string& variable : set.environment) {
    const auto equals = variable.find('=');
    const std::string name = variable.substr(0, equals);
    const std::string value = literal(equals == std::string::npos ? "" : variable.substr(equals + 1));
    const auto same = std::ranges::find_if(list, [&](const Json& one) { return one["name"] == name; });
    if (same == list.end()) {
      list.push_back({{"name", name}, {"value", value}});
    } else {
      (*same)["value"] = value;
    }
  }
  return list;
}

/// What every cluster takes; those of late take more.
bool is_variable_name(std::string_view name) {
  const auto is_letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-' || c == '.';
  };
  return !name.empty() && is_letter(name.front()) &&
         std::ranges::all_of(name, [&](char c) { return is_letter(c) || (c >= '0' && c <= '9'); });
}

Result<void> check_environment(const std::vector<std::string>& environment) {
  for (const std::string& variable : environment) {
    const std::string name = variable.substr(0, variable.find('='));
    if (name == kOptionsVariable)
      return fail(EINVAL, "the VM has a variable ", name,
                  " of its own, by which a packaged one is told its options");
    if (!is_variable_name(name))
      return fail(EINVAL, "'", printable(name), "' can't name a variable there: run the VM without it");
  }
  return {};
}

Json probe(unsigned failures) {
  return {{"exec", {{"command", {"layerboot", "exec", "--probe", "vm"}}}},
          {"periodSeconds", kProbeSeconds},
          {"timeoutSeconds", kProbeSeconds},
          {"failureThreshold", failures}};
}

Json resources(const KubernetesSet& set) {
  const std::string memory = mib_text(set.memory_bytes + vm_overhead_bytes(set.kvm_resource.empty()));
  Json limits = {{"memory", memory}};
  if (!set.kvm_resource.empty()) limits[set.kvm_resource] = "1";
  // No limit of processor time: a guest that is throttled loses its clock.
  return {{"requests", {{"cpu", std::to_string(set.cpus)}, {"memory", memory}}}, {"limits", limits}};
}

Json container(const KubernetesSet& set) {
  Json made = {{"name", "vm"}, {"image", set.image}};
  for (const std::string& word : set.command) made["args"].push_back(literal(word));
  made["stdin"] = true;
  made["tty"] = true;
  made["env"] = environment(set);
  for (const PublishedPort& port : set.ports) {
    made["ports"].push_back(
        {{"name", port_name(port)}, {"containerPort", port.guest}, {"protocol", port.udp ? "UDP" : "TCP"}});
  }
  made["resources"] = resources(set);
  made["startupProbe"] = probe(kStartProbes);
  made["readinessProbe"] = probe(1);
  made["livenessProbe"] = probe(kLiveProbes);
  made["volumeMounts"] = {{{"name", "state"}, {"mountPath", "/var/lib/layerboot"}}};
  made["securityContext"] = {{"allowPrivilegeEscalation", false},
                             {"readOnlyRootFilesystem", true},
                             {"capabilities", {{"drop", {"ALL"}}}}};
  return made;
}

Json pod_security(const KubernetesSet& set) {
  Json security = {{"runAsNonRoot", true},
                   {"runAsUser", kUser},
                   {"runAsGroup", kUser},
                   {"fsGroup", kUser},
                   {"fsGroupChangePolicy", "OnRootMismatch"},
                   {"seccompProfile", {{"type", "RuntimeDefault"}}},
                   // A guest's port 80 is the pod's, which this user opens.
                   {"sysctls", {{{"name", "net.ipv4.ip_unprivileged_port_start"}, {"value", "0"}}}}};
  if (set.kvm_group) security["supplementalGroups"] = {*set.kvm_group};
  return security;
}

/// For what the guest may write, and for what is kept beside it: logs, indexes of its layers.
Json claim(const KubernetesSet& set) {
  const std::uint64_t bytes = set.disk_bytes + set.disk_bytes / 20 + kGib;
  Json spec = {{"accessModes", {"ReadWriteOnce"}}};
  if (!set.storage_class.empty()) spec["storageClassName"] = set.storage_class;
  spec["resources"] = {{"requests", {{"storage", mib_text(bytes)}}}};
  return {{"metadata", {{"name", "state"}}}, {"spec", spec}};
}

Json stateful_set(const KubernetesSet& set) {
  const Json pod = {{"metadata", {{"labels", labels(set)}}},
                    {"spec",
                     {{"automountServiceAccountToken", false},
                      {"enableServiceLinks", false},
                      {"terminationGracePeriodSeconds", kGraceSeconds},
                      {"securityContext", pod_security(set)},
                      {"containers", Json::array({container(set)})}}}};
  return {{"apiVersion", "apps/v1"},
          {"kind", "StatefulSet"},
          {"metadata", metadata(set)},
          {"spec",
           {{"serviceName", set.name},
            {"replicas", set.replicas},
            // Each VM has a disk of its own, and none waits for another.
            {"podManagementPolicy", "Parallel"},
            {"selector", {{"matchLabels", labels(set)}}},
            {"template", pod},
            {"volumeClaimTemplates", Json::array({claim(set)})}}}};
}

}  // namespace

Result<std::string> kubernetes_manifests(const KubernetesSet& given) {
  KubernetesSet set = given;
  set.ports = guest_ports(given.ports);
  if (set.ports.size() > kMaxPublished)
    return fail(E2BIG, "more than ", kMaxPublished, " ports: a VM forwards no more");
  LB_TRY(check_environment(set.environment));
  if (!is_label(set.name) || set.name.size() > kMaxNameBytes) {
    return fail(EINVAL, "'", set.name, "' can't be a Service's name: give a --name of small letters, digits ",
                "and '-', at most ", kMaxNameBytes, ", that begins with a letter");
  }
  if (!set.space.empty() && !is_label(set.space)) return fail(EINVAL, "'", set.space, "' is no namespace");
  return str_cat(yaml_text(service(set)), "---\n", yaml_text(stateful_set(set)));
}

}  // namespace layerboot::launcher
