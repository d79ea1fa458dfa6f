// SPDX-License-Identifier: Apache-2.0
#include "link/tcp/tcp_door.h"

#include <string.h>
#include <sys/epoll.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>

#include "base/clock.h"
#include "base/interfaces.h"
#include "base/log.h"
#include "base/reactor.h"
#include "link/known_links.h"
#include "link/tcp/nic_watch.h"
#include "link/tcp/tcp_link.h"

namespace flexlink {
namespace {

constexpr int64_t kDialNanos = 3'000'000'000;  // for one connection
// A link that was lost is dialled again after a while, which doubles as long as it fails.
constexpr int64_t kFirstPauseNanos = 100'000'000;
constexpr int64_t kLastPauseNanos = 800'000'000;
constexpr int64_t kDialAgainNanos = 900'000'000;
constexpr int64_t kGoodLifeNanos = 5'000'000'000;  // of a link: its next pause is short again
constexpr int64_t kLookNanos = 50'000'000;         // between two looks at a bundle that owes
constexpr int64_t kStrangerNanos = 5'000'000'000;  // for a visitor to say who he is
constexpr size_t kMaxStrangers = 256;

// The dialer says kHello, hears kHello back, and says kGo on every link once all have answered or
// failed; then frames may follow. A link that is made later, or again, gets kAgain instead. Fixed
// size, so that nothing of the first frame is read with it.
struct Greeting {
  static constexpr uint32_t kMagic = 0x48584c46;  // "FLXH"
  enum Word : uint32_t { kHello = 1, kGo = 2, kAgain = 3 };
  uint32_t magic = kMagic;
  uint32_t version = kWireVersion;
  Cookie cookie{};  // of the process that is called
  ProcessId from{};
  uint32_t word = kHello;
  uint32_t index = 0;  // which NIC pair
  uint32_t links = 0;  // kGo: links that are there
  uint32_t round = 0;  // how often this pair was dialled before
};
static_assert(sizeof(Greeting) == 56);

struct Connection {
  ProcessId id{};  // dialed: whom
  Fd fd;
  size_t have = 0;  // bytes of `heard`
  Greeting heard;
  Reactor::TimerId timer = 0;
  bool greeted = false;  // by us
};

// One pair of NICs, by number in Entry.
struct Pair {
  std::string name;      // of the link
  std::string peerHost;  // address of the other end
  Fd greeted;            // a connection that is not yet in the bundle
  uint32_t round = 0;    // of the last dial
  bool dialing = false;  // or about to
  int64_t madeAt = 0;    // ns
  int64_t pause = kFirstPauseNanos;
  Reactor::TimerId timer = 0;  // until the next dial
};

// All about one peer.
struct Entry {
  DataPeer peer;                // where this side dials
  std::vector<NicPair> joints;  // NICs of ours and of the peer's, used or not
  std::vector<NicPair> dialed;  // those that are used, by number
  std::shared_ptr<Bundle> bundle;
  bool ready = false;
  bool dialing = false;
  size_t awaited = 0;  // of the connections, not yet concluded
  uint32_t gone = 0;   // callee: links that have said kGo
  std::map<uint32_t, Pair> pairs;
  std::vector<BundleReady> waiting;
  std::string troubles;
};

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
  void onVisitor(int fd, const std::string& nic);
  void welcome(const Greeting& heard, const std::string& nic, Fd fd);
  bool read(Connection* connection, bool* broken);
  Entry& entryOf(const ProcessId& id, const std::string& name);
  void hangUp(const ProcessId& id);
  void dial(Entry* entry);
  void dialOne(Entry* entry, uint32_t number);
  void onDialed(const ProcessId& id, uint32_t number, int fd);
  void concluded(const ProcessId& id, uint32_t number, const std::string& trouble);
  void dialAgainLater(const ProcessId& id, uint32_t number);
  void dialAgain(const ProcessId& id, uint32_t number);
  void onNic(const std::string& nic, bool up);
  void mind(const ProcessId& id);
  void finish(Entry* entry);
  void join(Entry* entry, uint32_t number);
  void fail(Entry* entry, const std::string& why);
  bool say(int fd, const Cookie& cookie, Greeting::Word word, LinkPlace place, uint32_t links);

