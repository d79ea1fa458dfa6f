// SPDX-License-Identifier: Apache-2.0
// The socket calls behind socket.h: each adds flags that nobody may forget and words to errors.
#include "base/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

#include <algorithm>
#include <iterator>

namespace flexlink {
namespace {

constexpr int kBacklog = 16384;  // the kernel cuts it at net.core.somaxconn

Result<Fd> newSocket(int family) {
  Fd fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd) return fd;
  const int error = errno;
  const char* advice = error == EMFILE || error == ENFILE ? "; raise the limit (ulimit -n)" : "";
  return makeStatus(Code::kSystem, "socket: %s%s", strerror(error), advice);
}

void setFlag(int fd, int level, int option) {
  const int on = 1;
  ::setsockopt(fd, level, option, &on, sizeof(on));
}

// 0, or errno. SO_REUSEADDR lets two sockets bind the same port; only listen says who has it.
int bindAndListen(int fd, const SocketAddress& address) {
  if (::bind(fd, address.get(), address.length()) != 0) return errno;
  return ::listen(fd, kBacklog) != 0 ? errno : 0;
}

Status listenFailed(const SocketAddress& address, PortRange range, int error) {
  const bool taken = error == EADDRINUSE || error == EACCES;
  if (address.port() != 0 || range.first == 0) {
    return makeStatus(Code::kSystem, "listening on %s: %s%s", address.text().c_str(),
                      strerror(error),
                      taken ? "; another process has this port: stop it or choose another port"
                            : "; is this an address of this host?");
  }
  if (!taken) {
    return makeStatus(Code::kSystem, "listening on %s: %s; is this an address of this host?",
                      address.host().c_str(), strerror(error));
  }
  return makeStatus(Code::kSystem,
                    "listening on %s: no free port from %d to %d (%s); set FLEXLINK_PORT_RANGE to "
                    "a wider range",
                    address.host().c_str(), range.first, range.last, strerror(error));
}

using NameCall = int (*)(int, sockaddr*, socklen_t*);

Result<SocketAddress> addressBy(NameCall call, const char* name, int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof(storage);
  auto* address = reinterpret_cast<sockaddr*>(&storage);
  if (call(fd, address, &length) != 0) {
    return makeStatus(Code::kSystem, "%s: %s", name, strerror(errno));
  }
  return SocketAddress::fromSockaddr(address, length);
}

Status connectFailed(const SocketAddress& remote, int error) {
  return makeStatus(Code::kRemote,
                    "connecting to %s: %s; is that process alive, does a firewall block the port, "
                    "and is NCCL_SOCKET_IFNAME right on both hosts?",
                    remote.valid() ? remote.text().c_str() : "a peer", strerror(error));
}

bool wouldBlock(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

Status transferFailed(const char* what, int error) {
  if (wouldBlock(error)) return Status::inProgress();
  const bool gone = error == ECONNRESET || error == EPIPE || error == ETIMEDOUT ||
                    error == EHOSTUNREACH || error == ENETUNREACH || error == ECONNREFUSED;
  return makeStatus(gone ? Code::kRemote : Code::kSystem, "%s: %s", what, strerror(error));
}

struct UnixAddress {
  sockaddr_un address{};
  socklen_t length = 0;
};

Result<UnixAddress> abstractAddress(std::string_view name) {
  if (name.empty() || name.size() > kMaxUnixName) {
    return makeStatus(Code::kInvalidArgument, "a Unix socket's name has 1 to %zu bytes, not %zu",
                      kMaxUnixName, name.size());
  }
  UnixAddress result;
  result.address.sun_family = AF_UNIX;
  memcpy(result.address.sun_path + 1, name.data(), name.size());
  result.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  return result;
}

const sockaddr* generic(const UnixAddress& address) {
  return reinterpret_cast<const sockaddr*>(&address.address);
}

// Errors of accept that concern one caller who has gone again, not the listener.
bool isPassing(int error) {
  return error == EINTR || error == ECONNABORTED || error == EPROTO || error == ENETDOWN ||
         error == EHOSTDOWN || error == EHOSTUNREACH || error == ENETUNREACH;
}

// Takes ownership of every descriptor of the message before anything can fail.
std::vector<Fd> descriptorsOf(msghdr* message) {
  std::vector<Fd> fds;
  for (cmsghdr* part = CMSG_FIRSTHDR(message); part != nullptr; part = CMSG_NXTHDR(message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
      fds.emplace_back(fd);
    }
  }
  return fds;
}

}  // namespace

Result<Fd> listenTcp(const SocketAddress& address, PortRange range) {
  SocketAddress attempt = address;
  const bool fixed = address.port() != 0 || range.first == 0;
  const int first = fixed ? address.port() : range.first;
  const int last = fixed ? first : range.last;
  int error = EADDRINUSE;
  for (int port = first; port <= last; ++port) {
    // A socket whose listen failed stays bound, so each port gets a new one.
    FLEXLINK_TRY_ASSIGN(Fd fd, newSocket(address.family()));
    setFlag(fd.get(), SOL_SOCKET, SO_REUSEADDR);
    attempt.setPort(port);
    error = bindAndListen(fd.get(), attempt);
    if (error == 0) return fd;
    if (error != EADDRINUSE && error != EACCES) break;
  }
  return listenFailed(address, range, error);
}

Result<SocketAddress> localAddress(int fd) { return addressBy(::getsockname, "getsockname", fd); }

Result<SocketAddress> peerAddress(int fd) { return addressBy(::getpeername, "getpeername", fd); }

Result<Fd> connectTcpStart(const SocketAddress& remote, const SocketAddress& source) {
  FLEXLINK_TRY_ASSIGN(Fd fd, newSocket(remote.family()));
  setFlag(fd.get(), IPPROTO_TCP, TCP_NODELAY);
  if (source.valid()) {
    // The port is chosen at connect, per destination: thousands of peers do not use up the range.
    setFlag(fd.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT);
    if (::bind(fd.get(), source.get(), source.length()) != 0) {
      return makeStatus(Code::kSystem,
                        "connecting to %s from %s: %s; is this an address of this host?",
                        remote.text().c_str(), source.host().c_str(), strerror(errno));
    }
  }
  if (::connect(fd.get(), remote.get(), remote.length()) == 0 || errno == EINPROGRESS ||
      errno == EINTR) {
    return fd;
  }
  return connectFailed(remote, errno);
}

Status connectResult(int fd, const SocketAddress& remote) {
  pollfd state{fd, POLLOUT, 0};
  const int ready = ::poll(&state, 1, 0);
  if (ready == 0 || (ready < 0 && errno == EINTR)) return Status::inProgress();
  int error = ready < 0 ? errno : 0;
  socklen_t length = sizeof(error);
  if (error == 0 && ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) error = errno;
  if (error != 0) return connectFailed(remote, error);
  const Result<SocketAddress> peer = peerAddress(fd);  // SO_ERROR is 0 when asked a second time
  const Result<SocketAddress> local = localAddress(fd);
  if (!peer.ok() || !local.ok()) return connectFailed(remote, ENOTCONN);
  // TCP can connect a socket to itself where nobody listens on a port of the ephemeral range.
  if (peer.value() == local.value()) return connectFailed(remote, ECONNREFUSED);
  return Status();
}

Result<Fd> acceptConnection(int listener) {
  for (;;) {
    Fd fd(::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd) {
      setFlag(fd.get(), IPPROTO_TCP, TCP_NODELAY);
      return fd;
    }
    const int error = errno;
    if (isPassing(error)) continue;
    if (wouldBlock(error)) return Status::inProgress();
    const char* advice = error == EMFILE || error == ENFILE ? "; raise the limit (ulimit -n)" : "";
    return makeStatus(Code::kSystem, "accepting a connection: %s%s", strerror(error), advice);
  }
}

Result<Fd> listenUnix(std::string_view abstractName) {
  FLEXLINK_TRY_ASSIGN(const UnixAddress address, abstractAddress(abstractName));
  FLEXLINK_TRY_ASSIGN(Fd fd, newSocket(AF_UNIX));
  if (::bind(fd.get(), generic(address), address.length) != 0 ||
      ::listen(fd.get(), kBacklog) != 0) {
    return makeStatus(Code::kSystem, "listening on the Unix socket @%.*s: %s",
                      static_cast<int>(abstractName.size()), abstractName.data(), strerror(errno));
  }
  return fd;
}

Result<Fd> connectUnix(std::string_view abstractName) {
  FLEXLINK_TRY_ASSIGN(const UnixAddress address, abstractAddress(abstractName));
  FLEXLINK_TRY_ASSIGN(Fd fd, newSocket(AF_UNIX));
  if (::connect(fd.get(), generic(address), address.length) == 0) return fd;
  if (wouldBlock(errno) || errno == EINTR) return Status::inProgress();
  return makeStatus(Code::kRemote,
                    "connecting to the Unix socket @%.*s: %s; is that process alive and in the "
                    "same network namespace?",
                    static_cast<int>(abstractName.size()), abstractName.data(), strerror(errno));
}

Result<ucred> peerCredentials(int fd) {
  ucred credentials{};
  socklen_t length = sizeof(credentials);
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) {
    return makeStatus(Code::kSystem, "SO_PEERCRED: %s", strerror(errno));
  }
  return credentials;
}

