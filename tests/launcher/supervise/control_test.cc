#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <thread>

#include "launcher/host/unix_socket.h"
#include "launcher/supervise/control_server.h"
#include "launcher/vm/control_client.h"
#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

using nlohmann::json;

TEST(ControlProtocol, ComesBackAsItWas) {
  for (const auto verb : {ControlVerb::kStatus, ControlVerb::kStop, ControlVerb::kKill, ControlVerb::kConsole,
                          ControlVerb::kLogs, ControlVerb::kPause}) {
    const auto back = parse_control_request(control_request_line({.verb = verb, .timeout_seconds = 7}));
    ASSERT_TRUE(back) << back.error().describe();
    EXPECT_EQ(back->verb, verb);
    EXPECT_EQ(back->timeout_seconds, 7U);
  }
}

TEST(ControlProtocol, AResizeHasASize) {
  const ControlRequest request{.verb = ControlVerb::kResize, .timeout_seconds = {}, .size_bytes = 1U << 30U};
  const auto back = parse_control_request(control_request_line(request));
  ASSERT_TRUE(back) << back.error().describe();
  EXPECT_EQ(back->verb, ControlVerb::kResize);
  EXPECT_EQ(back->size_bytes, 1U << 30U);
}

TEST(ControlProtocol, AWindowHasTwoSides) {
  ControlRequest request;
  request.verb = ControlVerb::kWindow;
  request.window = {.rows = 33, .columns = 65535};
  const auto back = parse_control_request(control_request_line(request));
  ASSERT_TRUE(back) << back.error().describe();
  EXPECT_EQ(back->verb, ControlVerb::kWindow);
  EXPECT_EQ(back->window, request.window);
}

TEST(ControlProtocol, RefusesWhatIsNoRequest) {
  for (const char* line :
       {"", "stop", "[]", "{}", R"({"do":1})", R"({"do":"fly"})", R"({"do":"stop","timeout_seconds":-1})",
        R"({"do":"stop","timeout_seconds":"9"})", R"({"do":"stop","timeout_seconds":86401})",
        R"({"do":"window","rows":24})", R"({"do":"window","rows":0,"columns":80})",
        R"({"do":"window","rows":24,"columns":65536})", R"({"do":"resize"})",
        R"({"do":"resize","bytes":"1G"})"}) {
    EXPECT_FALSE(parse_control_request(line)) << line;
  }
}

class ControlTest : public testing::Test {
 protected:
  void SetUp() override {
    auto server = ControlServer::listen(
        io_, path_,
        [this](const ControlRequest& request) -> Result<json> {
          asked_.push_back(request.verb);
          if (request.verb == ControlVerb::kKill) return fail(EAGAIN, "not now");
          return json{{"state", "running"}};
        },
        [this](UniqueFd socket, ControlVerb) { streams_.push_back(std::move(socket)); });
    ASSERT_TRUE(server) << server.error().describe();
    server_ = *std::move(server);
    thread_ = std::jthread([this] {
      const auto work = boost::asio::make_work_guard(io_);
      io_.run();
    });
  }
  void TearDown() override {
    io_.stop();
    if (thread_.joinable()) thread_.join();
    server_.reset();
    EXPECT_FALSE(std::filesystem::exists(path_));
  }

  ScratchDir scratch_;
  std::filesystem::path path_ = scratch_.path() / "control.sock";
  boost::asio::io_context io_{1};
  std::unique_ptr<ControlServer> server_;
  std::vector<ControlVerb> asked_;
  std::vector<UniqueFd> streams_;
  std::jthread thread_;
};

TEST_F(ControlTest, AnswersAgainAndAgain) {
  struct stat st{};
  ASSERT_EQ(::stat(path_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777U, 0600U);
  auto client = ControlClient::connect(path_);
  ASSERT_TRUE(client) << client.error().describe();
  for (int i = 0; i < 3; ++i) {
    const auto answer = client->ask({});
    ASSERT_TRUE(answer) << answer.error().describe();
    EXPECT_EQ(answer->at("state"), "running");
  }
  const auto refused = client->ask({.verb = ControlVerb::kKill, .timeout_seconds = {}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().text, "not now");
}

TEST_F(ControlTest, AStreamGoesOnBehindTheAnswer) {
  auto client = ControlClient::connect(path_);
  ASSERT_TRUE(client);
  ASSERT_TRUE(client->ask({.verb = ControlVerb::kConsole, .timeout_seconds = {}}));
  const UniqueFd socket = client->take_socket();
  // The answer to another shows that the server is done with the first.
  auto second = ControlClient::connect(path_);
  ASSERT_TRUE(second);
  ASSERT_TRUE(second->ask({}));
  ASSERT_EQ(streams_.size(), 1U);
  ASSERT_EQ(::send(streams_.front().get(), "hello", 5, 0), 5);
  char text[8] = {};
  EXPECT_EQ(::recv(socket.get(), text, sizeof(text), 0), 5);
  EXPECT_STREQ(text, "hello");
}

TEST_F(ControlTest, NonsenseIsAnsweredAndTooMuchOfItEndsTheConnection) {
  auto socket = connect_to(path_);
  ASSERT_TRUE(socket);
  ASSERT_EQ(::send(socket->get(), "hello\n", 6, 0), 6);
  char text[256] = {};
  ASSERT_GT(::recv(socket->get(), text, sizeof(text) - 1, 0), 0);
  EXPECT_NE(std::string(text).find("error"), std::string::npos);
  const std::string endless(kMaxControlLineBytes + 1, 'x');
  ::send(socket->get(), endless.data(), endless.size(), MSG_NOSIGNAL);
  EXPECT_LE(::recv(socket->get(), text, sizeof(text), 0), 0);
  auto other = ControlClient::connect(path_);
  ASSERT_TRUE(other);
  EXPECT_TRUE(other->ask({})) << "others are served";
}

TEST(ControlClientTest, TellsNobodyFromTrouble) {
  const ScratchDir scratch;
  const auto missing = ControlClient::connect(scratch.path() / "none.sock");
  ASSERT_FALSE(missing);
  EXPECT_TRUE(is_nobody(missing.error()));
  // What a killed launcher leaves.
  const auto stale = scratch.path() / "stale.sock";
  ASSERT_TRUE(listen_at(stale));
  const auto dead = ControlClient::connect(stale);
  ASSERT_FALSE(dead);
  EXPECT_TRUE(is_nobody(dead.error()));
}

}  // namespace
}  // namespace layerboot::launcher
