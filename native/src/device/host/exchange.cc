// SPDX-License-Identifier: Apache-2.0
#include "device/host/exchange.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <map>

#include "base/hash.h"
#include "base/log.h"
#include "base/settings.h"
#include "base/small_file.h"
#include "device/host/region.h"

namespace flexlink {
namespace {

constexpr uint32_t kMagic = 0x666c7831;  // "flx1"
constexpr size_t kMaxServed = 4096;      // connections; far above the ranks of a host

enum class Kind : uint32_t { kHello, kFetch, kFreed, kVisit };

// One packet of the exchange, both ways (SOCK_SEQPACKET keeps its borders).
struct Packet {
  uint32_t magic = kMagic;
  Kind kind = Kind::kHello;
  uint32_t regionId = 0;
  int32_t error = 0;  // errno of the answer, 0 when a descriptor comes with it
  uint64_t bytes = 0;
  Cookie cookie{};
  ProcessId from{};  // kVisit
};

void unixName(const ProcessId& id, sockaddr_un* address, socklen_t* length) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  int written = snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "flexlink-");
  for (uint8_t byte : id) {
    written += snprintf(address->sun_path + 1 + written, 3, "%02x", byte);
  }
  *length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + written);
}

bool sendPacket(int fd, const Packet& packet, int passedFd) {
  iovec part{const_cast<Packet*>(&packet), sizeof packet};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (passedFd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &passedFd, sizeof(int));
  }
  return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == static_cast<ssize_t>(sizeof packet);
}

// 1: a packet; 0: nothing there now; -1: the peer is gone or talks nonsense.
int receivePacket(int fd, Packet* packet, Fd* passedFd) {
  iovec part{packet, sizeof *packet};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  cmsghdr* header = got > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
  if (header != nullptr && header->cmsg_type == SCM_RIGHTS) {
    int raw;
    memcpy(&raw, CMSG_DATA(header), sizeof raw);
    *passedFd = Fd(raw);
  }
  return got == static_cast<ssize_t>(sizeof *packet) && packet->magic == kMagic ? 1 : -1;
}

uid_t peerUid(int fd, pid_t* pid) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return ~0u;
  *pid = credentials.pid;
  return credentials.uid;
}

uint64_t hostHash() {
  std::string text = settings().hostId;
  if (text.empty()) {
    char boot[64];
    readSmallFile("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
    text = boot;
  }
  return fnv1a(text);
}

}  // namespace

Cookie randomCookie() {
  Cookie cookie;
  size_t filled = 0;
  while (filled < cookie.size()) {
    ssize_t got = getrandom(cookie.data() + filled, cookie.size() - filled, 0);
    if (got > 0) filled += static_cast<size_t>(got);
  }
  return cookie;
}

// Both sides of the exchange in this process. All members belong to the control thread, except what
// is set once before the first card is handed out.
class Exchange {
 public:
  static Exchange& instance() {
    static Exchange* exchange = new Exchange;  // outlives the control thread's last event
    return *exchange;
  }

  Result<const ProcessCard*> card() {
    std::lock_guard<std::mutex> lock(startMutex_);
    if (!started_) {
      FLEXLINK_TRY(start());
      started_ = true;
    }
    return &card_;
  }

  void connect(const ProcessCard& card,
               const std::function<void(Result<std::shared_ptr<PeerProcess>>)>& done);
  void release(std::shared_ptr<PeerProcess> peer);
  void freed(uint32_t regionId);
  void onVisit(std::function<void(ExchangeVisit)> visited) { visited_ = std::move(visited); }
  Result<Fd> visit(const ProcessId& id, const Cookie& cookie, uint32_t regionId);
  void ask(PeerProcess* peer, uint32_t regionId);
  // nullptr until the exchange has started. Any thread; pairs with start()'s release.
  Reactor* reactor() { return published_.load(std::memory_order_acquire); }
  Doorbell& doorbell() { return *doorbell_; }
  // nullptr until it is there. Any thread; pairs with start()'s release.
  Doorbell* startedDoorbell() { return shownDoorbell_.load(std::memory_order_acquire); }

 private:
  struct Served {
    Fd socket;
    bool greeted = false;
    std::vector<uint32_t> handedOut;
  };

  Status start();
  void accept();
  void serve(int fd);
  void letIn(int fd, const Packet& request, const Fd& memory);
  bool answer(Served* served, const Packet& request);
  void hear(const std::shared_ptr<PeerProcess>& peer);
  void settle(const std::shared_ptr<PeerProcess>& peer, const Packet& reply, Fd fd);
  void died(const std::shared_ptr<PeerProcess>& peer);

