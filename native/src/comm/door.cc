// SPDX-License-Identifier: Apache-2.0
// The door of a process: its TCP listener and the meetings that it keeps. Whoever does not say the
// right cookie in time is shown out without a word. Control thread only, except the start.
#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "base/clock.h"
#include "base/interfaces.h"
#include "base/log.h"
#include "base/reactor.h"
#include "base/settings.h"
#include "comm/frame.h"
#include "comm/rendezvous.h"
#include "comm/wire.h"

namespace flexlink {
namespace {

constexpr int64_t kGreetingNanos = 10'000'000'000;  // for the hello, from the connection on
constexpr size_t kMaxStrangers = 256;               // connections without a hello yet

struct Member {
  int fd = -1;  // -1: not there yet, or gone
  bool came = false;
  bool said = false;
  std::string blob;
  std::string who;  // "pid 7 on host a"
};

struct Gathering {
  std::vector<Member> members;
  size_t present = 0;  // connections
  size_t said = 0;
  Reactor::TimerId timer = 0;
};

using GatheringKey = std::pair<Cookie, uint64_t>;

// A meeting that failed before all had come: the others are told when they come.
struct Failed {
  std::string message;
  std::vector<bool> told;  // by index
  Reactor::TimerId timer = 0;
};

struct Visitor {
  std::unique_ptr<FrameStream> stream;
  bool greeted = false;
  GatheringKey key;
  uint32_t index = 0;
  Reactor::TimerId timer = 0;
};

class Door {
 public:
  static Door& instance() {
    static Door* door = new Door;  // the control thread may use it until the process ends
    return *door;
  }

  Result<SocketAddress> address();
  Status openAt(const SocketAddress& address);
  void admit(const Cookie& cookie, int change) {
    std::lock_guard<std::mutex> lock(mutex_);
    if ((cookies_[cookie] += change) <= 0) cookies_.erase(cookie);
  }

 private:
  Status listen(Fd fd);
  void accept(int listener);
  void onEvents(int fd);
  void onMessage(int fd, const std::string& message);
  void greet(int fd, const wire::Hello& hello);
  void said(Gathering* gathering, const GatheringKey& key, uint32_t index, std::string blob);
  void failAll(const GatheringKey& key, const Status& status);
  void remember(const GatheringKey& key, const Gathering& gathering, const std::string& message);
  bool tellFailed(int fd, const wire::Hello& hello);
  void send(int fd, const std::string& message);
  void drop(int fd);
  bool knows(const Cookie& cookie) {
    std::lock_guard<std::mutex> lock(mutex_);
    return cookies_.count(cookie) != 0;
  }
  std::string missing(const Gathering& gathering) const;