Result<size_t> sendSome(int fd, const void* data, size_t bytes) {
  ssize_t sent;
  do {
    sent = ::send(fd, data, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return transferFailed("send", errno);
  return static_cast<size_t>(sent);
}

Result<size_t> recvSome(int fd, void* data, size_t capacity) {
  ssize_t got;
  do {
    got = ::recv(fd, data, capacity, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return transferFailed("recv", errno);
  return static_cast<size_t>(got);
}

Result<size_t> sendWithFds(int fd, const void* data, size_t bytes, std::span<const int> fds) {
  if (bytes == 0 || fds.size() > kMaxFdsPerMessage) {
    return makeStatus(Code::kInvalidArgument,
                      "%zu bytes with %zu descriptors: at least 1 byte and at most %zu descriptors",
                      bytes, fds.size(), kMaxFdsPerMessage);
  }
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxFdsPerMessage * sizeof(int))] = {};
  iovec part{const_cast<void*>(data), bytes};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size_bytes());
    memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  }
  ssize_t sent;
  do {
    sent = ::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return transferFailed("sending descriptors", errno);
  return static_cast<size_t>(sent);
}

Result<size_t> recvWithFds(int fd, void* data, size_t capacity, std::vector<Fd>* fds) {
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxFdsPerMessage * sizeof(int))];
  iovec part{data, capacity};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t got;
  do {
    got = ::recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return transferFailed("receiving descriptors", errno);
  std::vector<Fd> received = descriptorsOf(&message);
  if ((message.msg_flags & MSG_CTRUNC) != 0) {
    return makeStatus(Code::kRemote,
                      "receiving descriptors: %zu arrived of more; the peer sent more than %zu at "
                      "once, or this process has too many open (ulimit -n)",
                      received.size(), kMaxFdsPerMessage);
  }
  std::move(received.begin(), received.end(), std::back_inserter(*fds));
  return static_cast<size_t>(got);
}

}  // namespace flexlink
