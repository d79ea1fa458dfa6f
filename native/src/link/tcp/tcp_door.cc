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
#include "link/tcp/tcp_link.h"

namespace flexlink {
namespace {

constexpr int64_t kDialNanos = 3'000'000'000;      // for one connection
constexpr int64_t kStrangerNanos = 5'000'000'000;  // for a visitor to say who he is
constexpr size_t kMaxStrangers = 256;
// What is believed of a link before its first acknowledgement.
constexpr double kFirstRate = 1e9;
constexpr int64_t kFirstLatency = 100'000;

// The dialer says kHello, hears kHello back, and says kGo on every link once all have answered or
// failed; then frames may follow. Fixed size, so that nothing of the first frame is read with it.
struct Greeting {
  static constexpr uint32_t kMagic = 0x48584c46;  // "FLXH"
  enum Word : uint32_t { kHello = 1, kGo = 2 };
  uint32_t magic = kMagic;
  uint32_t version = kWireVersion;
  Cookie cookie{};  // of the process that is called
  ProcessId from{};
  uint32_t word = kHello;
  uint32_t index = 0;  // which NIC pair
  uint32_t links = 0;  // kGo: links that are there
  uint32_t reserved = 0;
};
static_assert(sizeof(Greeting) == 56);

struct Connection {
  Fd fd;
  size_t have = 0;  // bytes of `heard`
  Greeting heard;
  Reactor::TimerId timer = 0;
  bool greeted = false;  // by us
};

// All about one peer.
struct Entry {
  std::shared_ptr<Bundle> bundle;
  bool ready = false;
  bool dialing = false;
  size_t awaited = 0;              // of the connections, not yet concluded
  std::map<uint32_t, Fd> greeted;  // by NIC pair
  std::map<uint32_t, std::string> names;
  uint32_t gone = 0;  // callee: links that have said kGo
  std::vector<BundleReady> waiting;
  std::string troubles;
};

class TcpDoor {
 public:
  static TcpDoor& instance() {
    static TcpDoor* door = new TcpDoor;  // the control thread may use it until the process ends
    return *door;
  }
  Result<std::vector<DataNic>> nics();
  void connect(const DataPeer& peer, int64_t deadline, BundleReady done);

 private:
  Status open();
  void accept(int listener, const std::string& nic);
  void onVisitor(int fd, const std::string& nic);
  bool read(Connection* connection, bool* broken);
  void dial(const DataPeer& peer);
  void dialOne(const DataPeer& peer, uint32_t index, const DataNic& mine,
               const SocketAddress& theirs);
  void onDialed(const DataPeer& peer, uint32_t index, int fd);
  void concluded(const DataPeer& peer, const std::string& trouble);
  void finish(Entry* entry);
  void fail(Entry* entry, const std::string& why);
  bool say(int fd, const Cookie& cookie, Greeting::Word word, uint32_t index, uint32_t links);

