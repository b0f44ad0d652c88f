#include "launcher/cli/events_command.h"

#include <gtest/gtest.h>

namespace layerboot::launcher {
namespace {

VmEvent stop() {
  VmEvent event;
  event.action = "stop";
  event.vm = "web";
  event.image = "registry.example/team/web:1";
  event.labels = {"tier=front", "env=test"};
  event.exit_status = 1;
  event.error = "it\nfailed";
  event.time_ns = 1'764'400'000'500'000'000;
  return event;
}

bool passes(const std::vector<std::string>& filters) {
  const auto parsed = parse_event_filters(filters);
  EXPECT_TRUE(parsed);
  return parsed && passes_event_filters(stop(), *parsed);
}

TEST(EventsCommandTest, ALineForPeople) {
  EXPECT_EQ(event_text(stop()),
            "2025-11-29T07:06:40.500000000Z stop web (status=1, error=it\\012failed, "
            "image=registry.example/team/web:1, tier=front, env=test)");
  VmEvent plain;
  plain.action = "start";
  plain.vm = "web";
  EXPECT_EQ(event_text(plain), "1970-01-01T00:00:00.000000000Z start web");
}

TEST(EventsCommandTest, FiltersOfOneKeyAreAlternatives) {
  EXPECT_TRUE(passes({}));
  EXPECT_TRUE(passes({"event=start", "event=stop"}));
  EXPECT_TRUE(passes({"event=die", "container=w*"}));
  EXPECT_FALSE(passes({"vm=we"})) << "a name is whole, or a pattern";
  EXPECT_TRUE(passes({"image=team/web"}));
  EXPECT_FALSE(passes({"event=stop", "image=debian"}));
  EXPECT_TRUE(passes({"label=tier", "label=env=test"}));
  EXPECT_FALSE(passes({"label=tier", "label=env=live"}));
}

TEST(EventsCommandTest, WhatIsNoFilterIsRefused) {
  for (const char* wrong : {"", "web", "vm=", "event=begin", "colour=red"}) {
    Options options;
    options.filters = {wrong};
    EXPECT_FALSE(check_events(options)) << wrong;
  }
  Options table;
  table.format = "table {{.Name}}";
  EXPECT_FALSE(check_events(table));
}

}  // namespace
}  // namespace layerboot::launcher
