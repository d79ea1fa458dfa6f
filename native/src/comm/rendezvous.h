// SPDX-License-Identifier: Apache-2.0
// How ranks that know one address find each other: rounds of "everybody says something, everybody
// hears all of it", over TCP, kept by one process. Creation, split, shrink and grow are made of it.
// All of it runs on the control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/socket.h"
#include "base/status.h"
#include "device/host/exchange.h"

namespace flexlink {

// The key of a meeting that lasts: once all have come nobody is late. One for each cookie.
inline constexpr uint64_t kLastingMeeting = ~uint64_t{0};

// The keys of meetings that are worth no long wait: of lanes beside the vendor, who carries all
// where they do not come. One for each cookie and number; 48 bits of that count.
constexpr uint64_t sideMeeting(uint64_t number) {
  return uint64_t{0xfffe} << 48 | (number & 0xffff'ffff'ffff);
}
constexpr bool isSideMeeting(uint64_t key) { return key >> 48 == 0xfffe; }

// How long a meeting waits for all to come, in seconds; 0: no limit.
double meetingSeconds(uint64_t key);

// Which meeting, where, and who I am in it.
struct Meeting {
  SocketAddress address;
  Cookie cookie{};            // opens the door
  uint64_t key = 0;           // tells meetings with one cookie apart
  uint32_t size = 0;          // participants
  uint32_t index = 0;         // this one, 0..size-1
  int64_t deadlineNanos = 0;  // nowNanos() scale; 0: no limit
  bool mayOpenLate = false;   // the address was known before anybody listened (NCCL_COMM_ID)
};

// Takes the blobs of all participants of round `round` (by index) and gives this one's next blob;
// an empty optional ends the meeting for this participant. An error instead of blobs ends it, too.
using MeetingRound = std::function<void(uint32_t round, Result<std::vector<std::string>> blobs)>;

// This process's door: a TCP listener on the bootstrap interface, opened on first use.
Result<SocketAddress> myDoor();

// Another listener, at an address that the user chose (NCCL_COMM_ID).
Status openDoorAt(const SocketAddress& address);

// Cookies that the door accepts; counted, so that admit and dismiss nest.
void admitCookie(const Cookie& cookie);
void dismissCookie(const Cookie& cookie);

// A participant. Create with join(); control thread only.
class Participant {
 public:
  // Connects (again and again while nobody listens), says `first`, and calls `heard` for each
  // round. After `heard` without error either say() the next blob or drop the participant.
  static std::shared_ptr<Participant> join(const Meeting& meeting, std::string first,
                                           MeetingRound heard);
  void say(std::string blob);
  void leave();  // no call of `heard` from now on
  ~Participant();

 private:
  struct Impl;
  explicit Participant(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace flexlink
