// SPDX-License-Identifier: Apache-2.0
// Addresses: from bytes, from text, to text, by name. No socket is opened here.
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>

#include <algorithm>
#include <charconv>
#include <cstddef>

#include "base/socket.h"

namespace flexlink {
namespace {

struct HostAndPort {
  std::string host;  // without brackets
  int port = 0;
  bool bracketed = false;
};

Status malformed(std::string_view text, const char* why) {
  return makeStatus(Code::kInvalidArgument,
                    "address '%.*s': %s; expected HOST:PORT, e.g. 192.0.2.1:5000 or "
                    "[fe80::1%%eth0]:5000",
                    static_cast<int>(std::min<size_t>(text.size(), 300)), text.data(), why);
}

Result<HostAndPort> splitHostAndPort(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return malformed(text, "it has no port");
  HostAndPort parts;
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
    parts.bracketed = true;
  } else if (host.find_first_of(":[]") != std::string_view::npos) {
    return malformed(text, "an IPv6 address needs brackets");
  }
  if (host.empty()) return malformed(text, "it has no host");
  const std::string_view port = text.substr(colon + 1);
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), parts.port);
  if (error != std::errc() || end != port.data() + port.size() || parts.port < 0 ||
      parts.port > 65535) {
    return malformed(text, "the port is not a number from 0 to 65535");
  }
  parts.host = host;
  return parts;
}

// 0 where there is no such interface.
unsigned scopeNumber(const std::string& scope) {
  unsigned number = 0;
  const auto [end, error] = std::from_chars(scope.data(), scope.data() + scope.size(), number);
  if (error == std::errc() && end == scope.data() + scope.size()) return number;
  return if_nametoindex(scope.c_str());
}

// The invalid address where `parts` is not a number: perhaps it is a name.
Result<SocketAddress> fromNumbers(const HostAndPort& parts, std::string_view whole) {
  if (!parts.bracketed) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(static_cast<uint16_t>(parts.port));
    if (inet_pton(AF_INET, parts.host.c_str(), &v4.sin_addr) != 1) return SocketAddress();
    return SocketAddress::fromSockaddr(reinterpret_cast<const sockaddr*>(&v4), sizeof(v4));
  }
  const size_t percent = parts.host.find('%');
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(static_cast<uint16_t>(parts.port));
  if (inet_pton(AF_INET6, parts.host.substr(0, percent).c_str(), &v6.sin6_addr) != 1) {
    return malformed(whole, "what is between the brackets is no IPv6 address");
  }
  if (percent != std::string::npos) {
    v6.sin6_scope_id = scopeNumber(parts.host.substr(percent + 1));
    if (v6.sin6_scope_id == 0) return malformed(whole, "this host has no interface of that name");
  }
  return SocketAddress::fromSockaddr(reinterpret_cast<const sockaddr*>(&v6), sizeof(v6));
}

const char* familyName(int family) {
  return family == AF_INET ? "IPv4" : family == AF_INET6 ? "IPv6" : "IP";
}

Status lookUpFailed(const std::string& host, int family, int error, int systemError) {
  switch (error) {
    case EAI_NONAME:
      return makeStatus(Code::kInvalidArgument,
                        "unknown host '%s': neither /etc/hosts nor the name server has %s address "
                        "for it; correct the name or give its number",
                        host.c_str(),
                        family == AF_UNSPEC ? "an"
                        : family == AF_INET ? "an IPv4"
                                            : "an IPv6");
    case EAI_AGAIN:
      return makeStatus(Code::kSystem,
                        "looking up host '%s': the name server gave no answer; try again, or give "
                        "the address as a number",
                        host.c_str());
    default:
      return makeStatus(Code::kSystem, "looking up host '%s' (%s): %s", host.c_str(),
                        familyName(family),
                        error == EAI_SYSTEM ? strerror(systemError) : gai_strerror(error));
  }
}

