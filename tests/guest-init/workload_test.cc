#include "guest-init/workload.h"

#include <gtest/gtest.h>

#include <csignal>

#include "guest-init/records.h"

namespace guest_init {
namespace {

using Words = std::vector<std::string>;
using namespace std::string_literals;

TEST(Records, RoundTripWithAnyBytes) {
  std::string bytes;
  append_record(bytes, "arg", "two\nlines = \"quoted\" \xff");
  append_record(bytes, "arg", "");
  append_record(bytes, "arg", "cut\0off"s);
  const auto records = decode_records(bytes);
  ASSERT_TRUE(records);
  EXPECT_EQ(*records, (Records{{"arg", "two\nlines = \"quoted\" \xff"}, {"arg", ""}, {"arg", "cut"}}));
}

TEST(Records, RefusesWhatIsNone) {
  EXPECT_FALSE(decode_records("arg=open"));
  EXPECT_FALSE(decode_records("noequals\0"s));
  EXPECT_FALSE(decode_records("a\0=b\0"s));
  EXPECT_FALSE(decode_records(std::string(kMaxRecordsBytes + 1, 'x')));
  std::string many;
  for (std::size_t i = 0; i <= kMaxRecords; ++i) append_record(many, "a", "");
  EXPECT_FALSE(decode_records(many));
  EXPECT_TRUE(decode_records("")->empty());
}

TEST(Workload, RoundTrip) {
  const ImageWorkload image{.entrypoint = {"/entry", "-x"},
                            .command = {"serve", ""},
                            .environment = {"A=1", "B=two words"},
                            .user = "www:33",
                            .directory = "/srv",
                            .volumes = {"/data", "/var/lib/x y"},
                            .stop_signal = "SIGQUIT",
                            .tmpfs = {"/scratch:size=1m"}};
  const auto back = decode_workload(encode_workload(image));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->entrypoint, image.entrypoint);
  EXPECT_EQ(back->command, image.command);
  EXPECT_EQ(back->environment, image.environment);
  EXPECT_EQ(back->user, "www:33");
  EXPECT_EQ(back->directory, "/srv");
  EXPECT_EQ(back->stop_signal, "SIGQUIT");
  EXPECT_EQ(back->volumes, image.volumes);
  EXPECT_EQ(back->tmpfs, image.tmpfs);
}

TEST(Request, MayBeToCopy) {
  SessionRequest request;
  request.copy = CopyRequest{
      .in = true, .path = "/to/", .name = "a b", .follow = true, .owners = true, .directory = true};
  const auto back = decode_request(encode_request(request));
  ASSERT_TRUE(back && back->copy);
  EXPECT_TRUE(back->copy->in && back->copy->follow && back->copy->owners && back->copy->directory);
  EXPECT_FALSE(back->copy->file);
  EXPECT_EQ(back->copy->path, "/to/");
  EXPECT_EQ(back->copy->name, "a b");
  request.copy = CopyRequest{.path = "/from", .name = {}, .file = true};
  EXPECT_FALSE(decode_request(encode_request(request))->copy->in);
}

TEST(Request, MayBeToGrow) {
  SessionRequest request;
  request.grow_bytes = 5'000'000'000;
  const auto back = decode_request(encode_request(request));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->grow_bytes, 5'000'000'000U);
  for (const char* value : {"", "0", "-1", "1G", "99999999999999999999"}) {
    std::string bytes;
    append_record(bytes, "grow", value);
    EXPECT_FALSE(decode_request(bytes)) << value;
  }
}

TEST(Request, MayBeToStandStill) {
  SessionRequest request;
  request.freeze = true;
  const auto back = decode_request(encode_request(request));
  ASSERT_TRUE(back);
  EXPECT_TRUE(back->freeze);
}

TEST(Request, RoundTrip) {
  SessionRequest request;
  request.arguments = {"sh", "-c", "exit 7"};
  request.environment = {"X=y"};
  request.user = "1000";
  request.directory = "/tmp";
  request.terminal = true;
  request.rows = 50;
  request.columns = 132;
  const auto back = decode_request(encode_request(request));
  ASSERT_TRUE(back);
  EXPECT_FALSE(back->main);
  EXPECT_EQ(back->arguments, request.arguments);
  EXPECT_EQ(back->environment, request.environment);
  EXPECT_EQ(back->user, "1000");
  EXPECT_EQ(back->directory, "/tmp");
  EXPECT_TRUE(back->terminal);
  EXPECT_EQ(back->rows, 50);
  EXPECT_EQ(back->columns, 132);
}

TEST(Request, OfNothingIsRefused) {
  EXPECT_FALSE(decode_request(""));
  EXPECT_FALSE(decode_request("tty=24x80\0"s));
  EXPECT_FALSE(decode_request("arg=sh\0tty=big\0"s));
  EXPECT_FALSE(decode_request("arg=sh\0tty=70000x1\0"s));
  EXPECT_TRUE(decode_request("connect=/run/docker.sock\0"s));
  EXPECT_TRUE(decode_request("main=1\0"s));
}

TEST(MainCommand, IsJoinedAsDockerDoes) {
  ImageWorkload image;
  image.entrypoint = {"/entry"};
  image.command = {"serve"};
  SessionRequest request;
  EXPECT_EQ(main_command(image, request), (Words{"/entry", "serve"}));
  request.arguments = {"other"};
  EXPECT_EQ(main_command(image, request), (Words{"/entry", "other"}));
  request.entrypoint = Words{"/mine"};
  EXPECT_EQ(main_command(image, request), (Words{"/mine", "other"}));
  request.arguments.clear();
  EXPECT_EQ(main_command(image, request), (Words{"/mine"}));
  request.entrypoint = Words{};
  request.arguments = {"plain"};
  const auto back = decode_request(encode_request(request));
  ASSERT_TRUE(back && back->entrypoint);
  EXPECT_EQ(main_command(image, *back), (Words{"plain"}));
}

TEST(NamesInit, ByTheLastPartOfThePath) {
  for (const char* init : {"/sbin/init", "init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd"})
    EXPECT_TRUE(names_init({init})) << init;
  for (const char* other : {"/bin/sh", "/usr/bin/tini", "/init.sh", "docker-init", "/sbin/initctl"})
    EXPECT_FALSE(names_init({other})) << other;
  EXPECT_FALSE(names_init({}));
}

TEST(SignalNumber, TakesNamesAndNumbers) {
  EXPECT_EQ(signal_number("SIGTERM"), SIGTERM);
  EXPECT_EQ(signal_number("QUIT"), SIGQUIT);
  EXPECT_EQ(signal_number("9"), 9);
  EXPECT_EQ(signal_number("SIGRTMIN+3"), 37);
  for (const char* bad : {"", "0", "65", "-1", "SIGNOTHING", "RTMIN+99", "RTMIN-1", "1x"})
    EXPECT_EQ(signal_number(bad), 0) << bad;
}

}  // namespace
}  // namespace guest_init
