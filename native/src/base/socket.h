// SPDX-License-Identifier: Apache-2.0
// Sockets as values: addresses, and one thin function for each thing done with a socket. All
// sockets are non-blocking and close-on-exec, no call raises SIGPIPE. Framing is not here.
// "Would block" is Code::kInProgress: poll and try again.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/settings.h"
#include "base/status.h"

namespace flexlink {

// An IPv4 or IPv6 address with port, or nothing (the default: valid() is false). A plain value.
class SocketAddress {
 public:
  static constexpr size_t kBytes = 28;  // NCCL's union of sockaddr_in and sockaddr_in6

  SocketAddress() = default;

  // Bytes of a peer: checked, whatever they hold. The scope of a link-local IPv6 address is an
  // interface number of the sender: set it with setScope before connecting.
  static Result<SocketAddress> fromBytes(std::span<const uint8_t> bytes);
  static Result<SocketAddress> fromSockaddr(const sockaddr* address, size_t length);
  static SocketAddress any(int family, int port = 0);  // all interfaces
  static SocketAddress loopback(int family, int port = 0);

  const std::array<uint8_t, kBytes>& bytes() const { return bytes_; }  // the rest is zero
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(bytes_.data()); }
  socklen_t length() const;

  bool valid() const { return family() == AF_INET || family() == AF_INET6; }
  int family() const;
  int port() const;
  void setPort(int port);
  uint32_t scope() const;
  void setScope(uint32_t interfaceIndex);  // no effect on IPv4
  bool isLoopback() const;
  bool isLinkLocal() const;
  bool isAny() const;

  // Do the first prefixLength bits agree? False for different families. The port does not count.
  bool sameSubnet(const SocketAddress& other, int prefixLength) const;

  std::string subnet(int prefixLength) const;  // "192.0.2.0/24"
  std::string host() const;                    // "192.0.2.1", "fe80::1%eth0"
  std::string text() const;  // "192.0.2.1:80", "[fe80::1%eth0]:80"; "(no address)"

  bool operator==(const SocketAddress& other) const { return bytes_ == other.bytes_; }

 private:
  alignas(8) std::array<uint8_t, kBytes> bytes_{};
};

// Numbers only, never a look-up: "192.0.2.1:80", "[fe80::1%eth0]:80".
Result<SocketAddress> parse(std::string_view text);

// As parse, and host names too (getaddrinfo: may take seconds). family: AF_UNSPEC, AF_INET,
// AF_INET6.
Result<SocketAddress> resolve(const std::string& hostAndPort, int family = AF_UNSPEC);

// Listens on the port of `address`, or, where that is 0, on the first free port of `range`.
Result<Fd> listenTcp(const SocketAddress& address, PortRange range = {});
Result<SocketAddress> localAddress(int fd);
Result<SocketAddress> peerAddress(int fd);

// Starts connecting; when the socket is writable, ask connectResult. With `source`, the connection
// leaves from that address (one NIC of several).
Result<Fd> connectTcpStart(const SocketAddress& remote, const SocketAddress& source = {});

// ok: connected; kInProgress: not yet; else why not, naming `remote` where it is given.
Status connectResult(int fd, const SocketAddress& remote = {});

// kInProgress: nobody is waiting. The socket gets TCP_NODELAY where it is TCP.
Result<Fd> acceptConnection(int listener);

// Abstract stream sockets ("" is not a name): no file, gone with the process, one name space for
// each network namespace. Anyone may connect: check peerCredentials.
inline constexpr size_t kMaxUnixName = 107;
Result<Fd> listenUnix(std::string_view abstractName);
Result<Fd> connectUnix(std::string_view abstractName);  // kInProgress: the backlog is full
Result<ucred> peerCredentials(int fd);

// Bytes moved (may be fewer than asked for); receiving 0 bytes: the peer has closed.
Result<size_t> sendSome(int fd, const void* data, size_t bytes);
Result<size_t> recvSome(int fd, void* data, size_t capacity);

// The same with file descriptors, which travel with the first byte (at least one is needed). The
// sender keeps its own. Received ones are close-on-exec and are appended to *fds; more than the
// limit is an error, and all of that message are closed.
inline constexpr size_t kMaxFdsPerMessage = 16;
Result<size_t> sendWithFds(int fd, const void* data, size_t bytes, std::span<const int> fds);
Result<size_t> recvWithFds(int fd, void* data, size_t capacity, std::vector<Fd>* fds);

}  // namespace flexlink