  std::mutex startMutex_;  // guards started_
  bool started_ = false;
  Reactor* reactor_ = nullptr;
  std::atomic<Reactor*> published_{nullptr};  // reactor_, for threads that did not start it
  ProcessCard card_{};
  Doorbell* doorbell_ = nullptr;
  std::atomic<Doorbell*> shownDoorbell_{nullptr};  // doorbell_, likewise
  Fd listener_;
  std::unordered_map<int, Served> served_;
  std::function<void(ExchangeVisit)> visited_;
  std::map<ProcessId, std::shared_ptr<PeerProcess>> peers_;
};

Result<const ProcessCard*> myProcessCard() { return Exchange::instance().card(); }

Doorbell& myDoorbell() { return Exchange::instance().doorbell(); }

void ringOwnDoorbell() {
  Doorbell* bell = Exchange::instance().startedDoorbell();
  if (bell != nullptr) bell->ring();
}

Status Exchange::start() {
  FLEXLINK_TRY_ASSIGN(reactor_, Reactor::instance());
  published_.store(reactor_, std::memory_order_release);
  card_.id = randomCookie();
  card_.cookie = randomCookie();
  card_.hostHash = hostHash();
  FLEXLINK_TRY_ASSIGN(void* wake,
                      RegionTable::instance().create(sizeof(Doorbell), RegionUse::kSegment));
  doorbell_ = static_cast<Doorbell*>(wake);  // zeroed memory is a Doorbell that nobody sleeps on
  shownDoorbell_.store(doorbell_, std::memory_order_release);
  card_.wakeRegion = RegionTable::instance().find(wake, 1).id;
  card_.pid = getpid();
  card_.uid = geteuid();
  gethostname(card_.hostName, sizeof card_.hostName - 1);
  listener_ = Fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address;
  socklen_t length;
  unixName(card_.id, &address, &length);
  if (listener_.get() < 0 ||
      bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      listen(listener_.get(), 1024) != 0) {
    return makeStatus(Code::kSystem, "cannot listen on a Unix socket to share memory: %s",
                      strerror(errno));
  }
  reactor_->post([this] {
    Status status = reactor_->watch(listener_.get(), EPOLLIN, [this](uint32_t) { accept(); });
    if (!status.ok()) FLEXLINK_WARN("memory exchange: %s", status.text());
  });
  return {};
}

void Exchange::accept() {
  for (;;) {
    Fd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd.get() < 0) return;
    pid_t pid;
    if (peerUid(fd.get(), &pid) != geteuid() || served_.size() >= kMaxServed) continue;
    int raw = fd.get();
    served_[raw].socket = std::move(fd);
    if (!reactor_->watch(raw, EPOLLIN, [this, raw](uint32_t) { serve(raw); }).ok()) {
      served_.erase(raw);
    }
  }
}

void Exchange::serve(int fd) {
  Served& served = served_[fd];
  for (;;) {
    Packet request;
    Fd passed;
    int got = receivePacket(fd, &request, &passed);
    if (got == 0) return;
    if (got > 0 && request.kind == Kind::kVisit) return letIn(fd, request, passed);
    if (got < 0 || !answer(&served, request)) {
      reactor_->unwatch(fd);
      served_.erase(fd);
      return;
    }
  }
}

// Whoever is not let in sees the connection end.
void Exchange::letIn(int fd, const Packet& request, const Fd& memory) {
  reactor_->unwatch(fd);
  ExchangeVisit visit{request.from, std::move(served_[fd].socket), nullptr};
  served_.erase(fd);
  if (request.cookie != card_.cookie || !visited_) return;
  auto mapped = ForeignRegion::map(memory.get(), request.bytes);
  if (mapped.ok()) {
    visit.memory = mapped.value();
    visited_(std::move(visit));
  } else {
    FLEXLINK_WARN("memory exchange: %s", mapped.status().text());
  }
}

Result<Fd> Exchange::visit(const ProcessId& id, const Cookie& cookie, uint32_t regionId) {
  FLEXLINK_TRY_ASSIGN(auto shared, RegionTable::instance().share(regionId));
  Fd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address;
  socklen_t length;
  unixName(id, &address, &length);
  if (fd.get() < 0 || ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) {
    return makeStatus(Code::kSystem, "its Unix socket does not answer: %s", strerror(errno));
  }
  Packet packet;
  packet.kind = Kind::kVisit;
  packet.cookie = cookie;
  packet.from = card_.id;
  packet.bytes = shared.second;
  pid_t pid = 0;
  if (peerUid(fd.get(), &pid) != geteuid() || !sendPacket(fd.get(), packet, shared.first.get())) {
    return makeStatus(Code::kSystem, "its Unix socket belongs to another user or is closed");
  }
  return fd;
}

