// SPDX-License-Identifier: Apache-2.0
// All links to one peer rank context, used as one by all communicators: messages go out in chunks,
// each chunk over the link that is predicted to finish it first; what a link has left undone goes
// over another. Messages are matched by key, whatever the order in which they come.
#pragma once

#include <atomic>
#include <bitset>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "balance/link_choice.h"
#include "balance/link_model.h"
#include "engine/fd_bell.h"
#include "link/link.h"

namespace flexlink {

// Which message: of which call of which communicator, as this rank context makes it.
struct MessageKey {
  uint64_t comm = 0;
  uint64_t seq = 0;
  uint32_t tag = 0;
  uint16_t from = 0;  // ranks in the communicator
  uint16_t to = 0;
  bool operator<(const MessageKey& other) const {
    return std::tie(comm, seq, tag, from, to) <
           std::tie(other.comm, other.seq, other.tag, other.from, other.to);
  }
};

struct Message {
  MessageKey key;
  uint64_t signature = 0;  // travels with every frame, for the peer to compare
  uint64_t count = 0;
};

// Transfers under way; whoever posts adds 1, the bundle takes 1 away when it is finished and rings
// the doorbell (seq_cst, pairs with Doorbell::sleep; acquire for who reads what has arrived).
using Pending = std::atomic<uint32_t>;

// What people see of one link.
struct LinkState {
  std::string name;
  bool alive = true;
  bool never = false;  // was never connected
  std::string whyNot;
  uint64_t bytesOut = 0;  // payload, replays included
  uint64_t bytesIn = 0;
  uint64_t replays = 0;  // frames that others had to send again
  double bytesPerSecond = 0;
  int64_t latencyNanos = 0;
};

// Which of the links to a peer: the two sides give it the same number, and each time that it is
// made again the same higher round.
struct LinkPlace {
  uint32_t number = 0;
  uint32_t round = 0;
};

// Whoever makes the links of a bundle. Called under the bundle's lock: they only take note.
struct BundleOwner {
  std::function<void(uint32_t number)> left;  // this link is of use no more, others are
  std::function<void()> owes;                 // from now on look() is needed
};

// The tag of a rank's last message to another: nothing comes from it any more.
inline constexpr uint32_t kLastTag = UINT32_MAX;

class Bundle {
 public:
  explicit Bundle(std::string peer) : peer_(std::move(peer)), bell_(FdBell::instance()) {}
  Bundle(const Bundle&) = delete;
  Bundle& operator=(const Bundle&) = delete;
  ~Bundle();

  // Any thread, each of the following.

  void setOwner(BundleOwner owner);

  // A connected link, in the place of the one that had its number; `model` is what is believed of
  // it at first.
  void add(LinkPlace place, const std::function<std::unique_ptr<Link>(LinkEvents)>& make,
           const LinkModel& model);

  // The same, with a number of its own: for whoever never makes it again.
  void add(const std::function<std::unique_ptr<Link>(LinkEvents)>& make, const LinkModel& model);

  // Nothing more goes over this link, for its owner knows why; but for the last one, which may
  // still come back.
  void drop(uint32_t number, const Status& why);

  // The end of all links.
  void fail(const Status& why);
  bool failed() const;

  // Is told of the head of every message that comes for `rank` of `comm`, under the bundle's lock:
  // a place to compare signatures. An empty function ends it.
  void listen(uint64_t comm, uint16_t rank, std::function<void(const FrameHeader&)> heard);

  // `data` stays untouched until *pending was taken down. Up to kEagerMessageBytes it is copied and
  // finished at once; larger ones wait until the peer has posted the receive.
  void send(const Message& message, const void* data, size_t bytes, Pending* pending);
  void receive(const Message& message, void* data, size_t bytes, Pending* pending);

  // Nobody will send this message: its receive is finished, and nothing lands in its memory. False:
  // there is none.
  bool withdraw(const MessageKey& key);

  // `to` has all that `from` of `comm` has sent, although it will not say so any more.
  void settle(uint64_t comm, uint16_t from, uint16_t to);

  // Forgets what is under way for this rank of `comm`: no byte lands in or is read from its memory
  // any more.
  void forget(uint64_t comm, uint16_t rank);

  // Moves what can be moved. ok: something moved; kInProgress: nothing, or another thread is at it;
  // else no link is left, and why. Within a LastLook, what comes later rings the doorbell.
  Status poll();

  // Has everything that was sent left this process? Whoever stops polling must see to it before.
  bool flushed() const;

  // Has all of it reached the peer's machine? Then this process may end.
  bool delivered() const;

  // The lowest rank that a message for `rank` of `comm` is awaited from, messages with tags from
  // `standing` on apart; -1: none.
  int awaited(uint64_t comm, uint16_t rank, uint32_t standing) const;

  // The slow look: links that are silent while the peer answers elsewhere, or for very long.
  void check(int64_t now);

  // What the owner does about every 50 ms where nobody may be waiting: poll and check. True: frames
  // still wait for the peer's answer.
  bool look(int64_t now);

  // A link that could be and is not made, or not again, and why: for people.
  void leaveOut(const std::string& name, const std::string& why);

