// SPDX-License-Identifier: Apache-2.0
#include "link/tcp/tcp_door.h"

#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/interfaces.h"
#include "base/log.h"
#include "link/tcp/door_class.h"
#include "link/tcp/nic_watch.h"
#include "link/tcp/tcp_link.h"

namespace flexlink {
namespace {

constexpr int64_t kDialAgainNanos = 900'000'000;
constexpr int64_t kStrangerNanos = 5'000'000'000;  // for a visitor to say who he is
constexpr size_t kMaxStrangers = 256;

}  // namespace

Status TcpDoor::open() {
  FLEXLINK_TRY_ASSIGN(reactor_, Reactor::instance());
  FLEXLINK_TRY_ASSIGN(own_, ownNics());
  known_.emplace(own_.side.addresses);
  for (const NicPlace& place : own_.places) {
    FLEXLINK_INFO(kInit, "data NIC %s: %s: %s", place.name.c_str(),
                  place.verdict == NicVerdict::kNo ? "out" : "in", place.why.c_str());
  }
  for (NicAddress& one : own_.side.addresses) {
    FLEXLINK_TRY_ASSIGN(Fd fd, listenTcp(one.address, settings().portRange));
    FLEXLINK_TRY_ASSIGN(one.address, localAddress(fd.get()));
    FLEXLINK_INFO(kInit, "data connections at %s (%s)", one.address.text().c_str(),
                  one.nic.c_str());
    auto held = std::make_shared<Fd>(std::move(fd));
    std::string nic = one.nic;
    reactor_->post([this, held, nic] {
      int raw = held->get();
      listeners_.push_back(std::move(*held));
      (void)reactor_->watch(raw, EPOLLIN, [this, raw, nic](uint32_t) { accept(raw, nic); });
    });
  }
  Status watching =
      watchNics(reactor_, [this](const std::string& nic, bool up) { onNic(nic, up); });
  if (!watching.ok()) FLEXLINK_WARN("%s", watching.text());
  if (!own_.pcie) return {};
  FLEXLINK_TRY(myProcessCard().status());
  reactor_->post(
      [this] { onExchangeVisit([this](ExchangeVisit visit) { onPcieVisit(std::move(visit)); }); });
  return {};
}

Result<NicCard> TcpDoor::card() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!opened_) FLEXLINK_TRY(open());
  opened_ = true;
  return packNics(own_.side, loopbackId());
}

std::vector<NicPlace> TcpDoor::places() {
  std::lock_guard<std::mutex> lock(mutex_);
  return opened_ ? own_.places : std::vector<NicPlace>();
}

void TcpDoor::accept(int listener, const std::string& nic) {
  for (;;) {
    Result<Fd> got = acceptConnection(listener);
    if (!got.ok()) return;
    if (visitors_.size() >= kMaxStrangers) continue;
    int fd = got.value().get();
    const ProcessCard& own = *myProcessCard().value();
    DoorCall visitor{Handshake(std::move(got.value()), own.id, own.cookie), nowNanos(), nic};
    visitor.timer = reactor_->after(
        kStrangerNanos, [this, fd] { onSpoken(fd, visitors_.at(fd).talk.late(kStrangerNanos)); });
    visitors_.emplace(fd, std::move(visitor));
    (void)reactor_->watch(fd, EPOLLIN, [this, fd](uint32_t) { onVisitor(fd); });
  }
}

void TcpDoor::onVisitor(int fd) {
  Handshake& talk = visitors_.at(fd).talk;
  bool stranger = !talk.met();
  Status status = talk.step();
  if (stranger && talk.met()) {  // it has given up what it had begun for this pair before
    turnAway([&](const DoorCall& other) {
      return &other.talk != &talk && other.talk.peer() == talk.peer() &&
             other.talk.place().number == talk.place().number;
    });
  }
  if (status.code() != Code::kInProgress) return onSpoken(fd, status);
  reactor_->rewatch(fd, talk.events());
}

// A visitor has said its last word, or no link is to come of it.
void TcpDoor::onSpoken(int fd, const Status& status) {
  auto visitor = visitors_.extract(fd);
  Handshake& talk = visitor.mapped().talk;
  reactor_->cancel(visitor.mapped().timer);
  reactor_->unwatch(fd);
  const uint32_t number = talk.place().number;
  if (!talk.met() || number >= kMostConnections) return;
  DoorEntry& entry = entries_[talk.peer()];
  entry.pairs[number].name = "tcp:" + visitor.mapped().nic;
  if (!status.ok()) return veto(&entry, number, status.text());
  welcome(std::move(talk));
}

