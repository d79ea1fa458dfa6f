// SPDX-License-Identifier: Apache-2.0
#include "link/pcie/pcie_call.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "device/host/host_device.h"
#include "device/host/region.h"
#include "link/pcie/pcie_link.h"
#include "link/test_bytes.h"

namespace flexlink {
namespace {

enum Word : uint32_t { kGood = 1, kGo = 2 };

struct PcieWord {
  uint32_t magic = kPcieMagic;
  uint32_t word = kGood;
  uint32_t links = 0;
};

// As many as a ring holds. There is one such link between two processes.
std::vector<uint8_t> bytesToTest(const ProcessId& from, const ProcessId& to, size_t ringBytes) {
  std::vector<uint8_t> bytes = testBytes(from, to, {});
  bytes.resize(std::min(bytes.size(), ringBytes));
  return bytes;
}

}  // namespace

Result<std::unique_ptr<PcieCall>> PcieCall::dial(const ProcessId& self, const ProcessId& peer,
                                                 const Cookie& theirs, size_t ringBytes) {
  auto device = std::make_shared<HostDevice>();
  ringBytes = std::max(kPcieLeastRing, ringBytes / kPcieLine * kPcieLine);
  FLEXLINK_TRY_ASSIGN(PcieSegment segment, PcieSegment::make(*device, ringBytes));
  FLEXLINK_TRY_ASSIGN(auto channel, PcieChannel::open(std::move(device), segment, 0));
  std::unique_ptr<PcieCall> call(new PcieCall(self, peer, std::move(channel)));
  FLEXLINK_TRY(call->writeTest());
  const uint32_t region = RegionTable::instance().find(segment.base(), segment.bytes()).id;
  FLEXLINK_TRY_ASSIGN(call->socket_, visitProcess(peer, theirs, region));
  return call;
}

Result<std::unique_ptr<PcieCall>> PcieCall::answer(const ProcessId& self, ExchangeVisit visit) {
  void* base = visit.memory->base();
  const size_t bytes = visit.memory->bytes();
  FLEXLINK_TRY_ASSIGN(PcieSegment segment, PcieSegment::view(std::move(visit.memory), base, bytes));
  FLEXLINK_TRY_ASSIGN(auto channel, PcieChannel::open(std::make_shared<HostDevice>(), segment, 1));
  std::unique_ptr<PcieCall> call(new PcieCall(self, visit.from, std::move(channel)));
  call->socket_ = std::move(visit.socket);
  FLEXLINK_TRY(call->checkTest());
  FLEXLINK_TRY(call->writeTest());
  if (call->say(kGood, 0)) return call;
  return makeStatus(Code::kRemote, "it has left: %s", strerror(errno));
}

// By the device, for it is its copies that are tested.
Status PcieCall::writeTest() {
  const PcieSegment& segment = channel_->segment();
  const std::vector<uint8_t> bytes = bytesToTest(self_, peer_, segment.ringBytes());
  FLEXLINK_TRY(channel_->device().copy(channel_->outStream(), segment.ring(channel_->side()),
                                       bytes.data(), bytes.size()));
  return channel_->drain(channel_->outStream());
}

Status PcieCall::checkTest() {
  const PcieSegment& segment = channel_->segment();
  const std::vector<uint8_t> expected = bytesToTest(peer_, self_, segment.ringBytes());
  std::vector<uint8_t> got(expected.size());
  FLEXLINK_TRY(channel_->device().copy(channel_->inStream(), got.data(),
                                       segment.ring(1 - channel_->side()), got.size()));
  FLEXLINK_TRY(channel_->drain(channel_->inStream()));
  if (got == expected) return {};
  return makeStatus(Code::kRemote, "the peer's %zu test bytes did not come right", got.size());
}

bool PcieCall::say(uint32_t word, uint32_t links) {
  const PcieWord said{kPcieMagic, word, links};
  return send(socket_.get(), &said, sizeof said, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof said;
}

bool PcieCall::sayGo(uint32_t links) { return say(kGo, links); }

Status PcieCall::step() {
  PcieWord heard;
  ssize_t got = recv(socket_.get(), &heard, sizeof heard, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return Status::inProgress();
  const bool dials = channel_->side() == 0;
  if (got == 0 && dials)
    return makeStatus(Code::kRemote, "the peer takes no link through shared memory");
  if (got != sizeof heard || heard.magic != kPcieMagic || heard.word != (dials ? kGood : kGo))
    return makeStatus(Code::kRemote, "the peer has left before the link was made");
  links_ = heard.links;
  return dials ? checkTest() : Status();
}

std::unique_ptr<Link> PcieCall::take(std::string name, LinkEvents events) {
  return std::make_unique<PcieLink>(std::move(name), std::move(channel_), std::move(socket_),
                                    std::move(events));
}

}  // namespace flexlink
