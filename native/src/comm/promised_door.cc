// SPDX-License-Identifier: Apache-2.0
#include "comm/promised_door.h"

#include <time.h>

#include <mutex>
#include <set>

#include "base/clock.h"
#include "base/interfaces.h"
#include "base/settings.h"
#include "comm/rendezvous.h"

namespace flexlink {

Result<UniqueId> promisedId(int beyond) {
  const std::string& text = settings().commId;
  UniqueId id;
  Deadline deadline = Deadline::afterSecondsOrNever(settings().initTimeoutSeconds);
  for (;;) {
    Result<SocketAddress> address = resolve(text, socketFamily());
    if (address.ok()) {
      id.address = address.value();
      break;
    }
    if (deadline.passed() || address.status().code() == Code::kInvalidArgument)
      return address.status();
    timespec pause{0, 200'000'000};
    nanosleep(&pause, nullptr);
  }
  id.address.setPort(id.address.port() + beyond);
  id.cookie = cookieFromSecret(settings().secret, text);
  return id;
}

Status openPromisedDoor(const UniqueId& id) {
  static std::mutex mutex;  // guards opened
  static auto* opened = new std::set<std::string>;
  std::lock_guard<std::mutex> lock(mutex);
  if (!opened->insert(id.address.text()).second) return {};
  admitCookie(id.cookie);
  Status status = openDoorAt(id.address);
  if (!status.ok()) opened->erase(id.address.text());
  return status;
}

}  // namespace flexlink
