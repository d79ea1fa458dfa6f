// SPDX-License-Identifier: Apache-2.0
// What streams on host memory do themselves, and host memory as a device.
#include "device/host/host_device.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "engine/engine.h"

namespace flexlink {
namespace {

uint64_t load(uint64_t& counter) {
  return std::atomic_ref<uint64_t>(counter).load(std::memory_order_acquire);
}

void store(uint64_t& counter, uint64_t value) {
  std::atomic_ref<uint64_t>(counter).store(value, std::memory_order_release);
}

TEST(StreamWorks, CountersThatNothingIsBeforePassAtOnce) {
  HostStream stream;
  uint64_t counter = 0;
  stream.addOwn(StreamWork::writeValue(&counter, 5), nullptr);
  stream.addOwn(StreamWork::waitValue(&counter, 5), nullptr);
  EXPECT_EQ(counter, 5u);
  EXPECT_EQ(stream.finished(), 2u);
  EXPECT_FALSE(stream.hasOwnWork());
}

TEST(StreamWorks, EachPieceWaitsForTheOneBefore) {
  HostStream stream;
  uint64_t gate = 4, done = 0;
  int from = 7, to = 0;
  stream.addOwn(StreamWork::waitValue(&gate, 5), nullptr);
  stream.addOwn(StreamWork::copy(&to, &from, sizeof to), nullptr);
  stream.addOwn(StreamWork::writeValue(&done, 1), nullptr);
  EXPECT_FALSE(stream.work());
  EXPECT_TRUE(stream.awaitsCounter());
  EXPECT_EQ(to + static_cast<int>(done), 0);
  gate = 6;  // more than enough
  EXPECT_TRUE(stream.refresh());
  EXPECT_EQ(to + static_cast<int>(done), 0) << "a copy is for work() alone";
  EXPECT_TRUE(stream.work());
  EXPECT_EQ(to, 7);
  EXPECT_EQ(done, 1u);
  EXPECT_EQ(stream.finished(), 3u);
}

TEST(StreamWorks, WorkOfOthersComesInItsTurn) {
  HostStream stream;
  Driven driven, driver;
  uint64_t done = 0;
  uint64_t ticket = stream.add(&driven);
  stream.addOwn(StreamWork::writeValue(&done, 1), &driver);
  EXPECT_EQ(stream.blocker(), &driven);
  EXPECT_TRUE(stream.hasOwnWork());
  EXPECT_FALSE(stream.work());
  EXPECT_EQ(done, 0u);
  stream.finish(ticket, {});
  EXPECT_EQ(done, 1u);
  uint64_t gate = 0;
  stream.addOwn(StreamWork::waitValue(&gate, 1), &driver);
  EXPECT_EQ(stream.blocker(), &driver);
}

TEST(StreamWorks, AFoldKeepsItsLists) {
  HostStream stream;
  std::vector<float> a{1, 2}, b{10, 20}, sum(2);
  {
    std::vector<const void*> srcs{a.data(), b.data()};
    std::vector<void*> dsts{sum.data()};
    FoldArgs args{dsts.data(),    1, srcs.data(), 2, 2, DataType::kFloat32,
                  ReduceOp::kSum, 1, nullptr,     0};
    stream.addOwn(StreamWork::fold(args), nullptr);
    srcs.assign(2, nullptr);
    dsts.assign(1, nullptr);
  }
  EXPECT_TRUE(stream.work());
  EXPECT_EQ(sum, (std::vector<float>{11, 22}));
}

TEST(StreamWorks, OneThreadCopiesWhileOthersLook) {
  HostStream stream;
  constexpr int kCopies = 500;
  std::vector<uint64_t> from(kCopies), to(kCopies);
  for (int i = 0; i < kCopies; ++i) from[static_cast<size_t>(i)] = static_cast<uint64_t>(i) + 1;
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      while (stream.finished() < kCopies) (void)stream.work();
    });
  }
  for (size_t i = 0; i < kCopies; ++i) {
    stream.addOwn(StreamWork::copy(&to[i], &from[i], sizeof from[i]), nullptr);
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(to, from);
}

