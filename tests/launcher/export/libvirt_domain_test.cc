#include "launcher/export/libvirt_domain.h"

#include <gtest/gtest.h>

namespace layerboot::launcher {
namespace {

VmConfig example() {
  VmConfig config;
  config.name = "web";
  config.machine_id = "0123456789abcdef0123456789abcdef";
  config.cpus = 3;
  config.memory_bytes = std::uint64_t{1} << 30U;
  config.vmlinuz = "/k/vmlinuz";
  config.initrd = "/k/a&b";
  return config;
}

bool holds(const std::string& xml, std::string_view part) { return xml.find(part) != std::string::npos; }

TEST(LibvirtDomain, AVirtiofsRootIsTheDaemonsSocketAndSharedMemory) {
  const std::string xml = *libvirt_domain_xml(example(), "/run/it's.sock");
  EXPECT_TRUE(holds(xml, "<domain type='qemu'>"));
  EXPECT_TRUE(holds(xml, "<uuid>01234567-89ab-cdef-0123-456789abcdef</uuid>"));
  EXPECT_TRUE(holds(xml, "<access mode='shared'/>"));
  EXPECT_TRUE(holds(xml, "<source socket='/run/it&apos;s.sock'/>\n      <target dir='root'/>"));
  EXPECT_TRUE(holds(xml, "<initrd>/k/a&amp;b</initrd>"));
  EXPECT_TRUE(holds(xml, "rootfstype=virtiofs root=root"));
  EXPECT_FALSE(holds(xml, "<disk "));
}

TEST(LibvirtDomain, IsForTheVmsMachine) {
  VmConfig config = example();
  config.platform = "linux/amd64";
  std::string xml = *libvirt_domain_xml(config, "/run/root.sock");
  EXPECT_TRUE(holds(xml, "<type arch='x86_64' machine='q35'>hvm</type>")) << xml;
  EXPECT_TRUE(holds(xml, "<apic/>"));
  config.platform = "linux/arm64";
  xml = *libvirt_domain_xml(config, "/run/root.sock");
  EXPECT_TRUE(holds(xml, "<type arch='aarch64' machine='virt'>hvm</type>")) << xml;
  EXPECT_TRUE(holds(xml, "console=ttyAMA0"));
  EXPECT_FALSE(holds(xml, "apic"));
}

TEST(LibvirtDomain, ADiskRootIsTwoDisksAndNoDaemon) {
  VmConfig config = example();
  config.accel = Accel::kKvm;
  config.net = Net::kNone;
  config.disk_root = true;
  config.root_disk = "/vms/web/disk.qcow2";
  config.root_disk_base = "/disks/a&b.raw";
  config.modules_disk = "/disks/modules/disk.raw";
  const std::string xml = *libvirt_domain_xml(config, {});
  EXPECT_TRUE(holds(xml, "<domain type='kvm'>"));
  EXPECT_TRUE(holds(xml, "<cpu mode='host-passthrough'/>"));
  EXPECT_TRUE(holds(xml,
                    "<backingStore type='file'>\n        <format type='raw'/>\n        "
                    "<source file='/disks/a&amp;b.raw'/>\n        <backingStore/>"));
  EXPECT_LT(xml.find("<target dev='vda' bus='virtio'/>"),
            xml.find("<target dev='vdb' bus='virtio'/>\n      <readonly/>"));
  EXPECT_TRUE(holds(xml, "rootfstype=ext4 root=/dev/vda"));
  EXPECT_FALSE(holds(xml, "virtiofs"));
  EXPECT_FALSE(holds(xml, "<interface"));
  EXPECT_FALSE(holds(xml, "<memoryBacking>"));
  config.disk_format = DiskFormat::kRaw;
  config.initrd.clear();
  const std::string raw = *libvirt_domain_xml(config, {});
  EXPECT_FALSE(holds(raw, "type='qcow2'")) << raw;
  EXPECT_FALSE(holds(raw, "<backingStore"));
  EXPECT_FALSE(holds(raw, "<initrd>"));
}

TEST(LibvirtDomain, AGuestsOwnUpperIsADiskBesideTheShare) {
  VmConfig config = example();
  config.upper = UpperKind::kDisk;
  config.upper_disk = "/vms/web/upper.raw";
  const std::string xml = *libvirt_domain_xml(config, "/run/root.sock");
  EXPECT_TRUE(holds(xml, "<source socket='/run/root.sock'/>"));
  EXPECT_TRUE(holds(
      xml, "<driver name='qemu' type='raw' discard='unmap'/>\n      <source file='/vms/web/upper.raw'/>"));
  EXPECT_TRUE(holds(xml, "<memoryBacking>"));
  EXPECT_TRUE(holds(xml, "layerboot.upper=/dev/vda "));
}

TEST(LibvirtDomain, VolumesHaveSocketsBesideTheRoots) {
  VmConfig config = example();
  config.volumes = {{.host = "/srv", .guest = "/srv", .kind = VolumeKind::kReadOnly, .quota_bytes = 0},
                    {.host = "/data", .guest = "/data", .kind = VolumeKind::kOverlay, .quota_bytes = 0}};
  const std::string xml = *libvirt_domain_xml(config, "/run/root.sock");
  EXPECT_TRUE(holds(xml, "<source socket='/run/root.sock.volume0'/>\n      <target dir='volume0'/>"));
  EXPECT_TRUE(holds(xml, "<source socket='/run/root.sock.volume1'/>\n      <target dir='volume1'/>"));
  EXPECT_TRUE(holds(xml, "layerboot.mount=volume0:/srv:ro layerboot.mount=volume1:/data"));
}

TEST(LibvirtDomain, PortsLeadInByArgumentsForQemu) {
  VmConfig config = example();
  EXPECT_FALSE(holds(*libvirt_domain_xml(config, "/s"), "qemu:"));
  config.published = {{.address = "127.0.0.1", .host = 8080, .guest = 80, .udp = false},
                      {.address = "0.0.0.0", .host = 5353, .guest = 53, .udp = true}};
  const std::string xml = *libvirt_domain_xml(config, "/s");
  EXPECT_TRUE(holds(xml, "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"));
  EXPECT_TRUE(holds(
      xml, "<qemu:arg value='user,id=net,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=udp:0.0.0.0:5353-:53'/>"));
  EXPECT_FALSE(holds(xml, "<interface")) << "one network";
  config.net = Net::kPasst;
  EXPECT_TRUE(holds(*libvirt_domain_xml(config, "/s"), "'user,id=net,hostfwd=tcp:127.0.0.1:8080-:80,"))
      << "QEMU's has the same addresses";
}

TEST(LibvirtDomain, ATapIsSomebodyElses) {
  VmConfig config = example();
  config.net = Net::kTap;
  config.tap = "tap7";
  EXPECT_TRUE(holds(*libvirt_domain_xml(config, "/s"),
                    "<interface type='ethernet'>\n      <target dev='tap7' managed='no'/>"));
}

}  // namespace
}  // namespace layerboot::launcher
