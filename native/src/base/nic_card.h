// SPDX-License-Identifier: Apache-2.0
// What a process tells its peers of its NICs, as bytes, and how it finds it out. Which of them are
// then joined is nic_pairs.h's business.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/nic_pairs.h"
#include "base/status.h"

namespace flexlink {

// Trivially copyable: it travels as bytes, zeros where nothing is.
struct NicCard {
  struct Entry {
    char nic[16];
    uint8_t address[SocketAddress::kBytes];  // with the port where the process listens
    uint8_t prefixLength;
    uint8_t reserved[3];
  };
  uint32_t count;
  uint32_t named;     // NicSide::named
  uint64_t loopback;  // loopbackId()
  Entry bootstrap;
  Entry entries[kMostNicAddresses];
};
static_assert(sizeof(NicCard) == 16 + 17 * 48);

NicCard packNics(const NicSide& side, uint64_t loopback);

// Whatever the bytes are: the error names what is out of bounds.
Result<NicSide> unpackNics(const NicCard& card);

// Equal in processes that see the same lo: of this boot of this machine and this network namespace.
// 0: not known; then lo is nobody's.
uint64_t loopbackId();

// This host's NICs as the settings want them.
struct OwnNics {
  NicSide side;                               // to be offered; ports are 0
  std::vector<NicPlace> places;               // of all NICs, with the reason
  std::map<std::string, size_t> connections;  // by NIC: for each pair that it is part of
  bool pcie = false;                          // FLEXLINK_LINKS wants shared memory, too
  bool onlyPcie = false;                      // and names no NIC beside it
};
Result<OwnNics> ownNics();

}  // namespace flexlink
