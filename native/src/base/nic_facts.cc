// SPDX-License-Identifier: Apache-2.0
#include "base/nic_facts.h"

#include <dirent.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "base/fd.h"
#include "base/small_file.h"

namespace flexlink {
namespace {

constexpr timeval kPatience{5, 0};
constexpr size_t kMostBytes = 1 << 24;  // thousands of interfaces; a dump without end is an error

using Bytes = std::span<const uint8_t>;

// The attributes that follow one another in `bytes`: found(type, value) for each.
template <typename Found>
void forAttributes(Bytes bytes, Found found) {
  while (bytes.size() >= sizeof(rtattr)) {
    rtattr head;
    memcpy(&head, bytes.data(), sizeof head);
    if (head.rta_len < sizeof head || head.rta_len > bytes.size()) return;
    found(head.rta_type & NLA_TYPE_MASK, bytes.subspan(sizeof head, head.rta_len - sizeof head));
    bytes = bytes.subspan(std::min<size_t>(bytes.size(), RTA_ALIGN(head.rta_len)));
  }
}

std::string textOf(Bytes bytes) {
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  return {text, strnlen(text, bytes.size())};
}

unsigned numberOf(Bytes bytes) {
  uint32_t number = 0;
  memcpy(&number, bytes.data(), std::min(bytes.size(), sizeof number));
  return number;
}

Status ask(int kernel) {
  struct {
    nlmsghdr head;
    ifinfomsg body;
  } request{};
  request.head.nlmsg_len = sizeof request;
  request.head.nlmsg_type = RTM_GETLINK;
  request.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.head.nlmsg_seq = 1;
  setsockopt(kernel, SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
  if (send(kernel, &request, sizeof request, 0) == sizeof request) return {};
  return makeStatus(Code::kSystem, "asking netlink for the interfaces: %s", strerror(errno));
}

// One datagram of the dump. True: it was the last.
Result<bool> take(Bytes bytes, std::vector<NicFacts>* facts) {
  while (bytes.size() >= sizeof(nlmsghdr)) {
    nlmsghdr head;
    memcpy(&head, bytes.data(), sizeof head);
    if (head.nlmsg_len < sizeof head || head.nlmsg_len > bytes.size()) break;
    const Bytes payload = bytes.subspan(sizeof head, head.nlmsg_len - sizeof head);
    if (head.nlmsg_type == NLMSG_DONE) return true;
    if (head.nlmsg_type == NLMSG_ERROR) {
      const int error = -static_cast<int>(numberOf(payload));
      return makeStatus(Code::kSystem, "netlink refuses to list the interfaces: %s",
                        strerror(error));
    }
    if (head.nlmsg_type == RTM_NEWLINK) facts->push_back(parseNicFacts(payload));
    bytes = bytes.subspan(std::min<size_t>(bytes.size(), NLMSG_ALIGN(head.nlmsg_len)));
  }
  return false;
}

// /sys may be that of another network namespace: it counts only where the index is the same.
void askSys(NicFacts* nic) {
  const std::string folder = "/sys/class/net/" + nic->name;
  if (firstLine(folder + "/ifindex") != std::to_string(nic->index)) return;
  nic->vendor = firstLine(folder + "/device/vendor");
  const std::unique_ptr<DIR, int (*)(DIR*)> list(opendir((folder + "/device/physfn/net").c_str()),
                                                 closedir);
  for (dirent* entry = nullptr; list && nic->parent.empty() && (entry = readdir(list.get()));) {
    if (entry->d_name[0] != '.') nic->parent = entry->d_name;
  }
}

}  // namespace

NicFacts parseNicFacts(std::span<const uint8_t> payload) {
  NicFacts nic;
  ifinfomsg head{};
  if (payload.size() < sizeof head) return nic;
  memcpy(&head, payload.data(), sizeof head);
  nic.arpType = head.ifi_type;
  nic.index = static_cast<unsigned>(head.ifi_index);
  nic.flags = head.ifi_flags;
  forAttributes(payload.subspan(NLMSG_ALIGN(sizeof head)), [&](int type, Bytes value) {
    if (type == IFLA_IFNAME) nic.name = textOf(value);
    if (type == IFLA_MASTER) nic.master = numberOf(value);
    if (type == IFLA_LINK) nic.lower = numberOf(value);
    if (type == IFLA_LINK_NETNSID) nic.lowerElsewhere = true;
    if (type != IFLA_LINKINFO) return;
    forAttributes(value, [&](int inner, Bytes word) {
      if (inner == IFLA_INFO_KIND) nic.kind = textOf(word);
    });
  });
  return nic;
}

Result<std::vector<NicFacts>> readNicFacts() {
  const Fd kernel(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!kernel) return makeStatus(Code::kSystem, "a netlink socket: %s", strerror(errno));
  FLEXLINK_TRY(ask(kernel.get()));
  std::vector<NicFacts> facts;
  std::vector<uint8_t> buffer(1 << 16);
  for (size_t taken = 0; taken < kMostBytes;) {
    const ssize_t got = recv(kernel.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      return makeStatus(Code::kSystem, "reading the interfaces from netlink: %s", strerror(errno));
    }
    taken += static_cast<size_t>(got);
    FLEXLINK_TRY_ASSIGN(const bool last, take({buffer.data(), static_cast<size_t>(got)}, &facts));
    if (!last) continue;
    for (NicFacts& nic : facts) askSys(&nic);
    return facts;
  }
  return makeStatus(Code::kSystem, "netlink: the list of interfaces does not end");
}

}  // namespace flexlink
