// SPDX-License-Identifier: Apache-2.0
// Two connected ends of a pcie link in one process.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <memory>
#include <string>
#include <utility>

#include "device/host/host_device.h"
#include "link/pcie/pcie_link.h"

namespace flexlink {

inline std::pair<Fd, Fd> lifelines() {
  int ends[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
  return {Fd(ends[0]), Fd(ends[1])};
}

inline std::unique_ptr<PcieLink> pcieEnd(std::string name, std::shared_ptr<Device> device,
                                         const PcieSegment& segment, int side, Fd lifeline,
                                         LinkEvents events) {
  auto channel = PcieChannel::open(std::move(device), segment, side);
  EXPECT_TRUE(channel.ok()) << channel.status().text();
  return std::make_unique<PcieLink>(std::move(name), std::move(channel.value()),
                                    std::move(lifeline), std::move(events));
}

struct PcieEnds {
  std::unique_ptr<PcieLink> from, to;  // sides 0 and 1
};

inline PcieEnds pcieEnds(size_t ringBytes, std::shared_ptr<Device> a, std::shared_ptr<Device> b,
                         LinkEvents atFrom, LinkEvents atTo) {
  auto segment = PcieSegment::make(*a, ringBytes);
  EXPECT_TRUE(segment.ok()) << segment.status().text();
  auto [one, other] = lifelines();
  return {pcieEnd("from", std::move(a), segment.value(), 0, std::move(one), std::move(atFrom)),
          pcieEnd("to", std::move(b), segment.value(), 1, std::move(other), std::move(atTo))};
}

}  // namespace flexlink
