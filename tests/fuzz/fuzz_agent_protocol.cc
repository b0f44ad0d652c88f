// Any bytes as the agent's stream, in reads of any size, and as the records and texts that it carries.
//
// Input: one byte of what to do, and the rest as the bytes. A stream's first byte of the rest is the size of
// its reads.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "guest-init/agent_protocol.h"
#include "guest-init/cmdline.h"
#include "guest-init/disk.h"
#include "guest-init/records.h"
#include "guest-init/users.h"
#include "guest-init/workload.h"

namespace {

using namespace guest_init;

void check(bool holds) {
  if (!holds) std::abort();
}

void decode_stream(std::string_view bytes, bool in_step) {
  if (bytes.empty()) return;
  const std::size_t read_bytes = static_cast<unsigned char>(bytes.front()) + std::size_t{1};
  bytes.remove_prefix(1);
  FrameDecoder decoder;
  if (in_step) decoder.accept();
  while (!bytes.empty()) {
    decoder.feed(bytes.substr(0, read_bytes));
    bytes.remove_prefix(std::min(read_bytes, bytes.size()));
    while (const auto frame = decoder.next()) {
      check(frame->payload.size() <= kMaxPayloadBytes);
      if (frame->type == FrameType::kHello && decode_hello(frame->payload)) decoder.accept();
      // What was decoded is encoded to the same.
      std::string again;
      append_frame(again, frame->session, frame->type, frame->payload);
      FrameDecoder other;
      other.accept();
      other.feed(again);
      const auto same = other.next();
      check(same && same->session == frame->session && same->type == frame->type &&
            same->payload == frame->payload && !other.next());
    }
    check(decoder.buffered_bytes() <= kMaxPayloadBytes + kHeaderBytes + read_bytes);
  }
}

void decode_texts(std::string_view bytes) {
  if (const auto request = decode_request(bytes)) {
    const auto again = decode_request(encode_request(*request));
    check(again && again->arguments == request->arguments && again->environment == request->environment &&
          again->user == request->user && again->terminal == request->terminal);
    (void)signal_number(request->user);
  }
  if (const auto image = decode_workload(bytes)) (void)names_init(main_command(*image, {}));
  const std::size_t half = bytes.size() / 2;
  Identity identity;
  std::string why;
  (void)find_identity(bytes.substr(0, bytes.find('\0')), bytes.substr(0, half), bytes.substr(half), identity,
                      why);
  (void)parse_command_line(bytes);
  ExtIdentity disk;
  (void)parse_ext_superblock(bytes, disk);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 3 == 2) {
    decode_texts(rest);
  } else {
    decode_stream(rest, data[0] % 3 == 1);
  }
  return 0;
}
