// SPDX-License-Identifier: Apache-2.0
// Which batch of a communicator may start, and when.
#include "comm/batch_queue.h"

#include <gtest/gtest.h>

namespace flexlink {
namespace {

std::unique_ptr<PendingBatch> pending(std::initializer_list<std::pair<Collective, int>> calls) {
  auto made = std::make_unique<PendingBatch>();
  for (const auto& [kind, peer] : calls) {
    Call call;
    call.kind = kind;
    call.root = peer;
    (isCollective(kind) ? made->batch.collective : made->batch.single).push_back(call);
  }
  return made;
}

constexpr auto kSend = Collective::kSend;
constexpr auto kRecv = Collective::kRecv;
constexpr auto kAll = Collective::kAllReduce;

class Queue : public testing::Test {
 protected:
  // The batch, by which the test knows it.
  PendingBatch* add(std::initializer_list<std::pair<Collective, int>> calls) {
    return add(pending(calls));
  }
  PendingBatch* add(std::unique_ptr<PendingBatch> made) {
    PendingBatch* raw = made.get();
    queue_.push(std::move(made));
    return raw;
  }
  // Starts after `before` of the stream.
  PendingBatch* addBehind(std::shared_ptr<HostStream> stream, uint64_t before, Collective kind,
                          int peer) {
    auto made = pending({{kind, peer}});
    made->fences.push_back({std::move(stream), before, before + 1});
    return add(std::move(made));
  }
  void finish(PendingBatch* one) { EXPECT_EQ(queue_.take(&one->batch).get(), one); }

  BatchQueue queue_{4, true};
};

TEST_F(Queue, MessagesStartTogether) {
  PendingBatch* all[] = {add({{kRecv, 1}}), add({{kSend, 1}, {kSend, 2}}), add({{kRecv, 1}})};
  for (PendingBatch* one : all) EXPECT_EQ(queue_.start(), one);
  EXPECT_EQ(queue_.start(), nullptr);
  finish(all[1]);
  finish(all[2]);
  finish(all[0]);
  EXPECT_TRUE(queue_.empty());
}

TEST_F(Queue, AMessageStartsBehindThoseOfItsWayThatHaveYetToStart) {
  auto stream = std::make_shared<HostStream>();
  const uint64_t ticket = stream->add(nullptr);
  PendingBatch* fenced = addBehind(stream, ticket, kRecv, 1);
  PendingBatch* behind = add({{kRecv, 1}, {kSend, 2}});
  PendingBatch* further = add({{kSend, 2}});
  PendingBatch* free = add({{kSend, 1}});
  EXPECT_EQ(queue_.start(), free);
  EXPECT_EQ(queue_.start(), nullptr);
  stream->finish(ticket, {});
  EXPECT_EQ(queue_.start(), fenced);
  EXPECT_EQ(queue_.start(), behind);
  EXPECT_EQ(queue_.start(), further);
}

TEST_F(Queue, ACollectiveIsAlone) {
  PendingBatch* before[] = {add({{kRecv, 1}}), add({{kSend, 3}})};
  PendingBatch* collective = add({{kAll, 0}});
  PendingBatch* behind = add({{kSend, 2}});
  for (PendingBatch* one : before) EXPECT_EQ(queue_.start(), one);
  EXPECT_EQ(queue_.start(), nullptr);
  finish(before[1]);
  EXPECT_EQ(queue_.start(), nullptr);
  finish(before[0]);
  EXPECT_EQ(queue_.start(), collective);
  EXPECT_EQ(queue_.start(), nullptr);
  finish(collective);
  EXPECT_EQ(queue_.start(), behind);
}

TEST_F(Queue, PutsAndMixturesAreAlone) {
  PendingBatch* put = add({{Collective::kPutSignal, 1}});
  PendingBatch* mixed = add({{kSend, 1}, {kAll, 0}});
  PendingBatch* message = add({{kSend, 1}});
  for (PendingBatch* one : {put, mixed, message}) {
    EXPECT_EQ(queue_.start(), one);
    EXPECT_EQ(queue_.start(), nullptr);
    finish(one);
  }
}

TEST_F(Queue, OneAfterTheOtherWhereTheLaneDoesNotOverlap) {
  queue_ = BatchQueue(4, false);
  PendingBatch* first = add({{kRecv, 1}});
  PendingBatch* second = add({{kSend, 2}});
  EXPECT_EQ(queue_.start(), first);
  EXPECT_EQ(queue_.start(), nullptr);
  EXPECT_EQ(queue_.take(nullptr).get(), first);
  EXPECT_EQ(queue_.start(), second);
}

TEST_F(Queue, AllThatIsLeftComesInItsOrder) {
  PendingBatch* all[] = {add({{kRecv, 1}}), add({{kSend, 2}}), add({{kAll, 0}}), add({{kSend, 3}})};
  EXPECT_EQ(queue_.start(), all[0]);
  auto left = queue_.takeAll();
  ASSERT_EQ(left.size(), 4u);
  for (size_t i = 0; i < left.size(); ++i) EXPECT_EQ(left[i].get(), all[i]);
  EXPECT_TRUE(queue_.empty());
  EXPECT_EQ(queue_.start(), nullptr);
  PendingBatch* next = add({{kSend, 1}});
  EXPECT_EQ(queue_.start(), next);
}

}  // namespace
}  // namespace flexlink
