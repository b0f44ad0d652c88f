#include "launcher/agent/docker_answer.h"

#include <gtest/gtest.h>

namespace layerboot::launcher {
namespace {

using Ports = std::set<std::uint16_t>;

std::string answer(const std::string& body, const char* status = "200 OK") {
  return str_cat("HTTP/1.0 ", status, "\r\nContent-Type: application/json\r\n\r\n", body);
}

std::string container(const std::string& ports) { return str_cat(R"({"Id":"ab","Ports":[)", ports, "]}"); }

std::string port(const char* address, const char* number, const char* type = "tcp") {
  return str_cat(R"({"IP":")", address, R"(","PrivatePort":80,"PublicPort":)", number, R"(,"Type":")", type,
                 "\"}");
}

TEST(DockerAnswer, PortsOfAllContainersOnce) {
  const auto ports = published_ports(answer(
      str_cat("[", container(port("0.0.0.0", "8080") + "," + port("::", "8080")), ",",
              container(port("127.0.0.1", "5432")), ",", container(""), R"(,{"Id":"c","Ports":null}])")));
  ASSERT_TRUE(ports) << ports.error().describe();
  EXPECT_EQ(*ports, (Ports{5432, 8080}));
}

TEST(DockerAnswer, WhatLeadsNowhereIsLeftOut) {
  const auto ports = published_ports(answer(str_cat(
      "[",
      container(str_cat(port("0.0.0.0", "53", "udp"), ",", port("10.0.2.15", "81"), ",", port("0.0.0.0", "0"),
                        ",", port("0.0.0.0", "65536"), ",", port("0.0.0.0", "-1"), ",",
                        port("0.0.0.0", "\"82\""), ",", R"({"PrivatePort":80,"Type":"tcp"},7,"x",null)")),
      ",3]")));
  ASSERT_TRUE(ports) << ports.error().describe();
  EXPECT_EQ(*ports, Ports{});
}

TEST(DockerAnswer, AnAnswerInChunksIsOne) {
  const auto body =
      docker_body("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[\r\n1\r\n]\r\n0\r\n\r\n");
  ASSERT_TRUE(body) << body.error().describe();
  EXPECT_EQ(*body, "[]");
}

TEST(DockerAnswer, WhatIsNoAnswerIsRefused) {
  for (const std::string& text : {std::string(), std::string("hello"), std::string("HTTP/1.0 200 OK\r\nA: b"),
                                  answer("[]", "500 Internal Server Error"), answer("{}"), answer("["),
                                  answer(std::string(100'000, '[')),
                                  std::string("HTTP/1.0 200 OK\r\nContent-Length: 99999999999\r\n\r\n[]"),
                                  std::string("HTTP/1.0 200 OK\r\nContent-Length: 10\r\n\r\n[]"),
                                  str_cat("HTTP/1.0 200 OK\r\nX: ", std::string(1 << 20, 'x'), "\r\n\r\n[]"),
                                  answer(std::string(kMaxDockerAnswerBytes + 1, ' ') + "[]")}) {
    const auto ports = published_ports(text);
    ASSERT_FALSE(ports) << text.substr(0, 100);
    EXPECT_EQ(ports.error().code, EBADMSG) << text.substr(0, 100);
    EXPECT_NE(ports.error().text.find("the VM's"), std::string::npos) << ports.error().text;
  }
}

}  // namespace
}  // namespace layerboot::launcher
