// SPDX-License-Identifier: Apache-2.0
// Sockets that ring this process's doorbell: a thread that waits for bytes of a peer sleeps like
// one that waits for memory. Costs nothing while nobody sleeps.
#pragma once

#include "base/fd.h"
#include "base/status.h"
#include "device/host/doorbell.h"

namespace flexlink {

// A set of descriptors, each of which rings once after it was armed. The control thread waits for
// the set as a whole. Any thread.
class FdBell {
 public:
  // The one of this process; null when the kernel refuses: then sleeps end by their time alone.
  static FdBell* instance();

  // Before the first arm(). Whoever closes the descriptor takes it out.
  void add(int fd);

  // Rings as soon as fd is readable (or, with toSend, writable), also when it is already.
  void arm(int fd, bool toSend);

  // Something that a sleeping thread may wait for has happened, by a seq_cst store.
  void ring() { bell_->ring(); }

 private:
  Status start();
  void onReady();

  Fd set_;
  Doorbell* bell_ = nullptr;
};

// True while this thread looks for the last time before it sleeps: whatever it looks at in vain
// must ring when there is something.
inline constinit thread_local bool aboutToSleep = false;

// What this thread has polled last is in the midst of moving much: until then (nowNanos()) nothing
// is lost if it rests, and a core is won.
inline constinit thread_local int64_t restUntil = 0;

// What this thread has polled last waits for somebody who rings no doorbell: it may sleep only for
// naps. Set by a poll, taken back by the wait that follows it.
inline constinit thread_local bool nobodyRings = false;

class LastLook {
 public:
  LastLook() { aboutToSleep = true; }
  LastLook(const LastLook&) = delete;
  LastLook& operator=(const LastLook&) = delete;
  ~LastLook() { aboutToSleep = false; }
};

}  // namespace flexlink
