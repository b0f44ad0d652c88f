#include "launcher/qemu/qmp.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <optional>

#include "launcher/host/child.h"
#include "launcher/host/programs.h"
#include "launcher/host/unix_socket.h"

namespace layerboot::launcher {
namespace {

TEST(ParseQmpLine, KnowsItsThreeKinds) {
  const auto greeting = parse_qmp_line(R"({"QMP": {"version": {}, "capabilities": []}})");
  ASSERT_TRUE(greeting);
  EXPECT_TRUE(std::holds_alternative<QmpGreeting>(*greeting));
  const auto reply = parse_qmp_line(R"({"return": {}, "id": 7})");
  ASSERT_TRUE(reply);
  EXPECT_EQ(std::get<QmpReply>(*reply).id, 7U);
  EXPECT_TRUE(std::get<QmpReply>(*reply).outcome);
  const auto refusal =
      parse_qmp_line(R"({"id": 8, "error": {"class": "GenericError", "desc": "no such thing"}})");
  ASSERT_TRUE(refusal);
  EXPECT_EQ(std::get<QmpReply>(*refusal).outcome.error().text, "QEMU: no such thing");
  const auto event =
      parse_qmp_line(R"({"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}})");
  ASSERT_TRUE(event);
  EXPECT_EQ(std::get<QmpEvent>(*event).name, "SHUTDOWN");
  EXPECT_TRUE(std::get<QmpEvent>(*event).guest);
}

TEST(ParseQmpLine, RefusesTheRest) {
  for (const char* line : {"", "{", "[]", "7", "null", "{}", R"({"event": 5})", R"({"id": 1})", "\xff\xff"}) {
    EXPECT_FALSE(parse_qmp_line(line)) << line;
  }
  for (const char* line : {R"({"error": 5})", R"({"error": {}})", R"({"error": {"desc": 5}, "id": "x"})"}) {
    const auto reply = parse_qmp_line(line);
    ASSERT_TRUE(reply) << line;
    EXPECT_FALSE(std::get<QmpReply>(*reply).outcome) << line;
  }
}

/// A QEMU of this test's making at the other end of the line.
class QmpClientTest : public testing::Test {
 protected:
  void SetUp() override {
    auto ends = socket_pair();
    ASSERT_TRUE(ends);
    server_ = std::move(ends->second);
    client_.emplace(io_, std::move(ends->first));
    client_->on_event([this](const QmpEvent& event) { events_.push_back(event.name); });
    client_->on_closed([this](const Error& error) { closed_ = error; });
  }
  void say(std::string_view text) {
    ASSERT_EQ(::send(server_.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  std::string hear() {
    std::array<char, 4096> text{};
    const ssize_t got = ::recv(server_.get(), text.data(), text.size(), MSG_DONTWAIT);
    return {text.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))};
  }
  void settle() {
    io_.restart();
    while (io_.poll() > 0) io_.restart();
  }

  boost::asio::io_context io_;
  UniqueFd server_;
  std::optional<QmpClient> client_;
  std::vector<std::string> events_;
  std::optional<Error> closed_;
};

TEST_F(QmpClientTest, NegotiatesFirstAndAnswersTheRightCommand) {
  std::vector<std::string> answers;
  const auto note = [&answers](const char* name) {
    return [&answers, name](const Result<void>& outcome) {
      answers.push_back(str_cat(name, outcome ? "+" : outcome.error().text));
    };
  };
  client_->start();
  client_->execute("first", note("first"));
  settle();
  EXPECT_EQ(hear(), "") << "nothing may be sent before the greeting";
  say("{\"QMP\": {}}\r\n");
  settle();
  EXPECT_EQ(hear(), "{\"execute\":\"qmp_capabilities\",\"id\":1}\n");
  say("{\"return\": {}, \"id\": 1}\r\n");
  settle();
  EXPECT_EQ(hear(), "{\"execute\":\"first\",\"id\":2}\n");
  client_->execute("second", R"({"size":1})", note("second"));
  settle();
  EXPECT_EQ(hear(), "{\"execute\":\"second\",\"arguments\":{\"size\":1},\"id\":3}\n");
  // Out of order, in pieces, with an event between.
  say("{\"return\": {}, \"id\": 3}\r\n{\"event\": \"RESUME\"}\r\n{\"err");
  settle();
  say("or\": {\"desc\": \"no\"}, \"id\": 2}\r\n");
  settle();
  EXPECT_EQ(answers, (std::vector<std::string>{"second+", "firstQEMU: no"}));
  EXPECT_EQ(events_, std::vector<std::string>{"RESUME"});
}

TEST_F(QmpClientTest, TheEndAnswersWhatIsOpen) {
  Result<void> outcome;
  client_->start();
  client_->execute("quit", [&outcome](Result<void> result) { outcome = std::move(result); });
  server_.reset();
  settle();
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, EPIPE);
  ASSERT_TRUE(closed_);
  EXPECT_TRUE(closed_->text.empty());
  Result<void> late;
  client_->execute("quit", [&late](Result<void> result) { late = std::move(result); });
  EXPECT_TRUE(late) << "a callback never runs from inside the call";
  settle();
  EXPECT_FALSE(late);
}

