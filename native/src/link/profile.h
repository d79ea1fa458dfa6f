// SPDX-License-Identifier: Apache-2.0
// What earlier jobs have learnt of the links of this machine, so that the first operation of the
// next one is split well. One small text file for each set of NICs; what cannot be trusted in it is
// left out.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"

namespace flexlink {

struct LinkProfile {
  double bytesPerSecond = 0;
  int64_t latencyNanos = 0;
  int64_t seenAt = 0;  // seconds since 1970
};

// Pure.
class Profile {
 public:
  static constexpr int kVersion = 1;
  static constexpr int64_t kStaleSeconds = 30 * 86400;  // hardware and neighbours change
  static constexpr size_t kMostLinks = 4096;

  // `fingerprint`: of the NICs that it must have been saved for. Lines that are too old at `now`
  // are left out; anything else that is wrong is an error for the whole file.
  static Result<Profile> parse(const std::string& text, uint64_t fingerprint, int64_t now);
  std::string text(uint64_t fingerprint) const;

  // Null: not known. `link`: "tcp:eth0"; `peer`: the peer's address, without a port.
  const LinkProfile* find(const std::string& link, const std::string& peer) const;
  void set(const std::string& link, const std::string& peer, const LinkProfile& seen);

 private:
  static std::string head();
  static std::string owner(uint64_t fingerprint);

  std::map<std::pair<std::string, std::string>, LinkProfile> links_;
};

// Of a set of NICs: names and addresses, in any order.
uint64_t nicFingerprint(std::vector<std::pair<std::string, std::string>> nics);

// The file of this user for these NICs; "" where FLEXLINK_PROFILE_CACHE=off or there is no place.
std::string profilePath(uint64_t fingerprint);

// What the file holds; nothing, with a warning, where it cannot be trusted. Not for hot paths.
Profile loadProfile(const std::string& path, uint64_t fingerprint);

// Replaces the file as a whole, so that a reader sees the old one or the new one.
Status saveProfile(const std::string& path, const Profile& profile, uint64_t fingerprint);

}  // namespace flexlink
