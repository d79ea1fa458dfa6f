// SPDX-License-Identifier: Apache-2.0
// The door as a whole: tcp_door.cc makes the connections, door_again.cc sees to those that were
// lost, door_pcie.cc to links through shared memory. Control thread only, unless said otherwise.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/nic_card.h"
#include "base/reactor.h"
#include "link/known_links.h"
#include "link/tcp/door_entry.h"
#include "link/tcp/tcp_door.h"

namespace flexlink {

inline constexpr int64_t kDialNanos = 3'000'000'000;    // for one connection and its test
inline constexpr int64_t kOthersNanos = 1'000'000'000;  // for all others, once one has passed

class TcpDoor {
 public:
  static TcpDoor& instance() {
    static TcpDoor* door = new TcpDoor;  // the control thread may use it until the process ends
    return *door;
  }
  Result<NicCard> card();
  std::vector<NicPlace> places();
  void connect(const DataPeer& peer, int64_t deadline, BundleReady done);
  void remember();

 private:
  Status open();
  void accept(int listener, const std::string& nic);
  void onVisitor(int fd);
  void onSpoken(int fd, const Status& status);
  void welcome(Handshake talk);
  DoorEntry& renewed(const ProcessId& id, uint32_t number);
  void counted(DoorEntry* entry, uint32_t links);
  template <typename Whom>
  void turnAway(Whom&& whom);
  DoorEntry& entryOf(const ProcessId& id, const std::string& name);
  void hangUp(const ProcessId& id);
  void dial(DoorEntry* entry);
  void dialOne(DoorEntry* entry, uint32_t number);
  void onDialed(int fd);
  void giveUp(int fd);
  void giveUpOthers(const ProcessId& id);
  void endDial(int fd, const Status& status);
  void concluded(const ProcessId& id, uint32_t number, const Status& status);
  void dialedAll(DoorEntry* entry);
  void veto(DoorEntry* entry, uint32_t number, const std::string& why);
  void tellVeto(DoorEntry* entry, const DoorPair& pair);
  void dialAgainLater(const ProcessId& id, uint32_t number);
  void dialAgain(const ProcessId& id, uint32_t number);
  void dialPcie(DoorEntry* entry);
  void onPcieVisit(ExchangeVisit visit);
  void awaitPcie(const ProcessId& id, std::unique_ptr<PcieCall> call, bool dials);
  void onPcie(int fd, const Status& status);
  void giveUpPcie(int fd);
  void turnAwayPcie(const ProcessId& id, bool dials);
  void joinPcie(DoorEntry* entry);
  void onNic(const std::string& nic, bool up);
  void mind(const ProcessId& id);
  void finish(DoorEntry* entry);
  void join(DoorEntry* entry, uint32_t number);
  void fail(DoorEntry* entry, const std::string& why);

  std::mutex mutex_;  // guards the next two; they stay as they are once opened_ is set
  bool opened_ = false;
  OwnNics own_;
  Reactor* reactor_ = nullptr;
  std::vector<Fd> listeners_;
  std::map<int, DoorCall> visitors_;  // by fd, as the next
  std::map<int, DoorCall> dialed_;
  std::map<int, PcieWaiting> pcieCalls_;
  std::map<ProcessId, DoorEntry> entries_;
  std::optional<KnownLinks> known_;  // from open() on
};

}  // namespace flexlink
