// SPDX-License-Identifier: Apache-2.0
// Sockets on this machine: listening, connecting, Unix sockets, descriptors that travel.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/socket.h"

namespace flexlink {
namespace {

void waitFor(int fd, short events) {
  pollfd state{fd, events, 0};
  ASSERT_EQ(poll(&state, 1, 5000), 1);
}

Status connectAndWait(int fd, const SocketAddress& remote) {
  pollfd state{fd, POLLOUT, 0};
  poll(&state, 1, 5000);
  return connectResult(fd, remote);
}

struct Pair {
  Fd client;
  Fd server;
};

Pair connectedPair(int family) {
  Fd listener = std::move(listenTcp(SocketAddress::loopback(family)).value());
  const SocketAddress at = localAddress(listener.get()).value();
  Pair pair;
  pair.client = std::move(connectTcpStart(at).value());
  waitFor(listener.get(), POLLIN);
  pair.server = std::move(acceptConnection(listener.get()).value());
  EXPECT_TRUE(connectAndWait(pair.client.get(), at).ok());
  return pair;
}

std::string uniqueName(const char* what) {
  return std::string("flexlink-test-") + what + "-" + std::to_string(getpid());
}

Pair unixPair(const char* what) {
  Fd listener = std::move(listenUnix(uniqueName(what)).value());
  Pair pair;
  pair.client = std::move(connectUnix(uniqueName(what)).value());
  pair.server = std::move(acceptConnection(listener.get()).value());
  return pair;
}

bool hasFlags(int fd) {
  return (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0 && (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0;
}

class BaseSocketFamily : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    const auto probe = listenTcp(SocketAddress::loopback(GetParam()));
    if (!probe.ok()) GTEST_SKIP() << probe.status().text();
  }
};

INSTANTIATE_TEST_SUITE_P(Both, BaseSocketFamily, ::testing::Values(AF_INET, AF_INET6),
                         [](const auto& info) { return info.param == AF_INET ? "IPv4" : "IPv6"; });

TEST_P(BaseSocketFamily, ConnectionCarriesBytesBothWays) {
  Pair pair = connectedPair(GetParam());
  EXPECT_TRUE(hasFlags(pair.client.get()));
  EXPECT_TRUE(hasFlags(pair.server.get()));
  EXPECT_EQ(sendSome(pair.client.get(), "ping", 4).value(), 4u);
  waitFor(pair.server.get(), POLLIN);
  char text[8] = "";
  EXPECT_EQ(recvSome(pair.server.get(), text, sizeof(text)).value(), 4u);
  EXPECT_STREQ(text, "ping");
  EXPECT_EQ(peerAddress(pair.client.get()).value(), localAddress(pair.server.get()).value());
}

TEST_P(BaseSocketFamily, NobodyListeningIsARemoteErrorThatNamesTheAddress) {
  Fd listener = std::move(listenTcp(SocketAddress::loopback(GetParam())).value());
  const SocketAddress at = localAddress(listener.get()).value();
  listener.reset();
  const Result<Fd> client = connectTcpStart(at);
  const Status status = client.ok() ? connectAndWait(client.value().get(), at) : client.status();
  EXPECT_EQ(status.code(), Code::kRemote);
  EXPECT_EQ(std::string(status.text()),
            "connecting to " + at.text() +
                ": Connection refused; is that process alive, does a firewall block the port, and "
                "is NCCL_SOCKET_IFNAME right on both hosts?");
}

TEST_P(BaseSocketFamily, SourceAddressIsTheOneThatWasAsked) {
  Fd listener = std::move(listenTcp(SocketAddress::loopback(GetParam())).value());
  const SocketAddress at = localAddress(listener.get()).value();
  const Fd client = std::move(connectTcpStart(at, SocketAddress::loopback(GetParam())).value());
  ASSERT_TRUE(connectAndWait(client.get(), at).ok());
  EXPECT_TRUE(localAddress(client.get()).value().isLoopback());
}

TEST(BaseSocket, PeerThatHasClosedIsZeroBytesThenARemoteErrorAndNoSignal) {
  Pair pair = connectedPair(AF_INET);
  pair.server.reset();
  waitFor(pair.client.get(), POLLIN);
  char byte;
  EXPECT_EQ(recvSome(pair.client.get(), &byte, 1).value(), 0u);
  Code code = Code::kOk;
  for (int i = 0; i < 100 && code == Code::kOk; ++i) {
    code = sendSome(pair.client.get(), &byte, 1).status().code();
    usleep(1000);
  }
  EXPECT_EQ(code, Code::kRemote);
}

TEST(BaseSocket, NothingToReadAndNobodyToAcceptIsInProgress) {
  Pair pair = connectedPair(AF_INET);
  char byte;
  EXPECT_EQ(recvSome(pair.client.get(), &byte, 1).status().code(), Code::kInProgress);
  const Fd listener = std::move(listenTcp(SocketAddress::loopback(AF_INET)).value());
  EXPECT_EQ(acceptConnection(listener.get()).status().code(), Code::kInProgress);
}

TEST(BaseSocket, SocketConnectedToItselfIsTakenForRefused) {
  const Fd self(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const SocketAddress any = SocketAddress::loopback(AF_INET);
  ASSERT_EQ(bind(self.get(), any.get(), any.length()), 0);
  const SocketAddress own = localAddress(self.get()).value();
  connect(self.get(), own.get(), own.length());
  const Status status = connectAndWait(self.get(), own);
  EXPECT_EQ(status.code(), Code::kRemote);
  EXPECT_TRUE(std::string(status.text())
                  .starts_with("connecting to " + own.text() + ": Connection refused;"));
}

TEST(BaseSocket, SmallMessagesAreNotDelayedOnEitherSide) {
  Pair pair = connectedPair(AF_INET);
  for (int fd : {pair.client.get(), pair.server.get()}) {
    int on = 0;
    socklen_t length = sizeof(on);
    ASSERT_EQ(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &length), 0);
    EXPECT_EQ(on, 1);
  }
}

TEST(BaseSocket, PortOfAConnectionThatJustEndedCanBeListenedOnAgain) {
  Fd listener = std::move(listenTcp(SocketAddress::loopback(AF_INET)).value());
  const SocketAddress at = localAddress(listener.get()).value();
  const Fd client = std::move(connectTcpStart(at).value());
  waitFor(listener.get(), POLLIN);
  Fd server = std::move(acceptConnection(listener.get()).value());
  server.reset();  // closes first: its side waits in FIN-WAIT or TIME-WAIT
  listener.reset();
  const Result<Fd> again = listenTcp(at);
  EXPECT_TRUE(again.ok()) << again.status().text();
}

TEST(BaseSocket, UnconnectedSocketIsNotTakenForConnected) {
  const Fd listener = std::move(listenTcp(SocketAddress::loopback(AF_INET)).value());
  const SocketAddress at = localAddress(listener.get()).value();
  Fd never(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  EXPECT_EQ(connectResult(never.get(), at).code(), Code::kRemote);
}

TEST(BaseSocket, PortRangeGivesItsPortsThenSaysWhatToSet) {
  // A free port and its neighbour, found by asking the kernel; taken by others in between: again.
  for (int attempt = 0; attempt < 20; ++attempt) {
    Fd first = std::move(listenTcp(SocketAddress::loopback(AF_INET)).value());
    const int port = localAddress(first.get()).value().port();
    if (port == 65535) continue;
    const Result<Fd> second = listenTcp(SocketAddress::loopback(AF_INET), {port, port + 1});
    if (!second.ok()) continue;
    EXPECT_EQ(localAddress(second.value().get()).value().port(), port + 1);
    const Result<Fd> third = listenTcp(SocketAddress::loopback(AF_INET), {port, port + 1});
    ASSERT_FALSE(third.ok());
    EXPECT_EQ(third.status().code(), Code::kSystem);
    EXPECT_EQ(std::string(third.status().text()),
              "listening on 127.0.0.1: no free port from " + std::to_string(port) + " to " +
                  std::to_string(port + 1) +
                  " (Address already in use); set FLEXLINK_PORT_RANGE to a wider range");
    return;
  }
  FAIL() << "no two neighbouring ports were free in 20 attempts";
}

TEST(BaseSocket, FixedPortWinsOverTheRangeAndIsNotLeft) {
  const Fd first = std::move(listenTcp(SocketAddress::loopback(AF_INET)).value());
  const SocketAddress taken = localAddress(first.get()).value();
  const Result<Fd> second = listenTcp(taken, {20000, 60000});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(std::string(second.status().text()),
            "listening on " + taken.text() +
                ": Address already in use; another process has this port: stop it or choose "
                "another port");
}

TEST(BaseSocket, ForeignAddressCannotBeListenedOn) {
  const Result<Fd> result = listenTcp(parse("203.0.113.1:0").value(), {20000, 20001});
  ASSERT_FALSE(result.ok());
  EXPECT_STREQ(result.status().text(),
               "listening on 203.0.113.1: Cannot assign requested address; is this an address of "
               "this host?");
}

TEST(BaseUnixSocket, PeerIsThisProcess) {
  Pair pair = unixPair("credentials");
  const Result<ucred> peer = peerCredentials(pair.server.get());
  ASSERT_TRUE(peer.ok());
  EXPECT_EQ(peer.value().pid, getpid());
  EXPECT_EQ(peer.value().uid, getuid());
  EXPECT_TRUE(hasFlags(pair.client.get()));
}

TEST(BaseUnixSocket, NameIsGoneWithItsListenerAndTakenWhileItLives) {
  const std::string name = uniqueName("name");
  Fd listener = std::move(listenUnix(name).value());
  EXPECT_EQ(listenUnix(name).status().code(), Code::kSystem);
  listener.reset();
  const Result<Fd> client = connectUnix(name);
  EXPECT_EQ(client.status().code(), Code::kRemote);
  EXPECT_EQ(std::string(client.status().text()),
            "connecting to the Unix socket @" + name +
                ": Connection refused; is that process alive and in the same network namespace?");
}

TEST(BaseUnixSocket, NameLengthIsBounded) {
  EXPECT_EQ(listenUnix("").status().code(), Code::kInvalidArgument);
  EXPECT_EQ(connectUnix(std::string(108, 'n')).status().code(), Code::kInvalidArgument);
  EXPECT_TRUE(listenUnix(uniqueName("long") + std::string(60, 'n')).ok());
}

TEST(BaseUnixSocket, DescriptorArrivesAsTheSameMemory) {
  Pair pair = unixPair("memory");
  const Fd memory(memfd_create("flexlink-test", MFD_CLOEXEC));
  ASSERT_EQ(write(memory.get(), "shared", 6), 6);
  const int fds[] = {memory.get(), 1};
  ASSERT_EQ(sendWithFds(pair.client.get(), "xy", 2, fds).value(), 2u);
  char data[8] = "";
  std::vector<Fd> received;
  ASSERT_EQ(recvWithFds(pair.server.get(), data, sizeof(data), &received).value(), 2u);
  EXPECT_STREQ(data, "xy");
  ASSERT_EQ(received.size(), 2u);
  EXPECT_NE(received[0].get(), memory.get());
  EXPECT_NE(fcntl(received[0].get(), F_GETFD) & FD_CLOEXEC, 0);
  char text[8] = "";
  EXPECT_EQ(pread(received[0].get(), text, 6, 0), 6);
  EXPECT_STREQ(text, "shared");
}

TEST(BaseUnixSocket, BytesWithoutDescriptorsAndAnEmptySocketWork) {
  Pair pair = unixPair("plain");
  std::vector<Fd> received;
  char byte = 0;
  EXPECT_EQ(recvWithFds(pair.server.get(), &byte, 1, &received).status().code(), Code::kInProgress);
  EXPECT_EQ(sendWithFds(pair.client.get(), "z", 1, {}).value(), 1u);
  EXPECT_EQ(recvWithFds(pair.server.get(), &byte, 1, &received).value(), 1u);
  EXPECT_EQ(byte, 'z');
  EXPECT_TRUE(received.empty());
  pair.client.reset();
  EXPECT_EQ(recvWithFds(pair.server.get(), &byte, 1, &received).value(), 0u);
}

TEST(BaseUnixSocket, TooManyOrNoBytesAreRefusedBySender) {
  Pair pair = unixPair("limits");
  const std::vector<int> many(kMaxFdsPerMessage + 1, 1);
  EXPECT_EQ(sendWithFds(pair.client.get(), "x", 1, many).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(sendWithFds(pair.client.get(), "x", 0, {}).status().code(), Code::kInvalidArgument);
}

int openDescriptors() {
  int count = 0;
  for (int fd = 0; fd < 1024; ++fd) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

TEST(BaseUnixSocket, FloodOfDescriptorsIsARemoteErrorAndLeaksNone) {
  Pair pair = unixPair("flood");
  const std::vector<int> many(kMaxFdsPerMessage + 5, 1);
  char control[CMSG_SPACE(sizeof(int) * (kMaxFdsPerMessage + 5))] = {};
  char byte = 'x';
  iovec part{&byte, 1};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(many.size() * sizeof(int));
  memcpy(CMSG_DATA(header), many.data(), many.size() * sizeof(int));
  ASSERT_EQ(sendmsg(pair.client.get(), &message, MSG_NOSIGNAL), 1);
  const int before = openDescriptors();
  std::vector<Fd> received;
  EXPECT_EQ(recvWithFds(pair.server.get(), &byte, 1, &received).status().code(), Code::kRemote);
  EXPECT_TRUE(received.empty());
  EXPECT_EQ(openDescriptors(), before);
}

TEST(BaseUnixSocket, FullSocketIsInProgress) {
  Pair pair = unixPair("full");
  const std::vector<char> block(1 << 16);
  Code code = Code::kOk;
  for (int i = 0; i < 1000 && code == Code::kOk; ++i) {
    code = sendSome(pair.client.get(), block.data(), block.size()).status().code();
  }
  EXPECT_EQ(code, Code::kInProgress);
  EXPECT_EQ(sendWithFds(pair.client.get(), "x", 1, {}).status().code(), Code::kInProgress);
}

}  // namespace
}  // namespace flexlink
