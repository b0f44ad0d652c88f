#include "launcher/images/image_change.h"

#include <gtest/gtest.h>

namespace layerboot::launcher {
namespace {

using store::Json;

Json changed(Json config, const char* instruction) {
  const auto done = apply_change(config, instruction);
  EXPECT_TRUE(done) << done.error().describe();
  return config;
}

TEST(ImageChange, CommandsAreAListOrALineForTheShell) {
  EXPECT_EQ(changed({}, R"(CMD ["nginx", "-g", "daemon off;"])"),
            (Json{{"Cmd", {"nginx", "-g", "daemon off;"}}}));
  EXPECT_EQ(changed({}, "  cmd   echo $HOME  "), (Json{{"Cmd", {"/bin/sh", "-c", "echo $HOME"}}}));
  EXPECT_EQ(changed({{"Cmd", {"sh"}}}, "ENTRYPOINT [\"/init\"]"),
            (Json{{"Cmd", {"sh"}}, {"Entrypoint", {"/init"}}}));
  EXPECT_EQ(changed({{"Cmd", {"sh"}}}, "CMD []"), (Json{{"Cmd", Json::array()}}));
}

TEST(ImageChange, VariablesReplaceThoseOfTheirName) {
  const Json before = {{"Env", {"PATH=/bin", "A=1"}}};
  EXPECT_EQ(changed(before, "ENV A=2 B='two words' C=\"x\\\"y\" D=e\\ f"),
            (Json{{"Env", {"PATH=/bin", "A=2", "B=two words", "C=x\"y", "D=e f"}}}));
  EXPECT_EQ(changed(before, "ENV A the rest = all"), (Json{{"Env", {"PATH=/bin", "A=the rest = all"}}}));
  EXPECT_EQ(changed(Json(), "ENV A="), (Json{{"Env", {"A="}}}));
}

TEST(ImageChange, WordsAreAsAContainerfileHasThem) {
  const Json before = {{"Env", {"PATH=/bin", "A=1"}}};
  EXPECT_EQ(changed({}, R"(ENV RE="\d+\"\\\$x" P=\d)"), (Json{{"Env", {R"(RE=\d+"\$x)", "P=d"}}}))
      << "within double quotes";
  EXPECT_EQ(changed(before, "ENV PATH=$PATH:/opt B=${A}2 C='$A' D=\\$A E=${none:-x}"),
            (Json{{"Env", {"PATH=/bin:/opt", "A=1", "B=12", "C=$A", "D=$A", "E=x"}}}));
  EXPECT_EQ(changed(before, "ENV B the $A rest"), (Json{{"Env", {"PATH=/bin", "A=1", "B=the 1 rest"}}}));
  EXPECT_EQ(changed({}, R"(LABEL "two words"="x y" 'a b'=c)"),
            (Json{{"Labels", {{"two words", "x y"}, {"a b", "c"}}}}));
  Json with_label = before;
  with_label["Labels"] = {{"a", "1"}};
  EXPECT_EQ(changed(before, "LABEL a=$A"), with_label);
}

TEST(ImageChange, TheRestIsAsInAContainerfile) {
  EXPECT_EQ(changed({}, "LABEL a=1 b=\"2 3\""), (Json{{"Labels", {{"a", "1"}, {"b", "2 3"}}}}));
  EXPECT_EQ(changed({}, "EXPOSE 80 53/udp 8000-8001 9000-9000/udp"),
            (Json{{"ExposedPorts",
                   {{"80/tcp", Json::object()},
                    {"53/udp", Json::object()},
                    {"8000/tcp", Json::object()},
                    {"8001/tcp", Json::object()},
                    {"9000/udp", Json::object()}}}}));
  EXPECT_EQ(changed({}, "VOLUME /a /b"),
            (Json{{"Volumes", {{"/a", Json::object()}, {"/b", Json::object()}}}}));
  EXPECT_EQ(changed({}, "VOLUME [\"/a b\"]"), (Json{{"Volumes", {{"/a b", Json::object()}}}}));
  EXPECT_EQ(changed({}, "USER www-data:www-data"), (Json{{"User", "www-data:www-data"}}));
  EXPECT_EQ(changed({{"WorkingDir", "/srv"}}, "WORKDIR app"), (Json{{"WorkingDir", "/srv/app"}}));
  EXPECT_EQ(changed({{"WorkingDir", "/srv"}}, "WORKDIR /app"), (Json{{"WorkingDir", "/app"}}));
  EXPECT_EQ(changed({}, "SHELL [\"/bin/bash\", \"-c\"]"), (Json{{"Shell", {"/bin/bash", "-c"}}}));
  EXPECT_EQ(changed({}, "STOPSIGNAL SIGQUIT"), (Json{{"StopSignal", "SIGQUIT"}}));
}

TEST(ImageChange, WhatIsNotUnderstoodChangesNothing) {
  const Json before = {{"Cmd", {"sh"}}};
  for (const char* instruction : {"",
                                  "RUN x",
                                  "CMD",
                                  "CMD [1]",
                                  "CMD [\"a\"",
                                  "ENV",
                                  "ENV A",
                                  "ENV A=1 B",
                                  "ENV =x",
                                  "ENV A='x",
                                  "EXPOSE",
                                  "EXPOSE 0",
                                  "EXPOSE 80/x",
                                  "EXPOSE 80-x",
                                  "EXPOSE 65536",
                                  "EXPOSE 8010-8000",
                                  "EXPOSE 1 0-2",
                                  "EXPOSE 80-",
                                  "VOLUME",
                                  "VOLUME [\"\"]",
                                  "USER",
                                  "WORKDIR",
                                  "LABEL x",
                                  "STOPSIGNAL",
                                  "SHELL bash",
                                  "SHELL []"}) {
    Json config = before;
    const auto done = apply_change(config, instruction);
    EXPECT_FALSE(done) << instruction;
    EXPECT_EQ(config, before) << instruction;
  }
}

}  // namespace
}  // namespace layerboot::launcher