  std::mutex mutex_;  // guards the next two; they stay as they are once opened_ is set
  bool opened_ = false;
  OwnNics own_;
  Reactor* reactor_ = nullptr;
  std::vector<Fd> listeners_;
  std::map<int, Connection> visitors_;
  std::map<int, Connection> dialed_;
  std::map<ProcessId, Entry> entries_;
  std::optional<KnownLinks> known_;  // from open() on
};

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
    Connection& visitor = visitors_[fd];
    visitor.fd = std::move(got.value());
    visitor.timer = reactor_->after(kStrangerNanos, [this, fd] {
      reactor_->unwatch(fd);
      visitors_.erase(fd);
    });
    (void)reactor_->watch(fd, EPOLLIN, [this, fd, nic](uint32_t) { onVisitor(fd, nic); });
  }
}

// True: a whole greeting is there.
bool TcpDoor::read(Connection* connection, bool* broken) {
  auto* bytes = reinterpret_cast<uint8_t*>(&connection->heard);
  Result<size_t> got =
      recvSome(connection->fd.get(), bytes + connection->have, sizeof(Greeting) - connection->have);
  *broken = got.ok() ? got.value() == 0 : got.status().code() != Code::kInProgress;
  if (!got.ok() || *broken) return false;
  connection->have += got.value();
  if (connection->have < sizeof(Greeting)) return false;
  connection->have = 0;
  *broken =
      connection->heard.magic != Greeting::kMagic || connection->heard.version != kWireVersion;
  return !*broken;
}

bool TcpDoor::say(int fd, const Cookie& cookie, Greeting::Word word, LinkPlace place,
                  uint32_t links) {
  Greeting greeting;
  greeting.cookie = cookie;
  greeting.from = myProcessCard().value()->id;
  greeting.word = word;
  greeting.index = place.number;
  greeting.round = place.round;
  greeting.links = links;
  Result<size_t> sent = sendSome(fd, &greeting, sizeof greeting);  // an empty socket takes it whole
  return sent.ok() && sent.value() == sizeof greeting;
}

void TcpDoor::onVisitor(int fd, const std::string& nic) {
  Connection& visitor = visitors_[fd];
  bool broken = false;
  if (!read(&visitor, &broken) && !broken) return;
  const Greeting heard = visitor.heard;
  broken = broken || heard.cookie != myProcessCard().value()->cookie;
  if (!broken && heard.word == Greeting::kHello &&
      say(fd, heard.cookie, Greeting::kHello, {heard.index, heard.round}, 0)) {
    return;
  }
  Fd held = std::move(visitor.fd);
  reactor_->cancel(visitor.timer);
  reactor_->unwatch(fd);
  visitors_.erase(fd);
  bool known = heard.word == Greeting::kGo || heard.word == Greeting::kAgain;
  if (!broken && known && heard.index < 2 * kMostNics) welcome(heard, nic, std::move(held));
}

// Where a new set of connections begins, what there was has failed on the other side.
void TcpDoor::welcome(const Greeting& heard, const std::string& nic, Fd fd) {
  bool first = heard.word == Greeting::kGo;
  Entry& entry = entries_[heard.from];
  if (first && entry.ready) {
    entry.bundle->fail(makeStatus(Code::kRemote, "%s has made its connections anew",
                                  entry.bundle->peer().c_str()));
    hangUp(heard.from);
    entry = Entry{};
  }
  Pair& pair = entry.pairs[heard.index];
  pair.greeted = std::move(fd);
  pair.name = "tcp:" + nic;
  pair.round = heard.round;
  if (!first && entry.ready) return join(&entry, heard.index);
  if (!first) return;
  entry.awaited = heard.links;
  if (++entry.gone == entry.awaited && !entry.waiting.empty()) finish(&entry);
}