// Visitors that have shown the cookie and were not heard of to the end.
template <typename Whom>
void TcpDoor::turnAway(Whom&& whom) {
  std::vector<int> fds;
  for (const auto& [fd, one] : visitors_) {
    if (one.talk.met() && whom(one)) fds.push_back(fd);
  }
  for (int fd : fds) {
    const DoorCall& one = visitors_.at(fd);
    onSpoken(fd, one.talk.late(nowNanos() - one.since));
  }
}

// Where a new set of connections begins, what there was has failed on the other side.
void TcpDoor::welcome(Handshake talk) {
  const Greeting heard = talk.heard();
  bool first = heard.word == Greeting::kGo;
  DoorEntry& entry = first ? renewed(heard.from, heard.index) : entries_[heard.from];
  DoorPair& pair = entry.pairs[heard.index];
  pair.passed.emplace(std::move(talk));
  pair.round = heard.round;
  if (!first && entry.ready) return join(&entry, heard.index);
  if (first) counted(&entry, heard.number);
}

DoorEntry& TcpDoor::renewed(const ProcessId& id, uint32_t number) {
  DoorEntry& entry = entries_[id];
  if (!entry.ready) return entry;
  entry.bundle->fail(
      makeStatus(Code::kRemote, "%s has made its connections anew", entry.bundle->peer().c_str()));
  hangUp(id);
  std::string name = entry.pairs[number].name;
  entry = DoorEntry{};
  entry.pairs[number].name = name;
  return entry;
}

// One of so many links is to be used.
void TcpDoor::counted(DoorEntry* entry, uint32_t links) {
  entry->awaited = links;
  if (++entry->gone == entry->awaited && !entry->waiting.empty()) finish(entry);
}

// A bundle that has failed is made anew for whoever comes after.
DoorEntry& TcpDoor::entryOf(const ProcessId& id, const std::string& name) {
  DoorEntry& entry = entries_[id];
  if (entry.ready) (void)entry.bundle->poll();  // the news may be there, unread
  if (entry.ready && entry.bundle->failed()) {
    hangUp(id);
    entry = DoorEntry{};
  }
  if (entry.bundle) return entry;
  entry.bundle = std::make_shared<Bundle>(name);
  entry.bundle->setOwner(
      {[this, id](uint32_t number) { reactor_->post([=, this] { dialAgainLater(id, number); }); },
       [this, id] { reactor_->post([=, this] { mind(id); }); }});
  return entry;
}

// Nothing of what was begun for this peer goes on.
void TcpDoor::hangUp(const ProcessId& id) {
  for (auto& [number, pair] : entries_[id].pairs) {
    if (pair.timer != 0) reactor_->cancel(pair.timer);
  }
  std::erase_if(pcieCalls_, [&](const auto& one) {
    if (one.second.id != id || !one.second.dials) return false;
    reactor_->cancel(one.second.timer);
    reactor_->unwatch(one.first);
    return true;
  });
  std::erase_if(dialed_, [&](const auto& one) {
    if (one.second.id != id) return false;
    reactor_->cancel(one.second.timer);
    reactor_->unwatch(one.first);
    return true;
  });
}

void TcpDoor::connect(const DataPeer& peer, int64_t deadline, BundleReady done) {
  DoorEntry& entry = entryOf(peer.id, peer.name);
  if (entry.ready) return done(entry.bundle);
  entry.waiting.push_back(std::move(done));
  entry.peer = peer;
  entry.joints = pairNics(own_.side, peer.nics, peer.oneLoopback);
  for (const NicPlace& nic : unusedNics(own_.side, entry.joints)) {
    FLEXLINK_INFO(kInit, "NIC %s is not used to %s: %s", nic.name.c_str(), peer.name.c_str(),
                  nic.why.c_str());
    entry.bundle->leaveOut("tcp:" + nic.name, nic.why);
  }
  if (own_.pcie && !peer.oneLoopback)
    entry.bundle->leaveOut(kPcieName, "its process is not on this host");
  bool dials = myProcessCard().value()->id < peer.id;
  if (!dials && entry.gone != 0 && entry.gone == entry.awaited) return finish(&entry);
  reactor_->after(std::max<int64_t>(deadline - nowNanos(), 1),
                  [this, id = peer.id, bundle = entry.bundle] {
                    DoorEntry& late = entries_[id];
                    if (!late.ready && late.bundle == bundle)
                      fail(&late, late.troubles.empty() ? "it did not connect" : late.troubles);
                  });
  if (!dials || entry.dialing) return;
  entry.dialing = true;
  dial(&entry);
}

