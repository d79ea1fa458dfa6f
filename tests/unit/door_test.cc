// SPDX-License-Identifier: Apache-2.0
// The door against visitors who speak its language but do not have the key.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <string>

#include "comm/frame.h"
#include "comm/rendezvous.h"
#include "comm/wire.h"

namespace flexlink {
namespace {

constexpr int kSilenceMillis = 1500;

// Says a well-formed hello for a meeting of one, which is complete at once: the right cookie is
// answered with the round. Returns what came back before the door closed or fell silent.
struct Answer {
  std::string bytes;
  bool closed = false;
};
Answer knock(const Cookie& cookie) {
  Meeting meeting;
  meeting.address = myDoor().value();
  meeting.cookie = cookie;
  meeting.size = 1;
  Result<Fd> started = connectTcpStart(meeting.address);
  EXPECT_TRUE(started.ok());
  Fd fd = std::move(started.value());
  pollfd connected{fd.get(), POLLOUT, 0};
  EXPECT_EQ(poll(&connected, 1, kSilenceMillis), 1);
  FrameStream stream(std::move(fd), wire::kMaxHelloBytes);
  stream.queue(wire::packHello(meeting, "hello"));
  EXPECT_TRUE(stream.flush().ok());
  Answer answer;
  for (;;) {
    pollfd readable{stream.fd(), POLLIN, 0};
    if (poll(&readable, 1, kSilenceMillis) != 1) return answer;
    char part[4096];
    ssize_t got = recv(stream.fd(), part, sizeof part, 0);
    answer.closed = got <= 0;
    if (answer.closed) return answer;
    answer.bytes.append(part, static_cast<size_t>(got));
  }
}

TEST(DoorCookie, OpensForTheRightOneOnly) {
  Cookie right{}, wrong{};
  right[0] = 1;
  wrong[0] = 2;
  admitCookie(right);
  EXPECT_NE(knock(right).bytes, "");
  Answer stranger = knock(wrong);
  EXPECT_EQ(stranger.bytes, "");
  EXPECT_TRUE(stranger.closed);
  dismissCookie(right);
  Answer late = knock(right);
  EXPECT_EQ(late.bytes, "");
  EXPECT_TRUE(late.closed);
}

}  // namespace
}  // namespace flexlink