  std::mutex mutex_;  // guards nics_ and opened_
  bool opened_ = false;
  std::vector<DataNic> nics_;
  Reactor* reactor_ = nullptr;
  std::vector<Fd> listeners_;
  std::map<int, Connection> visitors_;
  std::map<int, Connection> dialed_;
  std::map<ProcessId, Entry> entries_;
};

std::vector<Interface> dataInterfaces(const std::vector<Interface>& all) {
  const std::string& wish = settings().socketIfname;
  std::vector<Interface> chosen = selectInterfaces(all, wish, socketFamily());
  if (wish.empty()) {
    std::erase_if(chosen,
                  [](const Interface& one) { return one.loopback || isVirtualInterface(one); });
  }
  if (chosen.size() > kMaxDataNics) chosen.resize(kMaxDataNics);
  return chosen;
}

Status TcpDoor::open() {
  FLEXLINK_TRY_ASSIGN(reactor_, Reactor::instance());
  FLEXLINK_TRY_ASSIGN(std::vector<Interface> all, listInterfaces());
  std::vector<Interface> chosen = dataInterfaces(all);
  if (chosen.empty()) {
    FLEXLINK_TRY_ASSIGN(Interface only, bootstrapInterface());
    chosen.push_back(only);
  }
  for (const Interface& one : chosen) {
    FLEXLINK_TRY_ASSIGN(Fd fd, listenTcp(one.address, settings().portRange));
    FLEXLINK_TRY_ASSIGN(SocketAddress address, localAddress(fd.get()));
    nics_.push_back({one.name, address});
    FLEXLINK_INFO(kInit, "data connections at %s (%s)", address.text().c_str(), one.name.c_str());
    auto held = std::make_shared<Fd>(std::move(fd));
    std::string nic = one.name;
    reactor_->post([this, held, nic] {
      int raw = held->get();
      listeners_.push_back(std::move(*held));
      (void)reactor_->watch(raw, EPOLLIN, [this, raw, nic](uint32_t) { accept(raw, nic); });
    });
  }
  return {};
}

Result<std::vector<DataNic>> TcpDoor::nics() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!opened_) {
    FLEXLINK_TRY(open());
    opened_ = true;
  }
  return nics_;
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

bool TcpDoor::say(int fd, const Cookie& cookie, Greeting::Word word, uint32_t index,
                  uint32_t links) {
  Greeting greeting;
  greeting.cookie = cookie;
  greeting.from = myProcessCard().value()->id;
  greeting.word = word;
  greeting.index = index;
  greeting.links = links;
  Result<size_t> sent = sendSome(fd, &greeting, sizeof greeting);  // an empty socket takes it whole
  return sent.ok() && sent.value() == sizeof greeting;
}

void TcpDoor::onVisitor(int fd, const std::string& nic) {
  Connection& visitor = visitors_[fd];
  bool broken = false;
  if (!read(&visitor, &broken) && !broken) return;
  const Greeting& heard = visitor.heard;
  auto drop = [&] {
    reactor_->cancel(visitor.timer);
    reactor_->unwatch(fd);
    visitors_.erase(fd);
  };
  if (broken || heard.cookie != myProcessCard().value()->cookie) return drop();
  if (heard.word == Greeting::kHello) {
    if (!say(fd, heard.cookie, Greeting::kHello, heard.index, 0)) drop();
    return;
  }
  Entry& entry = entries_[heard.from];
  entry.greeted[heard.index] = std::move(visitor.fd);
  entry.names[heard.index] = "tcp:" + nic;
  entry.awaited = heard.links;
  drop();
  if (++entry.gone == entry.awaited && !entry.waiting.empty()) finish(&entry);
}

void TcpDoor::connect(const DataPeer& peer, int64_t deadline, BundleReady done) {
  Entry& entry = entries_[peer.id];
  if (!entry.bundle) entry.bundle = std::make_shared<Bundle>(peer.name);
  if (entry.ready) return done(entry.bundle);
  entry.waiting.push_back(std::move(done));
  bool dials = myProcessCard().value()->id < peer.id;
  if (!dials && entry.gone != 0 && entry.gone == entry.awaited) return finish(&entry);
  ProcessId id = peer.id;
  reactor_->after(std::max<int64_t>(deadline - nowNanos(), 1), [this, id] {
    Entry& late = entries_[id];
    if (!late.ready) fail(&late, late.troubles.empty() ? "it did not connect" : late.troubles);
  });
  if (!dials || entry.dialing) return;
  entry.dialing = true;
  dial(peer);
}

void TcpDoor::dial(const DataPeer& peer) {
  Result<std::vector<DataNic>> mine = nics();
  if (!mine.ok() || peer.nics.empty()) return fail(&entries_[peer.id], "there is no NIC to use");
  size_t count = std::max(mine.value().size(), peer.nics.size());
  entries_[peer.id].awaited = count;
  for (size_t i = 0; i < count; ++i) {
    dialOne(peer, static_cast<uint32_t>(i), mine.value()[i % mine.value().size()],
            peer.nics[i % peer.nics.size()]);
  }
}

void TcpDoor::dialOne(const DataPeer& peer, uint32_t index, const DataNic& mine,
                      const SocketAddress& theirs) {
  SocketAddress source = mine.address;
  source.setPort(0);
  std::string pair = mine.name + " to " + theirs.text();
  Result<Fd> started = connectTcpStart(theirs, source);
  if (!started.ok()) return concluded(peer, pair + ": " + started.status().text());
  int fd = started.value().get();
  entries_[peer.id].names[index] = "tcp:" + mine.name;
  Connection& connection = dialed_[fd];
  connection.fd = std::move(started.value());
  connection.timer = reactor_->after(kDialNanos, [this, peer, fd, pair] {
    reactor_->unwatch(fd);
    dialed_.erase(fd);
    concluded(peer, pair + ": no answer in 3 s");
  });
  (void)reactor_->watch(fd, EPOLLOUT,
                        [this, peer, index, fd](uint32_t) { onDialed(peer, index, fd); });
}

void TcpDoor::onDialed(const DataPeer& peer, uint32_t index, int fd) {
  Connection& connection = dialed_[fd];
  auto over = [&](const std::string& trouble) {
    reactor_->cancel(connection.timer);
    reactor_->unwatch(fd);
    if (trouble.empty()) entries_[peer.id].greeted[index] = std::move(connection.fd);
    dialed_.erase(fd);
    concluded(peer, trouble);
  };
  if (!connection.greeted) {
    Status status = connectResult(fd);
    if (status.code() == Code::kInProgress) return;
    if (!status.ok()) return over(entries_[peer.id].names[index] + ": " + status.text());
    if (!say(fd, peer.cookie, Greeting::kHello, index, 0)) return over("cannot send");
    connection.greeted = true;
    return reactor_->rewatch(fd, EPOLLIN);
  }
  bool broken = false;
  if (read(&connection, &broken)) return over("");
  if (broken) over(entries_[peer.id].names[index] + ": the peer does not answer as FlexLink");
}

// One connection of ours is there or has failed.
void TcpDoor::concluded(const DataPeer& peer, const std::string& trouble) {
  Entry& entry = entries_[peer.id];
  if (!trouble.empty()) {
    FLEXLINK_WARN("a path to %s is not used: %s", peer.name.c_str(), trouble.c_str());
    entry.troubles += (entry.troubles.empty() ? "" : "; ") + trouble;
  }
  if (--entry.awaited != 0 || entry.ready) return;
  if (entry.greeted.empty()) return fail(&entry, entry.troubles);
  auto links = static_cast<uint32_t>(entry.greeted.size());
  for (auto& [index, fd] : entry.greeted)
    (void)say(fd.get(), peer.cookie, Greeting::kGo, index, links);
  finish(&entry);
}

void TcpDoor::finish(Entry* entry) {
  entry->ready = true;
  for (auto& [index, fd] : entry->greeted) {
    FLEXLINK_INFO(kInit, "path %s to %s is used", entry->names[index].c_str(),
                  entry->bundle->peer().c_str());
    std::string name = entry->names[index];
    auto held = std::make_shared<Fd>(std::move(fd));
    entry->bundle->add(
        [&](LinkEvents events) {
          return std::make_unique<TcpLink>(name, std::move(*held), std::move(events));
        },
        LinkModel(kFirstRate, kFirstLatency));
  }
  entry->greeted.clear();
  for (BundleReady& done : std::exchange(entry->waiting, {})) done(entry->bundle);
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

Result<std::vector<DataNic>> myDataNics() { return TcpDoor::instance().nics(); }

void connectBundle(const DataPeer& peer, int64_t deadline, BundleReady done) {
  TcpDoor::instance().connect(peer, deadline, std::move(done));
}

}  // namespace flexlink