TEST_F(QmpClientTest, NonsenseClosesTheLine) {
  client_->start();
  say("hello\n");
  settle();
  ASSERT_TRUE(closed_);
  EXPECT_EQ(closed_->code, EPROTO);
}

TEST_F(QmpClientTest, ALineWithoutEndHasABound) {
  client_->start();
  const std::string piece(64 * 1024, 'x');
  for (std::size_t sent = 0; sent <= QmpClient::kMaxLineBytes && !closed_; sent += piece.size()) {
    say(piece);
    settle();
  }
  ASSERT_TRUE(closed_);
  EXPECT_EQ(closed_->code, EPROTO);
}

TEST_F(QmpClientTest, ARefusedNegotiationEndsItOnce) {
  int ends = 0;
  client_->on_closed([&ends](const Error&) { ++ends; });
  client_->start();
  say("{\"QMP\": {}}\n{\"error\": {\"desc\": \"no\"}, \"id\": 1}\n");
  settle();
  EXPECT_EQ(ends, 1);
}

TEST_F(QmpClientTest, TooManyCommandsAreRefused) {
  std::size_t refused = 0;
  for (std::size_t i = 0; i < QmpClient::kMaxPending + 3; ++i) {
    client_->execute("x", [&refused](const Result<void>& outcome) { refused += outcome ? 0U : 1U; });
  }
  settle();
  EXPECT_EQ(refused, 3U);
}

// Each would send another command, past that bound, and begin the guest again.
TEST_F(QmpClientTest, ASecondGreetingClosesTheLine) {
  for (const bool answered : {true, false}) {
    int greeted = 0;
    SetUp();
    closed_.reset();
    client_->on_greeted([&greeted] { ++greeted; });
    client_->start();
    say("{\"QMP\": {}}\n");
    if (answered) say("{\"return\": {}, \"id\": 1}\n");
    settle();
    EXPECT_FALSE(closed_);
    say("{\"QMP\": {}}\n{\"return\": {}, \"id\": 2}\n{\"event\": \"RESUME\"}\n");
    settle();
    ASSERT_TRUE(closed_);
    EXPECT_EQ(closed_->code, EPROTO);
    EXPECT_EQ(hear(), "{\"execute\":\"qmp_capabilities\",\"id\":1}\n");
    EXPECT_EQ(greeted, answered ? 1 : 0);
    EXPECT_TRUE(events_.empty());
  }
}

TEST(QmpClient, TalksToARealQemu) {
  const auto qemu = find_qemu({});
  if (!qemu) GTEST_SKIP() << qemu.error().describe();
  auto ends = socket_pair();
  ASSERT_TRUE(ends);
  auto child = Child::spawn({.label = "QEMU",
                             .argv = {qemu->string(), "-M", "none", "-display", "none", "-nodefaults",
                                      "-chardev", "socket,id=qmp,fd=3", "-mon", "chardev=qmp,mode=control"}},
                            {ends->second.get()});
  ASSERT_TRUE(child);
  ends->second.reset();
  boost::asio::io_context io;
  QmpClient client(io, std::move(ends->first));
  std::vector<std::string> log;
  client.on_event([&log](const QmpEvent& event) { log.push_back(event.name); });
  client.on_closed([&log](const Error& error) { log.push_back(str_cat("closed", error.text)); });
  client.start();
  client.execute("query-status", [&](const Result<void>& status) {
    log.push_back(status ? "status" : status.error().text);
    client.execute("no-such-command", [&](const Result<void>& unknown) {
      log.push_back(unknown ? "?" : "refused");
      client.execute("quit", {});
    });
  });
  io.run();
  EXPECT_EQ(log, (std::vector<std::string>{"status", "refused", "SHUTDOWN", "closed"}));
  EXPECT_TRUE(child->wait().clean());
}

}  // namespace
}  // namespace layerboot::launcher