  std::vector<LinkState> state() const;  // also of those
  const std::string& peer() const { return peer_; }

 private:
  struct Outbound {  // a large message
    Message message;
    const uint8_t* data = nullptr;
    size_t bytes = 0;
    size_t next = 0;  // first byte that no chunk holds yet
    uint32_t chunks = 0;
    size_t unacked = 0;  // bytes
    Pending* pending = nullptr;
  };
  struct Inbound {
    uint8_t* data = nullptr;
    size_t bytes = 0;
    size_t got = 0;
    std::vector<bool> chunks;  // by number: is there
    Pending* pending = nullptr;
    bool holds(const FrameHeader& chunk) const {
      return chunk.offset <= bytes && chunk.length <= bytes - chunk.offset;
    }
  };
  struct Early {  // a small message that nobody has asked for yet
    std::vector<uint8_t> bytes;
    bool whole = false;
  };
  struct Unacked {
    FrameHeader header;
    std::shared_ptr<Outbound> large;              // kChunk
    std::shared_ptr<std::vector<uint8_t>> small;  // kEager
    int64_t sentAt = 0;
    uint64_t queuedBefore = 0;
    const void* payload() const;
  };
  struct Slot {
    LinkPlace place;
    LinkModel model;
    std::unique_ptr<Link> link;
    std::deque<Unacked> unacked;
    uint64_t queued = 0;    // bytes of unacked
    uint64_t acked = 0;     // frames, as the peer counts them
    uint64_t received = 0;  // frames that are acknowledged to the peer
    uint64_t told = 0;
    int64_t heardAt = 0;
    int64_t usedAt = 0;
    Silence silence;
    int64_t roundTrip = 0;   // ns, of the kernels or NICs; 0: not known
    bool nudged = false;     // in doubt: the other links were asked for an answer
    int64_t answeredAt = 0;  // when they were found to have given it; 0: not yet
    LinkState state;
  };

  uint8_t* place(const FrameHeader& header);
  void arrived(Slot* slot, const FrameHeader& header);
  void chunkArrived(const FrameHeader& header);
  void eagerArrived(const FrameHeader& header);
  void credited(const FrameHeader& header);
  void acknowledged(Slot* slot, uint64_t frames);
  bool isClosed(uint64_t comm, uint16_t rank) const;
  bool isOld(uint32_t number) const;
  bool firstTime(uint32_t number);
  FrameHeader headerOf(const Message& message, FrameKind kind, size_t length);
  void pump();
  LinkOutlook outlook(int64_t now) const;
  template <typename Finish, typename May>
  Slot* earliest(Finish&& finish, May&& may) const;
  Slot* linkFor(size_t rest, const LinkOutlook& all, int64_t now) const;
  enum class Which : uint8_t { kAll, kUnsent };
  bool pollLinks(Which which);
  void finish(Pending** pending);
  void armBells();
  void noteRest(bool moved);
  void keepOwnCopy(Unacked* frame);
  void post(Slot* slot, Unacked frame, int64_t now);
  void repost(Unacked frame);
  std::deque<Unacked> closeLink(Slot* slot, const Status& why);
  void resend(std::deque<Unacked> frames, Slot* from);
  void leave(Slot* slot, const Status& why);
  void leaveAsPeerDid();
  void checkLinks(int64_t now);
  void checkLink(Slot* slot, int64_t now);
  int64_t silentFor(const Slot& slot, int64_t now) const;
  bool answeredElsewhere(const Slot& slot, int64_t since) const;
  void nudgeOthers(const Slot* except);
  Slot* find(uint32_t number) const;
  void keepOff(const void* begin, size_t bytes);
  bool anyAlive() const;
  bool wanted() const;

  const std::string peer_;
  FdBell* const bell_;        // may be null
  mutable std::mutex mutex_;  // guards all below
  std::vector<std::unique_ptr<Slot>> slots_;
  std::map<std::pair<uint64_t, uint16_t>, std::function<void(const FrameHeader&)>> listeners_;
  std::map<MessageKey, std::shared_ptr<Outbound>> waiting_;  // for their credit
  std::deque<std::shared_ptr<Outbound>> ready_;
  std::map<MessageKey, FrameHeader> credits_;  // came before the send
  std::map<MessageKey, Inbound> inbound_;
  std::map<MessageKey, Early> early_;
  size_t earlyBytes_ = 0;
  std::deque<std::pair<uint64_t, uint16_t>> closed_;  // communicator and rank, forgotten
  uint32_t numbers_ = 0;                              // of eager and credit frames sent
  uint32_t highest_ = 0;                              // of those received
  std::bitset<4096> seen_;                            // the last of those received, by number
  BundleOwner owner_;
  bool owes_ = false;                  // the owner knows that look() is needed
  std::vector<LinkPlace> leftByPeer_;  // heard in the course of a poll
  int64_t checkedAt_ = 0;
  int64_t movedAt_ = 0;  // when a poll has moved something
  std::vector<LinkState> leftOut_;
  Status failure_;
};

}  // namespace flexlink
