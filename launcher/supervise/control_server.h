// ControlServer: the supervisor's door for other layerboot processes, a Unix socket in the VM's runtime
// directory. DESIGN.md has the protocol.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "launcher/vm/control_protocol.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// On one io_context's thread. Serves its own user and root. No callback runs after destruction.
class ControlServer {
 public:
  static constexpr std::size_t kMaxPeers = 32;

  /// What is answered; an Error goes to the peer in its own words.
  using Answer = std::function<Result<nlohmann::json>(const ControlRequest&)>;
  /// Takes over the socket of a peer whose console, logs, wait or pause request was answered.
  using TakeOver = std::function<void(UniqueFd, ControlVerb)>;

  /// Listens at `path`, which must be free, readable by its owner alone; removes it at the end.
  static Result<std::unique_ptr<ControlServer>> listen(boost::asio::io_context& io,
                                                       const std::filesystem::path& path, Answer answer,
                                                       TakeOver take_over);
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

 private:
  struct Peer;

  ControlServer(boost::asio::io_context& io, std::filesystem::path path, Answer answer, TakeOver take_over);
  void accept();
  void read(const std::shared_ptr<Peer>& peer);
  /// False: this peer is done with.
  bool handle(Peer& peer, std::string_view line);
  void forget(const Peer* peer);

  boost::asio::io_context& io_;
  std::filesystem::path path_;
  Answer answer_;
  TakeOver take_over_;
  boost::asio::posix::stream_descriptor listener_;
  std::vector<std::shared_ptr<Peer>> peers_;
};

}  // namespace layerboot::launcher