  std::mutex mutex_;  // guards the next three
  bool open_ = false;
  SocketAddress address_;
  std::map<Cookie, int> cookies_;
  Reactor* reactor_ = nullptr;
  std::vector<Fd> listeners_;
  std::unordered_map<int, Visitor> visitors_;
  size_t strangers_ = 0;
  std::map<GatheringKey, Gathering> gatherings_;
  std::map<GatheringKey, Failed> failed_;
};

Result<SocketAddress> Door::address() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (open_) return address_;
  FLEXLINK_TRY_ASSIGN(reactor_, Reactor::instance());
  FLEXLINK_TRY_ASSIGN(Interface chosen, bootstrapInterface());
  FLEXLINK_TRY_ASSIGN(Fd fd, listenTcp(chosen.address, settings().portRange));
  FLEXLINK_TRY_ASSIGN(address_, localAddress(fd.get()));
  FLEXLINK_INFO(kBootstrap, "control connections at %s (%s)", address_.text().c_str(),
                chosen.name.c_str());
  FLEXLINK_TRY(listen(std::move(fd)));
  open_ = true;
  return address_;
}

Status Door::openAt(const SocketAddress& address) {
  FLEXLINK_TRY_ASSIGN(reactor_, Reactor::instance());
  FLEXLINK_TRY_ASSIGN(Fd fd, listenTcp(address));
  return listen(std::move(fd));
}

Status Door::listen(Fd fd) {
  auto held = std::make_shared<Fd>(std::move(fd));
  reactor_->post([this, held] {
    int raw = held->get();
    listeners_.push_back(std::move(*held));
    Status status = reactor_->watch(raw, EPOLLIN, [this, raw](uint32_t) { accept(raw); });
    if (!status.ok()) FLEXLINK_WARN("bootstrap listener: %s", status.text());
  });
  return {};
}

void Door::accept(int listener) {
  for (;;) {
    Result<Fd> fd = acceptConnection(listener);
    if (!fd.ok()) return;
    if (strangers_ >= kMaxStrangers) continue;  // closed at once: a scan, or a flood
    int raw = fd.value().get();
    Visitor& visitor = visitors_[raw];
    visitor.stream = std::make_unique<FrameStream>(std::move(fd.value()), wire::kMaxHelloBytes);
    visitor.timer = reactor_->after(kGreetingNanos, [this, raw] {
      visitors_[raw].timer = 0;
      drop(raw);
    });
    ++strangers_;
    if (!reactor_->watch(raw, EPOLLIN, [this, raw](uint32_t) { onEvents(raw); }).ok()) drop(raw);
  }
}

void Door::onEvents(int fd) {
  std::vector<std::string> messages;
  Status received = visitors_[fd].stream->receive(&messages);
  for (const std::string& message : messages) {
    onMessage(fd, message);
    if (visitors_.count(fd) == 0) return;
  }
  if (!received.ok()) return drop(fd);
  FrameStream& stream = *visitors_[fd].stream;
  if (!stream.flush().ok()) return drop(fd);
  reactor_->rewatch(fd, stream.wantsToSend() ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

void Door::onMessage(int fd, const std::string& message) {
  Visitor& visitor = visitors_[fd];
  if (visitor.greeted) {
    auto found = gatherings_.find(visitor.key);
    if (found != gatherings_.end()) said(&found->second, visitor.key, visitor.index, message);
    return;
  }
  wire::Hello hello;
  if (!wire::unpackHello(message, &hello) || !knows(hello.cookie)) return drop(fd);
  greet(fd, hello);
}

void Door::greet(int fd, const wire::Hello& hello) {
  Visitor& visitor = visitors_[fd];
  if (hello.protocolVersion != wire::kProtocolVersion) {
    Status unlike = makeStatus(
        Code::kInvalidUsage,
        "FlexLink %s on host %s speaks protocol %u, this one speaks %u; install "
        "the same version on both",
        hello.version.c_str(), hello.host.c_str(), hello.protocolVersion, wire::kProtocolVersion);
    send(fd, wire::packFailure(unlike));
    for (auto& [key, gathering] : std::map(gatherings_)) {
      if (key.first == hello.cookie) failAll(key, unlike);
    }
    return drop(fd);
  }
  visitor.greeted = true;
  --strangers_;
  reactor_->cancel(visitor.timer);
  visitor.timer = 0;
  visitor.stream->setMaxBytes(wire::kMaxTableBytes);
  visitor.key = {hello.cookie, hello.key};
  visitor.index = hello.index;
  if (tellFailed(fd, hello)) return;
  auto [place, fresh] = gatherings_.try_emplace(visitor.key);
  Gathering& gathering = place->second;
  if (fresh) {
    gathering.members.resize(hello.size);
    double limit = meetingSeconds(visitor.key.second);
    if (limit > 0) {
      gathering.timer =
          reactor_->after(static_cast<int64_t>(limit * 1e9), [this, key = visitor.key, limit] {
            Gathering& late = gatherings_[key];
            late.timer = 0;
            failAll(key, makeStatus(Code::kTimeout, "%s did not come within %g s%s",
                                    missing(late).c_str(), limit,
                                    isSideMeeting(key.second) ? "" : " (FLEXLINK_INIT_TIMEOUT)"));
          });
    }
  }
  std::string who = "pid " + std::to_string(hello.pid) + " on host " + hello.host;
  if (gathering.members.size() != hello.size) {
    return failAll(visitor.key,
                   makeStatus(Code::kInvalidArgument,
                              "rank %u (%s) says that there are %u ranks, "
                              "others say %zu",
                              hello.index, who.c_str(), hello.size, gathering.members.size()));
  }
  Member& member = gathering.members[hello.index];
  if (member.came) {
    Status twice = makeStatus(Code::kInvalidArgument, "rank %u came twice: %s, and %s", hello.index,
                              member.who.c_str(), who.c_str());
    send(fd, wire::packFailure(twice));
    return failAll(visitor.key, twice);
  }
  member.came = true;
  member.fd = fd;
  member.who = who;
  ++gathering.present;
  said(&gathering, visitor.key, hello.index, hello.blob);
}

void Door::said(Gathering* gathering, const GatheringKey& key, uint32_t index, std::string blob) {
  Member& member = gathering->members[index];
  if (member.said) return;  // a second word in one round: not ours to understand
  member.said = true;
  member.blob = std::move(blob);
  ++gathering->said;
  for (uint32_t i = 0; i < gathering->members.size(); ++i) {
    const Member& other = gathering->members[i];
    if (!other.came || other.fd >= 0 || other.said) continue;
    return failAll(
        key, makeStatus(Code::kRemote, "rank %u (%s) left during set-up", i, other.who.c_str()));
  }
  if (gathering->said != gathering->members.size()) return;
  std::vector<std::string> blobs;
  std::vector<int> fds;
  for (Member& each : gathering->members) {
    blobs.push_back(std::move(each.blob));
    each.blob.clear();
    each.said = false;
    fds.push_back(each.fd);
  }
  gathering->said = 0;
  if (key.second == kLastingMeeting && gathering->timer != 0) {
    reactor_->cancel(std::exchange(gathering->timer, 0));
  }
  std::string message = wire::packRound(blobs);
  for (int fd : fds) {
    if (fd >= 0) send(fd, message);
  }
}

void Door::failAll(const GatheringKey& key, const Status& status) {
  auto found = gatherings_.find(key);
  if (found == gatherings_.end()) return;
  Gathering gathering = std::move(found->second);
  gatherings_.erase(found);
  if (gathering.timer != 0) reactor_->cancel(gathering.timer);
  std::string message = wire::packFailure(status);
  for (const Member& member : gathering.members) {
    if (member.fd >= 0) send(member.fd, message);
  }
  remember(key, gathering, message);
}

// Until every rank that had not come has been told, or as long as a meeting may last.
void Door::remember(const GatheringKey& key, const Gathering& gathering,
                    const std::string& message) {
  Failed failed{message, {}, 0};
  bool all = true;
  for (const Member& member : gathering.members) {
    failed.told.push_back(member.came);
    all = all && member.came;
  }
  if (all) return;
  double limit = settings().initTimeoutSeconds > 0 ? settings().initTimeoutSeconds : 120;
  failed.timer =
      reactor_->after(static_cast<int64_t>(limit * 1e9), [this, key] { failed_.erase(key); });
  failed_[key] = std::move(failed);
}

bool Door::tellFailed(int fd, const wire::Hello& hello) {
  auto found = failed_.find({hello.cookie, hello.key});
  if (found == failed_.end() || hello.index >= found->second.told.size() ||
      found->second.told[hello.index]) {
    return false;
  }
  Failed& failed = found->second;
  failed.told[hello.index] = true;
  send(fd, failed.message);
  if (std::find(failed.told.begin(), failed.told.end(), false) == failed.told.end()) {
    reactor_->cancel(failed.timer);
    failed_.erase(found);
  }
  return true;
}

void Door::send(int fd, const std::string& message) {
  auto found = visitors_.find(fd);
  if (found == visitors_.end()) return;
  FrameStream& stream = *found->second.stream;
  stream.queue(message);
  // A broken connection is dropped when its own event comes.
  if (stream.flush().ok()) {
    reactor_->rewatch(fd, stream.wantsToSend() ? EPOLLIN | EPOLLOUT : EPOLLIN);
  }
}

void Door::drop(int fd) {
  auto found = visitors_.find(fd);
  if (found == visitors_.end()) return;
  Visitor visitor = std::move(found->second);
  visitors_.erase(found);
  reactor_->unwatch(fd);
  if (visitor.timer != 0) reactor_->cancel(visitor.timer);
  if (!visitor.greeted) {
    --strangers_;
    return;
  }
  auto place = gatherings_.find(visitor.key);
  if (place == gatherings_.end()) return;
  Gathering& gathering = place->second;
  Member& member = gathering.members[visitor.index];
  if (member.fd != fd) return;
  member.fd = -1;
  --gathering.present;
  bool others = gathering.said > (member.said ? 1u : 0u);
  if (gathering.present == 0) {
    if (gathering.timer != 0) reactor_->cancel(gathering.timer);
    gatherings_.erase(place);
  } else if (member.said || others) {
    failAll(visitor.key, makeStatus(Code::kRemote, "rank %u (%s) left during set-up", visitor.index,
                                    member.who.c_str()));
  }
}

std::string Door::missing(const Gathering& gathering) const {
  std::string text;
  size_t named = 0;
  size_t count = 0;
  for (size_t i = 0; i < gathering.members.size(); ++i) {
    if (gathering.members[i].said) continue;
    if (++count <= 16) {
      text += (named++ ? ", " : "") + std::to_string(i);
      if (gathering.members[i].came) text += " (" + gathering.members[i].who + ")";
    }
  }
  if (count > named) text += " and " + std::to_string(count - named) + " more";
  return (count == 1 ? "rank " : "ranks ") + text + " of " +
         std::to_string(gathering.members.size());
}

}  // namespace

double meetingSeconds(uint64_t key) {
  constexpr double kSideSeconds = 5;
  return isSideMeeting(key) ? kSideSeconds : settings().initTimeoutSeconds;
}

Result<SocketAddress> myDoor() { return Door::instance().address(); }

Status openDoorAt(const SocketAddress& address) { return Door::instance().openAt(address); }

void admitCookie(const Cookie& cookie) { Door::instance().admit(cookie, 1); }

void dismissCookie(const Cookie& cookie) { Door::instance().admit(cookie, -1); }

}  // namespace flexlink
