// SPDX-License-Identifier: Apache-2.0
// Deadlines: saturation, rounding, "no limit"; and the owner of a descriptor.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

namespace flexlink {
namespace {

using std::chrono::hours;
using std::chrono::nanoseconds;
using std::chrono::seconds;

TEST(BaseClock, NowNeverGoesBack) {
  const int64_t first = nowNanos();
  EXPECT_LE(first, nowNanos());
  EXPECT_GT(first, 0);
}

TEST(BaseDeadline, NeverDoesNotPassAndPollsWithoutLimit) {
  const Deadline never = Deadline::never();
  EXPECT_TRUE(never.isNever());
  EXPECT_FALSE(never.passed());
  EXPECT_EQ(never.remainingNanos(), INT64_MAX);
  EXPECT_EQ(never.pollMillis(), -1);
}

TEST(BaseDeadline, NothingOrLessHasPassedAtOnce) {
  for (nanoseconds span : {nanoseconds(0), nanoseconds(-5)}) {
    const Deadline deadline = Deadline::after(span);
    EXPECT_TRUE(deadline.passed());
    EXPECT_EQ(deadline.remainingNanos(), 0);
    EXPECT_EQ(deadline.pollMillis(), 0);
  }
}

TEST(BaseDeadline, FutureHasNotPassedAndShrinks) {
  const int64_t before = nowNanos();
  const Deadline deadline = Deadline::after(hours(1));
  EXPECT_GE(deadline.atNanos(), before + nanoseconds(hours(1)).count());
  EXPECT_FALSE(deadline.passed());
  EXPECT_LE(deadline.remainingNanos(), nanoseconds(hours(1)).count());
  EXPECT_LE(deadline.pollMillis(), 3'600'000);
  EXPECT_GT(deadline.pollMillis(), 3'500'000);
}

TEST(BaseDeadline, PartOfAMillisecondIsRoundedUpSoThatPollDoesNotSpin) {
  const Deadline deadline = Deadline::after(std::chrono::microseconds(500));
  EXPECT_EQ(deadline.pollMillis(), deadline.passed() ? 0 : 1);
}

TEST(BaseDeadline, HugeSpanSaturates) {
  EXPECT_TRUE(Deadline::after(nanoseconds::max()).isNever());
  EXPECT_EQ(Deadline::after(hours(24 * 365)).pollMillis(), INT32_MAX);
}

TEST(BaseDeadline, SettingOfZeroSecondsMeansNoLimit) {
  EXPECT_TRUE(Deadline::afterSecondsOrNever(0).isNever());
  EXPECT_TRUE(Deadline::afterSecondsOrNever(-1).isNever());
  EXPECT_TRUE(Deadline::afterSecondsOrNever(1e300).isNever());
  EXPECT_FALSE(Deadline::afterSecondsOrNever(60).isNever());
  EXPECT_LE(Deadline::afterSecondsOrNever(60).remainingNanos(), 60'000'000'000);
}

TEST(BaseDeadline, EarlierOfTwoIsTaken) {
  const Deadline soon = Deadline::after(seconds(1));
  EXPECT_EQ(Deadline::earlier(soon, Deadline::never()).atNanos(), soon.atNanos());
  EXPECT_EQ(Deadline::earlier(Deadline::never(), soon).atNanos(), soon.atNanos());
}

bool isOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }

TEST(BaseFd, ClosesWhatItOwnsAndNothingElse) {
  const int number = dup(1);
  {
    Fd owner(number);
    Fd moved(std::move(owner));
    EXPECT_FALSE(owner.valid());  // NOLINT(bugprone-use-after-move)
    EXPECT_EQ(moved.get(), number);
    EXPECT_TRUE(isOpen(number));
  }
  EXPECT_FALSE(isOpen(number));
}

TEST(BaseFd, ReleaseLeavesItOpenAndAssignmentClosesTheOld) {
  Fd first(dup(1));
  const int old = first.get();
  Fd second(dup(1));
  const int kept = second.get();
  first = std::move(second);
  EXPECT_FALSE(isOpen(old));
  EXPECT_EQ(first.release(), kept);
  EXPECT_TRUE(isOpen(kept));
  EXPECT_FALSE(first.valid());
  close(kept);
}

}  // namespace
}  // namespace flexlink