// A bundle that has failed is made anew for whoever comes after.
Entry& TcpDoor::entryOf(const ProcessId& id, const std::string& name) {
  Entry& entry = entries_[id];
  if (entry.ready) (void)entry.bundle->poll();  // the news may be there, unread
  if (entry.ready && entry.bundle->failed()) {
    hangUp(id);
    entry = Entry{};
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
  std::erase_if(dialed_, [&](const auto& one) {
    if (one.second.id != id) return false;
    reactor_->cancel(one.second.timer);
    reactor_->unwatch(one.first);
    return true;
  });
}

void TcpDoor::connect(const DataPeer& peer, int64_t deadline, BundleReady done) {
  Entry& entry = entryOf(peer.id, peer.name);
  if (entry.ready) return done(entry.bundle);
  entry.waiting.push_back(std::move(done));
  entry.peer = peer;
  entry.joints = pairNics(own_.side, peer.nics, peer.oneLoopback);
  for (const NicPlace& nic : unusedNics(own_.side, entry.joints)) {
    FLEXLINK_INFO(kInit, "NIC %s is not used to %s: %s", nic.name.c_str(), peer.name.c_str(),
                  nic.why.c_str());
    entry.bundle->leaveOut("tcp:" + nic.name, nic.why);
  }
  bool dials = myProcessCard().value()->id < peer.id;
  if (!dials && entry.gone != 0 && entry.gone == entry.awaited) return finish(&entry);
  reactor_->after(std::max<int64_t>(deadline - nowNanos(), 1),
                  [this, id = peer.id, bundle = entry.bundle] {
                    Entry& late = entries_[id];
                    if (!late.ready && late.bundle == bundle)
                      fail(&late, late.troubles.empty() ? "it did not connect" : late.troubles);
                  });
  if (!dials || entry.dialing) return;
  entry.dialing = true;
  dial(&entry);
}

void TcpDoor::dial(Entry* entry) {
  for (const NicPair& pair : entry->joints) {
    if (pair.used) entry->dialed.push_back(pair);
  }
  if (entry->dialed.empty()) return fail(entry, "none of its NICs is reached from one of ours");
  entry->awaited = entry->dialed.size();
  for (uint32_t i = 0; i < entry->dialed.size(); ++i) dialOne(entry, i);
}

void TcpDoor::dialOne(Entry* entry, uint32_t number) {
  const NicAddress& nic = own_.side.addresses[entry->dialed[number].own];
  SocketAddress theirs = entry->peer.nics.addresses[entry->dialed[number].peer].address;
  SocketAddress source = nic.address;
  source.setPort(0);
  if (theirs.isLinkLocal()) theirs.setScope(source.scope());
  Pair& pair = entry->pairs[number];
  pair.name = "tcp:" + nic.nic;
  pair.dialing = true;
  const ProcessId id = entry->peer.id;
  Result<Fd> started = connectTcpStart(theirs, source);
  if (!started.ok()) return concluded(id, number, started.status().text());
  int fd = started.value().get();
  Connection& connection = dialed_[fd];
  connection.id = id;
  connection.fd = std::move(started.value());
  int64_t patience = entry->ready ? kDialAgainNanos : kDialNanos;
  connection.timer = reactor_->after(patience, [this, id, number, fd, theirs, patience] {
    reactor_->unwatch(fd);
    dialed_.erase(fd);
    concluded(
        id, number,
        "no answer of " + theirs.text() + " in " + std::to_string(patience / 1'000'000) + " ms");
  });
  (void)reactor_->watch(fd, EPOLLOUT,
                        [this, id, number, fd](uint32_t) { onDialed(id, number, fd); });
}

void TcpDoor::onDialed(const ProcessId& id, uint32_t number, int fd) {
  Connection& connection = dialed_[fd];
  Entry& entry = entries_[id];
  Pair& pair = entry.pairs[number];
  auto over = [&](const std::string& trouble) {
    reactor_->cancel(connection.timer);
    reactor_->unwatch(fd);
    if (trouble.empty()) pair.greeted = std::move(connection.fd);
    dialed_.erase(fd);
    concluded(id, number, trouble);
  };
  if (!connection.greeted) {
    Status status = connectResult(fd);
    if (status.code() == Code::kInProgress) return;
    if (!status.ok()) return over(status.text());
    if (!say(fd, entry.peer.cookie, Greeting::kHello, {number, pair.round}, 0))
      return over("cannot send");
    connection.greeted = true;
    return reactor_->rewatch(fd, EPOLLIN);
  }
  bool broken = false;
  if (read(&connection, &broken)) return over("");
  if (broken) over("the peer does not answer as FlexLink");
}

// One connection of ours is there or has failed.
void TcpDoor::concluded(const ProcessId& id, uint32_t number, const std::string& trouble) {
  Entry& entry = entries_[id];
  Pair& pair = entry.pairs[number];
  pair.dialing = false;
  if (entry.ready) {
    if (!trouble.empty()) return dialAgainLater(id, number);
    (void)say(pair.greeted.get(), entry.peer.cookie, Greeting::kAgain, {number, pair.round}, 0);
    return join(&entry, number);
  }
  if (!trouble.empty()) {
    std::string what = pair.name + ": " + trouble;
    FLEXLINK_WARN("a path to %s is not used: %s", entry.peer.name.c_str(), what.c_str());
    entry.troubles += (entry.troubles.empty() ? "" : "; ") + what;
  }
  if (--entry.awaited != 0) return;
  uint32_t links = 0;
  for (const auto& [any, one] : entry.pairs) links += one.greeted.get() >= 0 ? 1 : 0;
  if (links == 0) return fail(&entry, entry.troubles);
  for (const auto& [which, one] : entry.pairs) {
    if (one.greeted.get() >= 0)
      (void)say(one.greeted.get(), entry.peer.cookie, Greeting::kGo, {which, one.round}, links);
  }
  finish(&entry);
}

void TcpDoor::finish(Entry* entry) {
  entry->ready = true;
  entry->dialing = false;
  for (auto& [number, pair] : entry->pairs) {
    if (pair.greeted.get() >= 0) {
      join(entry, number);
    } else {
      dialAgainLater(entry->peer.id, number);
    }
  }
  for (BundleReady& done : std::exchange(entry->waiting, {})) done(entry->bundle);
}

void TcpDoor::join(Entry* entry, uint32_t number) {
  Pair& pair = entry->pairs[number];
  FLEXLINK_INFO(kInit, "path %s to %s is used%s", pair.name.c_str(), entry->bundle->peer().c_str(),
                pair.round == 0 ? "" : " again");
  pair.madeAt = nowNanos();
  pair.peerHost = hostOf(peerAddress(pair.greeted.get()));
  entry->bundle->add(
      {number, pair.round},
      [&](LinkEvents events) {
        return std::make_unique<TcpLink>(pair.name, std::move(pair.greeted), std::move(events));
      },
      known_->firstModel(pair.name, pair.peerHost));
}

// For the next job.
void TcpDoor::remember() {
  for (auto& [id, entry] : entries_) {
    if (!entry.ready) continue;
    for (const LinkState& link : entry.bundle->state()) {
      for (const auto& [number, pair] : entry.pairs) {
        if (pair.name == link.name) known_->note(link, pair.peerHost);
      }
    }
  }
  if (known_) known_->save();
}

// The side that has dialled at first does so again.
void TcpDoor::dialAgainLater(const ProcessId& id, uint32_t number) {
  Entry& entry = entries_[id];
  if (!entry.ready || !(myProcessCard().value()->id < id) || entry.bundle->failed()) return;
  Pair& pair = entry.pairs[number];
  if (pair.dialing) return;
  pair.dialing = true;
  if (nowNanos() - pair.madeAt > kGoodLifeNanos && pair.madeAt != 0) pair.pause = kFirstPauseNanos;
  pair.madeAt = 0;
  pair.timer = reactor_->after(pair.pause, [this, id, number] { dialAgain(id, number); });
  pair.pause = std::min(2 * pair.pause, kLastPauseNanos);
}

void TcpDoor::dialAgain(const ProcessId& id, uint32_t number) {
  Entry& entry = entries_[id];
  Pair& pair = entry.pairs[number];
  pair.timer = 0;
  if (entry.bundle->failed()) return;
  ++pair.round;
  dialOne(&entry, number);
}

// Over a NIC that is down nothing arrives; as soon as it is up again its links are tried.
void TcpDoor::onNic(const std::string& nic, bool up) {
  for (auto& [id, entry] : entries_) {
    if (!entry.ready) continue;
    for (auto& [number, pair] : entry.pairs) {
      if (pair.name != "tcp:" + nic) continue;
      if (!up) {
        entry.bundle->drop(number, makeStatus(Code::kRemote, "%s is down", nic.c_str()));
      } else if (pair.timer != 0) {
        reactor_->cancel(pair.timer);
        dialAgain(id, number);
      }
    }
  }
}

// Frames wait for an answer, and maybe nobody here waits for it: the peer does.
void TcpDoor::mind(const ProcessId& id) {
  reactor_->after(kLookNanos, [this, id] {
    auto found = entries_.find(id);
    if (found == entries_.end() || !found->second.bundle) return;
    if (found->second.bundle->look(nowNanos())) mind(id);
  });
}

void TcpDoor::fail(Entry* entry, const std::string& why) {
  Status status = makeStatus(Code::kRemote,
                             "no data connection to %s: %s; NCCL_SOCKET_IFNAME says which "
                             "interfaces are used",
                             entry->bundle->peer().c_str(), why.c_str());
  entry->dialing = false;
  for (BundleReady& done : std::exchange(entry->waiting, {})) done(status);
}

}  // namespace

Result<NicCard> myNicCard() { return TcpDoor::instance().card(); }

std::vector<NicPlace> myNicPlaces() { return TcpDoor::instance().places(); }

void rememberLinks() { TcpDoor::instance().remember(); }

void connectBundle(const DataPeer& peer, int64_t deadline, BundleReady done) {
  TcpDoor::instance().connect(peer, deadline, std::move(done));
}

}  // namespace flexlink
