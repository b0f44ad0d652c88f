// The appliance's description, against the published field lists of GNS3's registry (appliance_v4.json,
// appliance_v8.json) and the rules of its checks.py: nothing that they do not list, all that they require,
// words out of their lists.
#include "launcher/export/gns3_appliance.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <regex>
#include <set>

namespace layerboot::launcher {
namespace {

using nlohmann::json;
using Words = std::set<std::string>;

Gns3Appliance appliance() {
  Gns3Appliance made;
  made.name = "lab";
  made.image = "debian:12";
  made.version = "12";
  made.root = {"lab.qcow2", std::string(32, 'a'), 7};
  made.kernel = {"vmlinuz-6", std::string(32, 'b'), 8};
  made.initrd = {"initrd-6", std::string(32, 'c'), 9};
  made.modules = ApplianceFile{"modules.qcow2", std::string(32, 'd'), 10};
  return made;
}

json described(const Gns3Appliance& made, unsigned version) {
  const auto text = gns3_appliance_json(made, version);
  EXPECT_TRUE(text);
  return text ? json::parse(*text) : json();
}

void expect_members(const json& object, const Words& required, const Words& allowed) {
  for (const auto& name : required) EXPECT_TRUE(object.contains(name)) << name;
  for (const auto& [name, value] : object.items())
    EXPECT_TRUE(required.contains(name) || allowed.contains(name)) << name;
}

const Words kDisks = {"ide", "scsi", "sd", "mtd", "floppy", "pflash", "virtio", "sata"};

const Words kCategories = {"router", "multilayer_switch", "firewall", "guest"};
const Words kStates = {"stable", "experimental", "broken"};
const Words kPlatforms = {"aarch64", "alpha", "arm",     "i386",   "mips",   "mipsel",
                          "ppc",     "ppc64", "sparc64", "x86_64", "x86_64w"};
const Words kAdapters = {"e1000",  "e1000-82544gc", "e1000-82545em", "e1000e",         "i82550",
                         "i82551", "i82557b",       "i82559er",      "ne2k_pci",       "pcnet",
                         "rocker", "rtl8139",       "virtio",        "virtio-net-pci", "vmxnet3"};

bool fits(const json& text, const char* pattern) {
  return text.is_string() && std::regex_match(text.get<std::string>(), std::regex(pattern));
}

void expect_head(const json& whole, unsigned version) {
  EXPECT_TRUE(
      fits(whole["appliance_id"], "[a-f0-9]{8}-[a-f0-9]{4}-8[a-f0-9]{3}-[89ab][a-f0-9]{3}-[a-f0-9]{12}"))
      << whole["appliance_id"];
  EXPECT_TRUE(kCategories.contains(whole["category"]));
  EXPECT_TRUE(kStates.contains(whole["status"]));
  EXPECT_EQ(whole["registry_version"], version);
  for (const char* uri : {"vendor_url"}) EXPECT_TRUE(fits(whole[uri], "https?://.+")) << uri;
  EXPECT_TRUE(fits(whole["maintainer_email"], "[^@ ]+@[^@ ]+"));
}

void expect_machine(const json& machine) {
  EXPECT_TRUE(kAdapters.contains(machine["adapter_type"]));
  for (const char* number : {"adapters", "ram", "cpus"})
    EXPECT_TRUE(machine[number].is_number_unsigned()) << number;
  EXPECT_TRUE(kDisks.contains(machine["hda_disk_interface"]));
  EXPECT_TRUE(kDisks.contains(machine["hdb_disk_interface"]));
  EXPECT_TRUE((Words{"power_off", "shutdown_signal", "save_vm_state"}.contains(machine["on_close"])));
  EXPECT_TRUE((Words{"telnet", "vnc", "spice", "none"}.contains(machine["console_type"])));
  const std::string options = machine["options"];
  for (const char* refused : {"-blockdev", "-drive", "-hd", "-fsdev", "-virtfs", "-nic", "-netdev"})
    EXPECT_EQ(options.find(refused), std::string::npos) << "GNS3 refuses it";
}

void expect_files(const json& whole) {
  Words listed;
  for (const auto& file : whole["images"]) {
    expect_members(file, {"filename", "version", "md5sum", "filesize"}, {});
    EXPECT_TRUE(listed.insert(file["filename"]).second) << "twice";
    EXPECT_TRUE(fits(file["md5sum"], "[a-f0-9]{32}")) << file["md5sum"];
    EXPECT_TRUE(file["filesize"].is_number_unsigned());
  }
  Words used;
  for (const auto& version : whole["versions"]) {
    for (const auto& [role, file] : version["images"].items()) used.insert(file);
  }
  EXPECT_EQ(used, listed);
}

const Words kHead = {"appliance_id", "name",       "category",        "description",
                     "vendor_name",  "vendor_url", "product_name",    "registry_version",
                     "status",       "maintainer", "maintainer_email"};

TEST(Gns3Appliance, Version4) {
  const json whole = described(appliance(), 4);
  expect_members(whole, kHead,
                 {"usage", "symbol", "port_name_format", "linked_clone", "qemu", "images", "versions"});
  expect_head(whole, 4);
  expect_members(
      whole["qemu"], {"adapter_type", "adapters", "ram", "arch", "console_type", "kvm"},
      {"cpus", "hda_disk_interface", "hdb_disk_interface", "kernel_command_line", "options", "on_close"});
  expect_machine(whole["qemu"]);
  EXPECT_TRUE(kPlatforms.contains(whole["qemu"]["arch"]));
  EXPECT_TRUE((Words{"require", "allow", "disable"}.contains(whole["qemu"]["kvm"])));
  expect_files(whole);
}

TEST(Gns3Appliance, Version8) {
  const json whole = described(appliance(), 8);
  expect_members(whole, kHead, {"usage", "symbol", "settings", "images", "versions"});
  expect_head(whole, 8);
  ASSERT_EQ(whole["settings"].size(), 1U);
  const json& settings = whole["settings"][0];
  expect_members(settings, {"template_type", "template_properties"}, {"name", "default"});
  const json& machine = settings["template_properties"];
  expect_members(
      machine, {"platform"},
      {"adapter_type", "adapters", "ram", "console_type", "cpus", "hda_disk_interface", "hdb_disk_interface",
       "kernel_command_line", "options", "on_close", "port_name_format", "linked_clone"});
  expect_machine(machine);
  EXPECT_TRUE(kPlatforms.contains(machine["platform"]));
  EXPECT_EQ(whole["versions"][0]["settings"], settings["name"]);
  expect_files(whole);
}

TEST(Gns3Appliance, OtherVersionsAreRefused) {
  for (const unsigned version : {0U, 3U, 5U, 7U, 9U})
    EXPECT_FALSE(gns3_appliance_json(appliance(), version)) << version;
}

/// Of two SCSI or SATA disks the kernel names first the one that answers first.
TEST(Gns3Appliance, DisksAreToldApartByTheirLabels) {
  Gns3Appliance made = appliance();
  for (const char* interface : {"virtio", "scsi", "sata", "ide"}) {
    made.disk_interface = interface;
    const std::string line = gns3_command_line(made);
    EXPECT_NE(line.find(" root=LABEL=layerboot-root "), std::string::npos) << line;
    EXPECT_NE(line.find(" layerboot.modules=LABEL=layerboot-mods"), std::string::npos) << line;
    EXPECT_EQ(line.find("/dev/"), std::string::npos) << line;
  }
  made.modules.reset();
  EXPECT_EQ(gns3_command_line(made).find("layerboot.modules="), std::string::npos);
}

TEST(Gns3Appliance, NothingIsConfiguredUnlessAsked) {
  Gns3Appliance made = appliance();
  EXPECT_NE(gns3_command_line(made).find(" layerboot.net=up"), std::string::npos);
  made.dhcp = true;
  EXPECT_NE(gns3_command_line(made).find(" layerboot.net=dhcp,up "), std::string::npos)
      << "the first alone, the others up";
  EXPECT_NE(std::string_view(kGns3NetworkUnit).find("Name=eth0\n"), std::string::npos);
}

TEST(Gns3Appliance, HasNoMoreAdaptersThanSlots) {
  Gns3Machine machine;
  for (const auto& [interface, most] :
       {std::pair{"virtio", 26U}, {"scsi", 26U}, {"sata", 26U}, {"ide", 90U}}) {
    machine.disk_interface = interface;
    machine.adapters = most;
    EXPECT_TRUE(check_machine(machine, 4)) << interface;
    machine.adapters = most + 1;
    EXPECT_FALSE(check_machine(machine, 4)) << interface;
  }
}

TEST(Gns3Appliance, SaysInEitherVersionWhetherItTakesKvm) {
  Gns3Appliance made = appliance();
  const auto options = [&made] {
    return described(made, 8)["settings"][0]["template_properties"]["options"].get<std::string>();
  };
  EXPECT_EQ(options().find("accel="), std::string::npos);
  made.kvm = "disable";
  EXPECT_NE(options().find("-machine accel=tcg "), std::string::npos);
  EXPECT_EQ(described(made, 4)["qemu"]["kvm"], "disable");
  EXPECT_TRUE(check_machine(made, 8));
  made.kvm = "require";
  EXPECT_EQ(described(made, 4)["qemu"]["kvm"], "require");
  EXPECT_TRUE(check_machine(made, 4));
  const auto refused = check_machine(made, 8);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().describe().find("--version 4"), std::string::npos);
}

TEST(Gns3Appliance, OddBytesOfAnImagesNameAreNoObstacle) {
  Gns3Appliance made = appliance();
  made.image = "a\xff\"\n";
  EXPECT_FALSE(described(made, 4).is_null());
}

TEST(BzImage, IsToldByItsHeader) {
  std::string kernel(0x300, '\0');
  EXPECT_FALSE(check_bzimage(kernel));
  kernel.replace(0x202, 4, "HdrS");
  EXPECT_TRUE(check_bzimage(kernel));
  EXPECT_FALSE(
      check_bzimage("\x7f"
                    "ELF"));
}

}  // namespace
}  // namespace layerboot::launcher
