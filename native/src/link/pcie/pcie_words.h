// SPDX-License-Identifier: Apache-2.0
// How both halves of a pcie link read and write the words that they share with the peer.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace flexlink {

// Bytes of one poll and direction: others wait for their turn.
inline constexpr size_t kPcieBudget = 1 << 20;

// seq_cst, which is acquire and release in one: besides what PcieDirection says of each counter,
// they are ordered with PcieSide::asleep.
template <typename Word>
Word loadWord(Word& word) {
  return std::atomic_ref<Word>(word).load(std::memory_order_seq_cst);
}
template <typename Word>
void storeWord(Word& word, Word value) {
  std::atomic_ref<Word>(word).store(value, std::memory_order_seq_cst);
}

inline bool overlap(const uint8_t* a, size_t aBytes, const void* begin, size_t bytes) {
  const auto* b = static_cast<const uint8_t*>(begin);
  return a < b + bytes && b < a + aBytes;
}

}  // namespace flexlink