void TcpDoor::dial(DoorEntry* entry) {
  const bool pcie = own_.pcie && entry->peer.oneLoopback;
  for (const NicPair& pair : entry->joints) {
    if (pcie && own_.onlyPcie) break;
    const size_t many = own_.connections.at(own_.side.addresses[pair.own].nic);
    if (pair.used) entry->dialed.insert(entry->dialed.end(), many, pair);
  }
  entry->awaited = entry->dialed.size() + (pcie ? 1 : 0);
  if (entry->awaited == 0) return fail(entry, "none of its NICs is reached from one of ours");
  if (pcie) dialPcie(entry);
  for (uint32_t i = 0; i < entry->dialed.size(); ++i) dialOne(entry, i);
}

void TcpDoor::dialOne(DoorEntry* entry, uint32_t number) {
  const NicAddress& nic = own_.side.addresses[entry->dialed[number].own];
  SocketAddress theirs = entry->peer.nics.addresses[entry->dialed[number].peer].address;
  SocketAddress source = nic.address;
  source.setPort(0);
  if (theirs.isLinkLocal()) theirs.setScope(source.scope());
  DoorPair& pair = entry->pairs[number];
  pair.name = "tcp:" + nic.nic;
  pair.dialing = true;
  const ProcessId id = entry->peer.id;
  Result<Fd> started = connectTcpStart(theirs, source);
  if (!started.ok()) return concluded(id, number, started.status());
  int fd = started.value().get();
  Handshake talk(std::move(started.value()), theirs, myProcessCard().value()->id, id,
                 entry->peer.cookie, {number, pair.round});
  DoorCall connection{std::move(talk), nowNanos(), nic.nic, 0, id, number};
  int64_t patience = entry->ready ? kDialAgainNanos : kDialNanos;
  connection.timer = reactor_->after(patience, [this, fd] { giveUp(fd); });
  dialed_.emplace(fd, std::move(connection));
  (void)reactor_->watch(fd, EPOLLOUT, [this, fd](uint32_t) { onDialed(fd); });
}

void TcpDoor::onDialed(int fd) {
  DoorCall& one = dialed_.at(fd);
  Status status = one.talk.step();
  if (status.code() == Code::kInProgress) return reactor_->rewatch(fd, one.talk.events());
  endDial(fd, status);
}

void TcpDoor::giveUp(int fd) {
  const DoorCall& one = dialed_.at(fd);
  endDial(fd, one.talk.late(nowNanos() - one.since));
}

// One has passed: the others hold up whoever waits for the bundle, and may come later as well.
void TcpDoor::giveUpOthers(const ProcessId& id) {
  std::vector<int> fds;
  for (const auto& [fd, one] : dialed_) {
    if (one.id == id) fds.push_back(fd);
  }
  for (int fd : fds) {
    if (dialed_.count(fd) != 0) giveUp(fd);  // whoever is told of the last may begin anew
  }
  turnAwayPcie(id, true);
}

// One connection of ours is there or has failed.
void TcpDoor::endDial(int fd, const Status& status) {
  auto dialed = dialed_.extract(fd);
  DoorCall& one = dialed.mapped();
  reactor_->cancel(one.timer);
  reactor_->unwatch(fd);
  DoorEntry& entry = entries_[one.id];
  if (status.ok() && entry.ready) (void)one.talk.sayLast(Greeting::kAgain, 0);
  // Later, that nobody answers says less than why the link was left.
  if (!status.ok() && entry.ready && one.talk.met()) veto(&entry, one.number, status.text());
  if (status.ok()) entry.pairs[one.number].passed.emplace(std::move(one.talk));
  concluded(one.id, one.number, status);
}

