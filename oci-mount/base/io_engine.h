// IoEngine: what a Reactor waits and works by.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace layerboot {

enum class IoEngine : unsigned char {
  kAuto,   // io_uring where this process gets one, else epoll
  kUring,  // io_uring, or an error
  kEpoll,  // epoll for descriptors, preadv2(2) and threads for files
};

/// As options and the environment name them: auto, uring, epoll.
const std::map<std::string, IoEngine>& io_engine_names();

/// Says the same as the programs' --io-engine.
inline constexpr const char* kIoEngineVariable = "LAYERBOOT_IO_ENGINE";
/// kAuto where it is not set, or names none.
IoEngine io_engine_from_environment();

/// What an engine calls with a result: a byte count or a negative errno, and a CQE's flags, of which
/// IORING_CQE_F_MORE alone means something.
struct IoCompletion {
  virtual void complete(std::int32_t result, std::uint32_t flags) = 0;

 protected:
  ~IoCompletion() = default;
};

/// Completions handled before the reactor's batch hook runs, so that one flood can't hold up replies.
inline constexpr unsigned kMaxIoBatch = 256;

}  // namespace layerboot
