// RunningVmTest: VMs that run, with a script in QEMU's place that does as a guest that powers off when asked.
#pragma once

#include <thread>

#include "oci-mount/base/files.h"
#include "tests/process/fake_run_fixture.h"

namespace layerboot::test {

class RunningVmTest : public FakeRunTest {
 protected:
  void SetUp() override {
    FakeRunTest::SetUp();
    be_running_qemu();
  }
  void TearDown() override {
    if (!fs::exists(vms())) return;
    for (const auto& vm : fs::directory_iterator(vms())) layerboot({"kill", vm.path().filename().string()});
  }
  /// What it does with QMP at descriptor 5: `greeting` before it is heard, `powerdown` when the button is
  /// pressed, `quit` when told to. Each start's words are a line of the file "starts".
  void be_running_qemu(const std::string& powerdown = "power_off", const std::string& greeting = ":",
                       const std::string& quit = "exit 0") const {
    be_qemu(
        str_cat("#!/bin/bash\n[ \"$1\" != --version ] || { echo 'QEMU emulator version 7.2.0'; exit 0; }\n"
                "here=",
                dir_.path().string(), R"(
echo "$*" >> $here/starts
say() { printf '%s\r\n' "$1" >&5; }
power_off() { say '{"event": "SHUTDOWN", "data": {"guest": true}}'; exit 0; }
)",
                greeting, R"(
say '{"QMP": {}}'
while read -r line <&5; do
  [[ $line =~ \"id\":\ *([0-9]+) ]] && say "{\"return\": {}, \"id\": ${BASH_REMATCH[1]}}"
  case $line in
    *system_powerdown*) )",
                powerdown, R"(;;
    *quit*) )",
                quit, R"(;;
  esac
done
)"));
  }
  Outcome run(std::vector<std::string> more) const {
    more.insert(more.begin(), {"--boot", "init", "--net", "none"});
    return FakeRunTest::run(more);
  }
  /// As run(), but by a shell that has done `first`: "exec >&-".
  Outcome run_after(const std::string& first, const std::vector<std::string>& more) const {
    std::vector<std::string> words = {"sh", "-c", first + "\nexec \"$@\"", "sh"};
    for (std::string& word : words_of(run_words(more))) words.push_back(std::move(word));
    return run_program(words, dir_ / "cache");
  }
  /// What a command that starts a VM anew has to be told.
  std::vector<std::string> with_programs(std::vector<std::string> words) const {
    words.insert(words.end(), {"--qemu", (dir_ / "qemu").string(), "--vfsd", LAYERBOOT_VFSD, "--guest-init",
                               LAYERBOOT_GUEST_INIT});
    return words;
  }
  std::vector<std::string> lines_of(const std::string& name) const {
    std::ifstream file(dir_ / name);
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
  }
  std::size_t starts() const { return lines_of("starts").size(); }
  /// Within 20 s.
  template <typename Condition>
  static bool comes_true(const Condition& condition) {
    for (int i = 0; i < 200; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return false;
  }
  std::string state_of(const std::string& name) const {
    std::string out = layerboot({"ps", "-a", "--filter", "name=" + name, "--format", "{{.State}}"}).out;
    while (out.ends_with('\n')) out.pop_back();
    return out;
  }
};

}  // namespace layerboot::test