bool Exchange::answer(Served* served, const Packet& request) {
  if (request.cookie != card_.cookie) return false;
  if (request.kind == Kind::kHello) {
    served->greeted = true;
    return sendPacket(served->socket.get(), Packet{}, -1);
  }
  if (request.kind != Kind::kFetch || !served->greeted) return false;
  Packet reply;
  reply.kind = Kind::kFetch;
  reply.regionId = request.regionId;
  auto shared = RegionTable::instance().share(request.regionId);
  if (!shared.ok()) {
    reply.error = ENOENT;
    return sendPacket(served->socket.get(), reply, -1);
  }
  reply.bytes = shared.value().second;
  served->handedOut.push_back(request.regionId);
  return sendPacket(served->socket.get(), reply, shared.value().first.get());
}

void Exchange::freed(uint32_t regionId) {
  for (auto& [fd, served] : served_) {
    for (uint32_t id : served.handedOut) {
      if (id != regionId) continue;
      Packet notice;
      notice.kind = Kind::kFreed;
      notice.regionId = regionId;
      sendPacket(fd, notice, -1);
      break;
    }
  }
}

void Exchange::connect(const ProcessCard& card,
                       const std::function<void(Result<std::shared_ptr<PeerProcess>>)>& done) {
  auto known = peers_.find(card.id);
  if (known != peers_.end()) return done(known->second);
  auto peer = std::make_shared<PeerProcess>();
  peer->card_ = card;
  peer->socket_ = Fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address;
  socklen_t length;
  unixName(card.id, &address, &length);
  Packet hello;
  hello.cookie = card.cookie;
  pid_t pid = 0;
  if (peer->socket_.get() < 0 ||
      ::connect(peer->socket_.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) {
    return done(makeStatus(Code::kSystem,
                           "process %d says that it is on this host, but its Unix socket does not "
                           "answer (%s); are the two in different network namespaces? Set "
                           "FLEXLINK_HOSTID to different values there",
                           card.pid, strerror(errno)));
  }
  if (peerUid(peer->socket_.get(), &pid) != card.uid ||
      !sendPacket(peer->socket_.get(), hello, -1)) {
    return done(makeStatus(Code::kSystem, "the Unix socket of process %d belongs to another user",
                           card.pid));
  }
  // pid is 0 when the peer lives in a pid namespace that we cannot see: then the socket tells
  // alone.
  if (pid > 0) peer->pidfd_ = Fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  int raw = peer->socket_.get();
  Status watched = reactor_->watch(raw, EPOLLIN, [this, peer](uint32_t) { hear(peer); });
  if (watched.ok() && peer->pidfd_.get() >= 0) {
    watched = reactor_->watch(peer->pidfd_.get(), EPOLLIN, [this, peer](uint32_t) { died(peer); });
  }
  if (!watched.ok()) return done(watched);
  peers_[card.id] = peer;
  done(peer);
}

void Exchange::hear(const std::shared_ptr<PeerProcess>& peer) {
  for (;;) {
    Packet packet;
    Fd fd;
    int got = receivePacket(peer->socket_.get(), &packet, &fd);
    if (got == 0) return;
    if (got < 0) return died(peer);
    if (packet.kind == Kind::kFetch) {
      settle(peer, packet, std::move(fd));
    } else if (packet.kind == Kind::kFreed) {
      peer->forget(packet.regionId);
    }
  }
}

void Exchange::settle(const std::shared_ptr<PeerProcess>& peer, const Packet& reply, Fd fd) {
  Result<PeerProcess::Mapping> result =
      makeStatus(Code::kRemote, "process %d does not share region %u any more", peer->card_.pid,
                 reply.regionId);
  if (reply.error == 0 && fd.get() >= 0) {
    result = ForeignRegion::map(fd.get(), reply.bytes);
  }
  {
    std::lock_guard<std::mutex> lock(peer->mutex_);
    PeerProcess::Slot& slot = peer->slots_[reply.regionId];
    slot.state = result.ok() ? PeerProcess::State::kMapped : PeerProcess::State::kRefused;
    if (result.ok()) slot.mapping = result.value();
  }
  auto waiting = std::move(peer->waiting_[reply.regionId]);
  peer->waiting_.erase(reply.regionId);
  for (auto& told : waiting) told(result);
}

void Exchange::died(const std::shared_ptr<PeerProcess>& peer) {
  std::shared_ptr<PeerProcess> held = peer;  // the handlers that we remove own the caller's copy
  if (held->dead_.exchange(true, std::memory_order_acq_rel)) return;
  reactor_->unwatch(held->socket_.get());
  if (held->pidfd_.get() >= 0) reactor_->unwatch(held->pidfd_.get());
  peers_.erase(held->card_.id);
  auto waiting = std::move(held->waiting_);
  held->waiting_.clear();
  for (auto& [id, list] : waiting) {
    {
      std::lock_guard<std::mutex> lock(held->mutex_);
      held->slots_[id].state = PeerProcess::State::kRefused;
    }
    Result<PeerProcess::Mapping> gone = makeStatus(Code::kRemote, "process %d on host %s is dead",
                                                   held->card_.pid, held->card_.hostName);
    for (auto& told : list) told(gone);
  }
  myDoorbell().wakeAll();  // whoever waits for that process looks at dead() now
}

void Exchange::ask(PeerProcess* peer, uint32_t regionId) {
  Packet request;
  request.kind = Kind::kFetch;
  request.regionId = regionId;
  request.cookie = peer->card_.cookie;
  if (peer->dead() || !sendPacket(peer->socket_.get(), request, -1)) {
    Packet refused;
    refused.regionId = regionId;
    refused.error = EPIPE;
    auto known = peers_.find(peer->card_.id);
    if (known != peers_.end()) return settle(known->second, refused, Fd());
    std::lock_guard<std::mutex> lock(peer->mutex_);
    peer->slots_[regionId].state = PeerProcess::State::kRefused;
  }
}

void Exchange::release(std::shared_ptr<PeerProcess> peer) {
  auto known = peers_.find(peer->card_.id);
  if (known == peers_.end()) return;
  peer.reset();
  // Holders now: the registry, and the two handlers (socket, pidfd) of the reactor.
  long own = 2 + (known->second->pidfd_.get() >= 0 ? 1 : 0);
  if (known->second.use_count() > own) return;
  std::shared_ptr<PeerProcess> last = known->second;
  peers_.erase(known);
  reactor_->unwatch(last->socket_.get());
  if (last->pidfd_.get() >= 0) reactor_->unwatch(last->pidfd_.get());
}

void PeerProcess::forget(uint32_t regionId) {
  std::lock_guard<std::mutex> lock(mutex_);
  slots_.erase(regionId);
}

void* PeerProcess::mapped(uint32_t regionId, bool* pending) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    auto [slot, fresh] = slots_.try_emplace(regionId);
    *pending = slot->second.state == State::kAsked && !dead();
    if (!fresh) return slot->second.mapping ? slot->second.mapping->base() : nullptr;
  }
  Exchange& exchange = Exchange::instance();
  exchange.reactor()->post([this, regionId] { Exchange::instance().ask(this, regionId); });
  return nullptr;
}

