// SPDX-License-Identifier: Apache-2.0
#include "link/tcp/nic_watch.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/fd.h"

namespace flexlink {
namespace {

using Changed = std::function<void(const std::string& nic, bool up)>;

void tell(nlmsghdr* message, const Changed& changed) {
  if (message->nlmsg_type != RTM_NEWLINK && message->nlmsg_type != RTM_DELLINK) return;
  auto* info = static_cast<ifinfomsg*>(NLMSG_DATA(message));
  bool up = message->nlmsg_type == RTM_NEWLINK && (info->ifi_flags & IFF_UP) != 0 &&
            (info->ifi_flags & IFF_RUNNING) != 0;
  auto rest = static_cast<unsigned>(IFLA_PAYLOAD(message));
  for (rtattr* part = IFLA_RTA(info); RTA_OK(part, rest); part = RTA_NEXT(part, rest)) {
    if (part->rta_type != IFLA_IFNAME) continue;
    changed(static_cast<const char*>(RTA_DATA(part)), up);
    return;
  }
}

// What does not fit into the socket's buffer is lost: then silence says the rest, later.
void hear(int fd, const Changed& changed) {
  alignas(nlmsghdr) char bytes[16384];
  for (;;) {
    ssize_t got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return;
    auto rest = static_cast<unsigned>(got);
    auto* message = reinterpret_cast<nlmsghdr*>(bytes);
    for (; NLMSG_OK(message, rest); message = NLMSG_NEXT(message, rest)) tell(message, changed);
  }
}

}  // namespace

Status watchNics(Reactor* reactor, Changed changed) {
  auto fd = std::make_shared<Fd>(
      socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_LINK;
  if (fd->get() < 0 ||
      bind(fd->get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return makeStatus(Code::kSystem, "cannot listen for changes of NICs (netlink): %s",
                      strerror(errno));
  }
  reactor->post([reactor, fd, changed = std::move(changed)] {
    (void)reactor->watch(fd->get(), EPOLLIN, [fd, changed](uint32_t) { hear(fd->get(), changed); });
  });
  return {};
}

}  // namespace flexlink
