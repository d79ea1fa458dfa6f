// SPDX-License-Identifier: Apache-2.0
// What two processes say on a new connection before frames may follow: who they are, and, each to
// the other, bytes that both know. A path that answers may still lose every large packet or change
// what it carries; one that does never becomes a link.
#pragma once

#include <cstdint>
#include <vector>

#include "base/fd.h"
#include "base/socket.h"
#include "base/status.h"
#include "device/host/exchange.h"
#include "link/bundle.h"
#include "link/frame_header.h"
#include "link/test_bytes.h"

namespace flexlink {

// The dialer says kHello and its test bytes, the callee the same, and kGood behind them when all of
// the dialer's have come as they should. Then the dialer says on every link kGo once all have come
// so far or failed; a link that is made later, or again, gets kAgain instead. Whoever has got other
// bytes than it should says kBad. Fixed size, so that nothing of the first frame is read with it.
struct Greeting {
  static constexpr uint32_t kMagic = 0x48584c46;  // "FLXH"
  enum Word : uint32_t { kHello = 1, kGo = 2, kAgain = 3, kGood = 4, kBad = 5 };
  uint32_t magic = kMagic;
  uint32_t version = kWireVersion;
  Cookie cookie{};  // of the process that is called
  ProcessId from{};
  uint32_t word = kHello;
  uint32_t index = 0;   // which NIC pair
  uint32_t number = 0;  // kGo: links that are there; kBad: the first byte that was wrong
  uint32_t round = 0;   // how often this pair was dialled before
};
static_assert(sizeof(Greeting) == 56);

// One side of it, on the control thread. Never blocks.
class Handshake {
 public:
  // The dialer's: `fd` is connecting to `remote`; `place` says which link it is to be.
  Handshake(Fd fd, const SocketAddress& remote, const ProcessId& self, const ProcessId& peer,
            const Cookie& theirs, LinkPlace place);

  // The callee's: whoever has come must know the cookie `own`.
  Handshake(Fd fd, const ProcessId& self, const Cookie& own);

  // Moves what can be moved. ok: the dialer may say its last word, the callee has heard() it;
  // kInProgress: again on events(); else why this path is of no use.
  Status step();
  uint32_t events() const;
  int fd() const { return fd_.get(); }

  // The peer has greeted, and with the right cookie: then it is known who it is, and which link
  // this is to be.
  bool met() const { return stage_ > Stage::kHello; }
  const ProcessId& peer() const { return peer_; }
  LinkPlace place() const { return place_; }

  // Callee, after ok: the peer's last word.
  const Greeting& heard() const { return heard_; }

  // How far it has come, as the reason why it is given up after so many ns.
  Status late(int64_t nanos) const;

  // Dialer, after ok.
  bool sayLast(Greeting::Word word, uint32_t links);

  // After ok: for frames.
  Fd take() { return std::move(fd_); }

 private:
  enum class Stage { kConnecting, kHello, kTest, kLast, kOver };

  void say(Greeting::Word word, uint32_t number);
  void sayTest();
  void flush();
  Status read(void* into, size_t bytes);
  Status readTest();
  Status readGreeting();
  bool fits() const;
  Status helloHeard();
  Status lastHeard();
  Status wrong() const;
  size_t arrivedThere() const;

  Fd fd_;
  SocketAddress remote_;
  ProcessId self_{};
  ProcessId peer_{};
  Cookie cookie_{};  // of the callee
  LinkPlace place_;
  const bool dials_;
  Stage stage_;
  std::vector<uint8_t> out_;  // not yet taken by the kernel
  Greeting heard_;
  size_t have_ = 0;  // bytes of heard_, or of the test
  std::vector<uint8_t> test_;
  size_t wrongAt_ = kTestBytes;  // its first byte that is not what it should be
};

}  // namespace flexlink
