// SPDX-License-Identifier: Apache-2.0
#include "device/host/stream.h"

#include <gtest/gtest.h>

#include "engine/engine.h"

namespace flexlink {
namespace {

TEST(HostStream, FinishesInTheOrderOfTicketsOnly) {
  HostStream stream;
  Driven driven;
  uint64_t first = stream.add(&driven);
  uint64_t second = stream.add(&driven);
  uint64_t third = stream.add(&driven);
  EXPECT_EQ(stream.last(), third);
  stream.finish(second, {});
  EXPECT_EQ(stream.finished(), first - 1);
  stream.finish(first, {});
  EXPECT_EQ(stream.finished(), second);
  stream.finish(third, {});
  EXPECT_EQ(stream.finished(), third);
  EXPECT_EQ(stream.blocker(), nullptr);
}

TEST(HostStream, KeepsTheFirstError) {
  HostStream stream;
  Driven driven;
  uint64_t first = stream.add(&driven);
  uint64_t second = stream.add(&driven);
  stream.finish(first, makeStatus(Code::kRemote, "one"));
  stream.finish(second, makeStatus(Code::kTimeout, "two"));
  EXPECT_EQ(stream.error().code(), Code::kRemote);
  EXPECT_STREQ(stream.error().text(), "one");
}

TEST(HostStream, WaitsForAnotherStream) {
  auto other = std::make_shared<HostStream>();
  HostStream stream;
  Driven driven;
  uint64_t ticket = other->add(&driven);
  stream.addWait(other, ticket);
  uint64_t mine = stream.add(&driven);
  stream.finish(mine, {});
  EXPECT_LT(stream.finished(), mine);
  EXPECT_EQ(stream.blocker(), &driven) << "of the other stream";
  other->finish(ticket, {});
  EXPECT_TRUE(stream.refresh());
  EXPECT_EQ(stream.finished(), mine);
}

TEST(HostStream, AWaitForThePastIsNothing) {
  auto other = std::make_shared<HostStream>();
  HostStream stream;
  stream.addWait(other, 0);
  EXPECT_EQ(stream.last(), 0u);
}

TEST(Streams, OnlyRegisteredHandlesAreFound) {
  auto stream = std::make_shared<HostStream>();
  void* handle = registerStream(stream);
  EXPECT_EQ(findStream(handle), stream);
  EXPECT_EQ(unregisterStream(handle), stream);
  EXPECT_EQ(findStream(handle), nullptr);
  int other = 0;
  EXPECT_EQ(findStream(&other), nullptr);
}

}  // namespace
}  // namespace flexlink