TEST(StreamWorks, ACounterOrdersTwoStreamsOfTwoThreads) {
  HostStream first, second;
  uint64_t full = 0, empty = 0;
  uint64_t slot = 0;
  constexpr uint64_t kRounds = 300;
  std::vector<uint64_t> from(kRounds), to(kRounds);
  for (uint64_t i = 0; i < kRounds; ++i) from[i] = i * i + 1;
  std::thread writer([&] {
    for (uint64_t i = 0; i < kRounds; ++i) {
      first.addOwn(StreamWork::waitValue(&empty, i), nullptr);
      first.addOwn(StreamWork::copy(&slot, &from[i], sizeof slot), nullptr);
      first.addOwn(StreamWork::writeValue(&full, i + 1), nullptr);
    }
    while (first.finished() < 3 * kRounds) (void)first.work();
  });
  for (uint64_t i = 0; i < kRounds; ++i) {
    second.addOwn(StreamWork::waitValue(&full, i + 1), nullptr);
    second.addOwn(StreamWork::copy(&to[i], &slot, sizeof slot), nullptr);
    second.addOwn(StreamWork::writeValue(&empty, i + 1), nullptr);
  }
  while (second.finished() < 3 * kRounds) (void)second.work();
  writer.join();
  EXPECT_EQ(to, from);
}

TEST(HostDevice, DoesTheWorkOfItsStreamsWhenItIsDriven) {
  HostDevice device;
  StreamHandle stream = device.makeStream().value();
  uint64_t gate = 0, done = 0;
  int from = 3, to = 0;
  ASSERT_TRUE(device.waitValue(stream, &gate, 1).ok());
  ASSERT_TRUE(device.copy(stream, &to, &from, sizeof to).ok());
  ASSERT_TRUE(device.writeValue(stream, &done, 9).ok());
  EXPECT_FALSE(device.drive());
  EXPECT_EQ(device.query(stream).code(), Code::kInProgress);
  store(gate, 1);
  EXPECT_TRUE(device.drive());
  EXPECT_TRUE(device.query(stream).ok());
  EXPECT_EQ(load(done), 9u);
  EXPECT_EQ(to, 3);
  EXPECT_FALSE(device.capturing(stream).value());
  EXPECT_TRUE(device.freeStream(stream).ok());
  EXPECT_EQ(device.query(stream).code(), Code::kInvalidArgument);
  EXPECT_EQ(device.copy(stream, &to, &from, 1).code(), Code::kInvalidArgument);
}

TEST(HostDevice, KnowsWhatIsPinned) {
  HostDevice device;
  std::vector<uint8_t> memory(8192);
  EXPECT_EQ(device.memoryOf(memory.data()).value(), MemoryKind::kHost);
  ASSERT_TRUE(device.pin(memory.data(), 4096).ok());
  EXPECT_EQ(device.memoryOf(memory.data() + 4095).value(), MemoryKind::kPinned);
  EXPECT_EQ(device.memoryOf(memory.data() + 4096).value(), MemoryKind::kHost);
  EXPECT_EQ(device.pin(memory.data() + 100, 10).code(), Code::kInvalidArgument);
  EXPECT_EQ(device.unpin(memory.data() + 1).code(), Code::kInvalidArgument);
  EXPECT_TRUE(device.unpin(memory.data()).ok());
  EXPECT_EQ(device.memoryOf(memory.data()).value(), MemoryKind::kHost);
}

TEST(HostDevice, OpensWhatWasSharedAtTheSameByte) {
  HostDevice device;
  void* base = RegionTable::instance().create(8192, RegionUse::kUser).value();
  auto* mine = static_cast<uint8_t*>(base);
  mine[5000] = 77;
  Result<MemoryHandle> handle = device.share(mine + 5000);
  ASSERT_TRUE(handle.ok()) << handle.status().text();
  Result<void*> opened = device.open(handle.value());
  ASSERT_TRUE(opened.ok()) << opened.status().text();
  auto* theirs = static_cast<uint8_t*>(opened.value());
  EXPECT_NE(theirs, mine + 5000);
  EXPECT_EQ(*theirs, 77);
  theirs[1] = 78;
  EXPECT_EQ(mine[5001], 78);
  EXPECT_TRUE(device.close(theirs).ok());
  EXPECT_EQ(device.close(theirs).code(), Code::kInvalidArgument);
  int local = 0;
  EXPECT_EQ(device.share(&local).status().code(), Code::kInvalidArgument);
  EXPECT_TRUE(RegionTable::instance().destroy(base).ok());
  EXPECT_FALSE(device.open(MemoryHandle{}).ok());
}

}  // namespace
}  // namespace flexlink