void TcpDoor::concluded(const ProcessId& id, uint32_t number, const Status& status) {
  DoorEntry& entry = entries_[id];
  entry.pairs[number].dialing = false;
  if (!status.ok() && !entry.ready) veto(&entry, number, status.text());
  if (entry.ready) return status.ok() ? join(&entry, number) : dialAgainLater(id, number);
  if (--entry.awaited == 0) return dialedAll(&entry);
  if (!status.ok() || std::exchange(entry.hurried, true)) return;
  reactor_->after(kOthersNanos, [this, id, bundle = entry.bundle] {
    if (!entries_[id].ready && entries_[id].bundle == bundle) giveUpOthers(id);
  });
}

void TcpDoor::dialedAll(DoorEntry* entry) {
  uint32_t links = 0;
  for (const auto& [any, one] : entry->pairs) links += one.there() ? 1 : 0;
  if (links == 0) return fail(entry, entry->troubles);
  for (auto& [any, one] : entry->pairs) {
    if (one.passed) (void)one.passed->sayLast(Greeting::kGo, links);
    if (one.pcie) (void)one.pcie->sayGo(links);
  }
  finish(entry);
}

// A path that is not used. What is known of it before the bundle is made is told then; later, the
// log has once that the link is left, and once why it stays so.
void TcpDoor::veto(DoorEntry* entry, uint32_t number, const std::string& why) {
  DoorPair& pair = entry->pairs[number];
  bool first = std::exchange(pair.trouble, why).empty();
  if (!entry->ready) {
    entry->troubles += (entry->troubles.empty() ? "" : "; ") + pair.name + ": " + why;
  } else if (first) {
    tellVeto(entry, pair);
  } else {
    entry->bundle->leaveOut(pair.name, why);
  }
}

void TcpDoor::tellVeto(DoorEntry* entry, const DoorPair& pair) {
  FLEXLINK_WARN("path %s to %s is not used: %s", pair.name.c_str(), entry->bundle->peer().c_str(),
                pair.trouble.c_str());
  entry->bundle->leaveOut(pair.name, pair.trouble);
}

void TcpDoor::finish(DoorEntry* entry) {
  turnAway([&](const DoorCall& one) {  // what the peer has left out
    return one.talk.peer() == entry->peer.id && one.talk.place().round == 0;
  });
  turnAwayPcie(entry->peer.id, false);
  entry->ready = true;
  entry->dialing = false;
  for (auto& [number, pair] : entry->pairs) {
    if (pair.there()) {
      join(entry, number);
    } else {
      if (!pair.trouble.empty()) tellVeto(entry, pair);
      dialAgainLater(entry->peer.id, number);
    }
  }
  for (BundleReady& done : std::exchange(entry->waiting, {})) done(entry->bundle);
}

void TcpDoor::join(DoorEntry* entry, uint32_t number) {
  if (number == kPcieNumber) return joinPcie(entry);
  DoorPair& pair = entry->pairs[number];
  pair.madeAt = nowNanos();
  pair.trouble.clear();
  Fd fd = pair.passed->take();
  pair.passed.reset();
  pair.peerHost = hostOf(peerAddress(fd.get()));
  int64_t roundTrip = pulseOf(fd.get()).roundTripNanos;
  FLEXLINK_INFO(
      kInit, "path %s to %s is used%s: %zu test bytes came right each way, %.3f ms there and back",
      pair.name.c_str(), entry->bundle->peer().c_str(), pair.round == 0 ? "" : " again", kTestBytes,
      static_cast<double>(roundTrip) / 1e6);
  entry->bundle->add(
      {number, pair.round},
      [&](LinkEvents events) {
        return std::make_unique<TcpLink>(pair.name, std::move(fd), std::move(events));
      },
      known_->firstModel(pair.name, pair.peerHost, roundTrip));
}

void TcpDoor::fail(DoorEntry* entry, const std::string& why) {
  Status status = makeStatus(Code::kRemote,
                             "no data connection to %s: %s; NCCL_SOCKET_IFNAME says which "
                             "interfaces are used",
                             entry->bundle->peer().c_str(), why.c_str());
  entry->dialing = false;
  for (BundleReady& done : std::exchange(entry->waiting, {})) done(status);
}

Result<NicCard> myNicCard() { return TcpDoor::instance().card(); }

std::vector<NicPlace> myNicPlaces() { return TcpDoor::instance().places(); }

void rememberLinks() { TcpDoor::instance().remember(); }

void connectBundle(const DataPeer& peer, int64_t deadline, BundleReady done) {
  TcpDoor::instance().connect(peer, deadline, std::move(done));
}

}  // namespace flexlink
