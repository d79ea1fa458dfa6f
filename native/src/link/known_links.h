// SPDX-License-Identifier: Apache-2.0
// The links of this process beside what earlier jobs have seen of them (profile.h): a first belief
// for a new link, and what is worth keeping of those that have carried something. Control thread
// only.
#pragma once

#include <string>
#include <vector>

#include "balance/link_model.h"
#include "base/nic_pairs.h"
#include "link/bundle.h"
#include "link/profile.h"

namespace flexlink {

class KnownLinks {
 public:
  // `nics`: the data NICs of this process. Reads the file of earlier jobs.
  explicit KnownLinks(const std::vector<NicAddress>& nics);

  // `peer`: address of the other end; `roundTrip`: ns, as seen in the handshake, 0: not known.
  LinkModel firstModel(const std::string& link, const std::string& peer, int64_t roundTrip) const;

  // As it is now; nothing is written yet.
  void note(const LinkState& link, const std::string& peer);

  // Writes the file, if there is news.
  void save();

 private:
  const uint64_t fingerprint_;
  const std::string path_;  // "": nothing is kept
  Profile profile_;
  bool news_ = false;
};

// As profiles know the other end of a connection.
std::string hostOf(const Result<SocketAddress>& address);

}  // namespace flexlink