void PeerProcess::fetch(uint32_t regionId, FetchDone done) {
  Slot known;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    auto [slot, fresh] = slots_.try_emplace(regionId);
    known = slot->second;
    if (fresh || known.state == State::kAsked) waiting_[regionId].push_back(std::move(done));
    if (!fresh && known.state == State::kAsked) return;
    if (fresh) known.state = State::kAsked;
  }
  // Not moved away: a slot that is mapped or refused is neither fresh nor asked for.
  if (known.state == State::kMapped) return done(known.mapping);  // NOLINT(bugprone-use-after-move)
  if (known.state == State::kRefused) {
    return done(
        makeStatus(Code::kRemote, "process %d does not share region %u", card_.pid, regionId));
  }
  Exchange::instance().ask(this, regionId);
}

void connectPeer(const ProcessCard& card,
                 std::function<void(Result<std::shared_ptr<PeerProcess>>)> done) {
  Exchange::instance().connect(card, done);
}

void releasePeer(std::shared_ptr<PeerProcess> peer) {
  Exchange::instance().release(std::move(peer));
}

void onExchangeVisit(std::function<void(ExchangeVisit)> visited) {
  Exchange::instance().onVisit(std::move(visited));
}

Result<Fd> visitProcess(const ProcessId& id, const Cookie& cookie, uint32_t regionId) {
  return Exchange::instance().visit(id, cookie, regionId);
}

void announceFreed(uint32_t regionId) {
  Exchange& exchange = Exchange::instance();
  if (exchange.reactor() == nullptr) return;  // no communicator was ever made: nobody has mapped it
  exchange.reactor()->post([regionId] { Exchange::instance().freed(regionId); });
}

}  // namespace flexlink