Result<SocketAddress> lookUp(const HostAndPort& parts, int family) {
  addrinfo hints{};
  hints.ai_family = family;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  int error = getaddrinfo(parts.host.c_str(), nullptr, &hints, &found);
  const int systemError = errno;
#ifdef EAI_NODATA
  if (error == EAI_NODATA || error == EAI_ADDRFAMILY) error = EAI_NONAME;
#endif
  if (error != 0) return lookUpFailed(parts.host, family, error, systemError);
  Result<SocketAddress> address = SocketAddress::fromSockaddr(found->ai_addr, found->ai_addrlen);
  freeaddrinfo(found);
  if (address.ok()) address.value().setPort(parts.port);
  return address;
}

sockaddr_in6 asV6(const SocketAddress& address) {
  sockaddr_in6 v6;
  memcpy(&v6, address.bytes().data(), sizeof(v6));
  return v6;
}

sockaddr_in asV4(const SocketAddress& address) {
  sockaddr_in v4;
  memcpy(&v4, address.bytes().data(), sizeof(v4));
  return v4;
}

// The address itself, in network order: 4 or 16 bytes.
std::span<const uint8_t> rawAddress(const SocketAddress& address) {
  const auto* bytes = address.bytes().data();
  if (address.family() == AF_INET) return {bytes + offsetof(sockaddr_in, sin_addr), 4};
  return {bytes + offsetof(sockaddr_in6, sin6_addr), 16};
}

}  // namespace

static_assert(sizeof(sockaddr_in6) == SocketAddress::kBytes);

Result<SocketAddress> SocketAddress::fromSockaddr(const sockaddr* address, size_t length) {
  // Copied field by field, so that padding and flow labels never make equal addresses differ.
  SocketAddress result;
  sa_family_t family = AF_UNSPEC;
  if (length >= sizeof(family)) memcpy(&family, address, sizeof(family));
  if (family == AF_INET && length >= sizeof(sockaddr_in)) {
    sockaddr_in from;
    memcpy(&from, address, sizeof(from));
    sockaddr_in clean{};
    clean.sin_family = AF_INET;
    clean.sin_port = from.sin_port;
    clean.sin_addr = from.sin_addr;
    memcpy(result.bytes_.data(), &clean, sizeof(clean));
    return result;
  }
  if (family == AF_INET6 && length >= sizeof(sockaddr_in6)) {
    sockaddr_in6 from;
    memcpy(&from, address, sizeof(from));
    sockaddr_in6 clean{};
    clean.sin6_family = AF_INET6;
    clean.sin6_port = from.sin6_port;
    clean.sin6_addr = from.sin6_addr;
    clean.sin6_scope_id = from.sin6_scope_id;
    memcpy(result.bytes_.data(), &clean, sizeof(clean));
    return result;
  }
  return makeStatus(Code::kInvalidArgument,
                    "a socket address of family %d with %zu bytes is neither IPv4 nor IPv6",
                    static_cast<int>(family), length);
}

Result<SocketAddress> SocketAddress::fromBytes(std::span<const uint8_t> bytes) {
  return fromSockaddr(reinterpret_cast<const sockaddr*>(bytes.data()), bytes.size());
}

SocketAddress SocketAddress::any(int family, int port) {
  SocketAddress result;
  const auto stored = static_cast<sa_family_t>(family == AF_INET6 ? AF_INET6 : AF_INET);
  memcpy(result.bytes_.data(), &stored, sizeof(stored));
  result.setPort(port);
  return result;
}

SocketAddress SocketAddress::loopback(int family, int port) {
  SocketAddress result = any(family, port);
  if (result.family() == AF_INET) {
    const uint32_t address = htonl(INADDR_LOOPBACK);
    memcpy(result.bytes_.data() + offsetof(sockaddr_in, sin_addr), &address, sizeof(address));
  } else {
    result.bytes_[offsetof(sockaddr_in6, sin6_addr) + 15] = 1;
  }
  return result;
}

int SocketAddress::family() const {
  sa_family_t family;
  memcpy(&family, bytes_.data(), sizeof(family));
  return family;
}

socklen_t SocketAddress::length() const {
  if (!valid()) return 0;
  return family() == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
}

static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));

int SocketAddress::port() const { return valid() ? ntohs(asV4(*this).sin_port) : 0; }

void SocketAddress::setPort(int port) {
  if (!valid()) return;
  const uint16_t stored = htons(static_cast<uint16_t>(port));
  memcpy(bytes_.data() + offsetof(sockaddr_in, sin_port), &stored, sizeof(stored));
}

