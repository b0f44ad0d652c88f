// A daemon without its main: the server on a fake file system, in threads of the test.
#pragma once

#include <sys/socket.h>

#include <memory>
#include <thread>
#include <vector>

#include "tests/support/fake_file_system.h"
#include "tests/support/fake_guest.h"
#include "vfsd/daemon/queue_set.h"
#include "vfsd/daemon/server.h"

namespace layerboot::vfsd {

/// Serves one socket pair; serves until destroyed or until the guest hangs up.
class DaemonOnFake {
 public:
  explicit DaemonOnFake(unsigned request_queues, fuse::SessionOptions options = {}) : session(fs, options) {
    queues = std::move(*QueueSet::create(session, request_queues, memory, io_engine_from_environment()));
    backend = std::make_unique<vhost::Backend>(*queues);
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) std::abort();
    front_end_socket = UniqueFd(pair[0]);
    listener = std::make_unique<Listener>(std::move(*Listener::adopt(pair[1])));
    server = std::make_unique<Server>(*listener, *backend, session, true);
    thread = std::thread([this] { server->run(); });
  }
  ~DaemonOnFake() {
    fs.release_reads();
    server->stop();
    thread.join();
  }

  std::unique_ptr<test::FakeGuest> guest(test::FakeGuestOptions options) {
    auto made = test::FakeGuest::adopt(std::move(front_end_socket), options);
    return made ? std::move(*made) : nullptr;
  }

  MemoryBudget memory;
  test::FakeFileSystem fs;
  fuse::Session session;
  std::unique_ptr<QueueSet> queues;
  std::unique_ptr<vhost::Backend> backend;
  UniqueFd front_end_socket;
  std::unique_ptr<Listener> listener;
  std::unique_ptr<Server> server;
  std::thread thread;
};

}  // namespace layerboot::vfsd
