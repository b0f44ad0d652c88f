#include "launcher/export/kubernetes_set.h"

#include <gtest/gtest.h>

#include "launcher/export/yaml_text.h"

namespace layerboot::launcher {
namespace {

KubernetesSet small_set() {
  KubernetesSet set;
  set.name = "web";
  set.image = "registry.example/web:1";
  set.disk_bytes = std::uint64_t{4} << 30;
  return set;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(YamlTextTest, WritesBlocks) {
  const auto object = nlohmann::ordered_json::parse(
      R"({"a":{"b":[{"c":1,"d":["x: y","#"]},[],{}]},"on":true,"net.ipv4/x":"yes","8":null,"e":[[1,2]]})");
  EXPECT_EQ(yaml_text(object),
            "a:\n"
            "  b:\n"
            "  - c: 1\n"
            "    d:\n"
            "    - \"x: y\"\n"
            "    - \"#\"\n"
            "  - []\n"
            "  - {}\n"
            "\"on\": true\n"
            "\"net.ipv4/x\": \"yes\"\n"
            "\"8\": null\n"
            "e:\n"
            "- - 1\n"
            "  - 2\n");
}

TEST(KubernetesSetTest, AsksForWhatAVmNeeds) {
  const auto text = kubernetes_manifests(small_set());
  ASSERT_TRUE(text.has_value());
  for (const char* part :
       {"squat.ai/kvm: \"1\"", "memory: \"1408Mi\"", "runAsNonRoot: true", "allowPrivilegeEscalation: false",
        "terminationGracePeriodSeconds: 130", "--cpus 1 --memory 1024M --disk 4096M --require-kvm",
        "storage: \"5325Mi\"", "clusterIP: \"None\""}) {
    EXPECT_TRUE(has(*text, part)) << part << "\n" << *text;
  }
  EXPECT_FALSE(has(*text, "privileged: true")) << *text;
}

TEST(KubernetesSetTest, EmulatesWhereThereIsNoKvm) {
  KubernetesSet set = small_set();
  set.kvm_resource.clear();
  const auto text = kubernetes_manifests(set);
  ASSERT_TRUE(text.has_value());
  EXPECT_TRUE(has(*text, "--accel tcg"));
  EXPECT_FALSE(has(*text, "squat.ai"));
}

TEST(KubernetesSetTest, GivesPortsAndVariables) {
  KubernetesSet set = small_set();
  set.ports = {{.guest = 80}, {.guest = 53, .udp = true}};
  set.environment = {"PRICE=$5", "EMPTY"};
  const auto text = kubernetes_manifests(set);
  ASSERT_TRUE(text.has_value());
  for (const char* part : {"name: \"udp-53\"", "containerPort: 80", "value: \"$$5\"", "-p 0.0.0.0:53:53/udp"})
    EXPECT_TRUE(has(*text, part)) << part << "\n" << *text;
}

TEST(KubernetesSetTest, LeavesNothingForTheKubeletToFillIn) {
  KubernetesSet set = small_set();
  set.command = {"sh", "-c", "echo $(HOME) $$ $x"};
  const auto text = kubernetes_manifests(set);
  ASSERT_TRUE(text.has_value());
  EXPECT_TRUE(has(*text, "- \"echo $$(HOME) $$$$ $$x\"")) << *text;
}

TEST(KubernetesSetTest, APortOfTheGuestIsThereOnce) {
  KubernetesSet set = small_set();
  set.ports = {{.host = 8080, .guest = 80}, {.host = 8081, .guest = 80}, {.guest = 80, .udp = true}};
  const auto text = kubernetes_manifests(set);
  ASSERT_TRUE(text.has_value());
  const auto count = [&](const std::string& part) {
    std::size_t number = 0;
    for (auto at = text->find(part); at != std::string::npos; at = text->find(part, at + 1)) ++number;
    return number;
  };
  EXPECT_EQ(count("name: \"tcp-80\""), 2U) << "of the Service, and of the container\n" << *text;
  EXPECT_EQ(count("-p 0.0.0.0:80:80"), 2U) << "tcp and udp\n" << *text;
  set.image_forwards = true;
  const auto by_itself = kubernetes_manifests(set);
  ASSERT_TRUE(by_itself);
  EXPECT_EQ(by_itself->find("-p "), std::string::npos) << *by_itself;
  EXPECT_NE(by_itself->find("containerPort: 80"), std::string::npos) << "and others are told all the same";
  set.image_forwards = false;
  set.ports.clear();
  for (std::uint16_t port = 1; port <= kMaxPublished + 1; ++port) set.ports.push_back({.guest = port});
  EXPECT_FALSE(kubernetes_manifests(set).has_value());
}

TEST(KubernetesSetTest, AVariableIsThereOnceAndHasAName) {
  KubernetesSet set = small_set();
  set.environment = {"A=1", "B=2", "A=3"};
  const auto text = kubernetes_manifests(set);
  ASSERT_TRUE(text.has_value());
  EXPECT_TRUE(has(*text, "- name: \"A\"\n          value: \"3\"")) << *text;
  EXPECT_FALSE(has(*text, "value: \"1\"")) << *text;
  for (const char* bad : {"LAYERBOOT_OPTIONS=--cpus 9", "A B=1", "1A=1"}) {
    set.environment = {bad};
    EXPECT_FALSE(kubernetes_manifests(set).has_value()) << bad;
  }
}

TEST(KubernetesSetTest, RefusesNamesThatAreNone) {
  for (const char* name : {"", "Web", "1web", "web-", "a.b"}) {
    KubernetesSet set = small_set();
    set.name = name;
    EXPECT_FALSE(kubernetes_manifests(set).has_value()) << name;
  }
  // Kubernetes makes a label of 63 bytes at most of it and eleven of its own, or no pod (kubernetes#64023).
  KubernetesSet set = small_set();
  set.name = std::string(52, 'a');
  EXPECT_TRUE(kubernetes_manifests(set).has_value());
  set.name += 'a';
  ASSERT_FALSE(kubernetes_manifests(set).has_value());
  EXPECT_NE(kubernetes_manifests(set).error().text.find("at most 52"), std::string::npos);
}

}  // namespace
}  // namespace layerboot::launcher