uint32_t SocketAddress::scope() const {
  return family() == AF_INET6 ? asV6(*this).sin6_scope_id : 0;
}

void SocketAddress::setScope(uint32_t interfaceIndex) {
  if (family() != AF_INET6) return;
  memcpy(bytes_.data() + offsetof(sockaddr_in6, sin6_scope_id), &interfaceIndex,
         sizeof(interfaceIndex));
}

bool SocketAddress::isLoopback() const {
  if (family() == AF_INET6) {
    const sockaddr_in6 v6 = asV6(*this);
    return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
  }
  return valid() && rawAddress(*this)[0] == 127;
}

bool SocketAddress::isLinkLocal() const {
  if (!valid()) return false;
  const auto raw = rawAddress(*this);
  if (family() == AF_INET6) return raw[0] == 0xfe && (raw[1] & 0xc0) == 0x80;
  return raw[0] == 169 && raw[1] == 254;
}

bool SocketAddress::isAny() const {
  if (!valid()) return false;
  const auto raw = rawAddress(*this);
  return std::all_of(raw.begin(), raw.end(), [](uint8_t byte) { return byte == 0; });
}

bool SocketAddress::sameSubnet(const SocketAddress& other, int prefixLength) const {
  if (!valid() || family() != other.family()) return false;
  const auto mine = rawAddress(*this);
  const auto theirs = rawAddress(other);
  const int bits = std::clamp(prefixLength, 0, static_cast<int>(mine.size()) * 8);
  for (int bit = 0; bit < bits; ++bit) {
    const size_t byte = static_cast<size_t>(bit) / 8;
    if (((mine[byte] ^ theirs[byte]) & (0x80 >> bit % 8)) != 0) return false;
  }
  return true;
}

std::string SocketAddress::subnet(int prefixLength) const {
  if (!valid()) return "(no address)";
  const auto mine = rawAddress(*this);
  const int bits = std::clamp(prefixLength, 0, static_cast<int>(mine.size()) * 8);
  uint8_t masked[16] = {};
  std::copy(mine.begin(), mine.end(), masked);
  for (size_t byte = 0; byte < mine.size(); ++byte) {
    const int kept = std::clamp(bits - static_cast<int>(byte) * 8, 0, 8);
    masked[byte] &= static_cast<uint8_t>(0xff00 >> kept);
  }
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(family(), masked, text, sizeof(text));
  return std::string(text) + "/" + std::to_string(bits);
}

std::string SocketAddress::host() const {
  if (!valid()) return "(no address)";
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(family(), rawAddress(*this).data(), text, sizeof(text));
  if (scope() == 0) return text;
  char name[IF_NAMESIZE] = "";
  const bool named = if_indextoname(scope(), name) != nullptr;
  return std::string(text) + "%" + (named ? name : std::to_string(scope()));
}

std::string SocketAddress::text() const {
  if (!valid()) return "(no address)";
  const std::string port = std::to_string(this->port());
  if (family() == AF_INET) return host() + ":" + port;
  std::string text("[");
  return text.append(host()).append("]:").append(port);
}

Result<SocketAddress> parse(std::string_view text) {
  FLEXLINK_TRY_ASSIGN(const HostAndPort parts, splitHostAndPort(text));
  FLEXLINK_TRY_ASSIGN(const SocketAddress address, fromNumbers(parts, text));
  if (!address.valid()) return malformed(text, "the host is not a number");
  return address;
}

Result<SocketAddress> resolve(const std::string& hostAndPort, int family) {
  FLEXLINK_TRY_ASSIGN(const HostAndPort parts, splitHostAndPort(hostAndPort));
  FLEXLINK_TRY_ASSIGN(const SocketAddress address, fromNumbers(parts, hostAndPort));
  if (!address.valid()) return lookUp(parts, family);
  if (family != AF_UNSPEC && address.family() != family) {
    return makeStatus(Code::kInvalidArgument,
                      "address '%s' is %s, but NCCL_SOCKET_FAMILY asks for %s", hostAndPort.c_str(),
                      familyName(address.family()), familyName(family));
  }
  return address;
}

}  // namespace flexlink
