// SPDX-License-Identifier: Apache-2.0
// copyTo() of every instruction set of this CPU, and which instruction set is chosen: lengths
// around the vectors' sizes, misaligned sources and destinations, streamed, cached and mixed.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "device/host/kernels_table.h"

namespace flexlink {
namespace {

constexpr size_t kSizes[] = {0, 1, 7, 63, 64, 65, 127, 255, 256, 257, 1023, 4096, 70001};
constexpr size_t kRoom = 70001 + 512;

using CopyFunction = void (*)(void* const*, int, const void*, size_t, uint32_t);

std::vector<CopyFunction> copyFunctions() {
  std::vector<CopyFunction> functions = {copyTo};
  for (const char* name : {"portable", "avx2", "avx512"}) {
    if (const KernelTable* table = findKernels(name)) functions.push_back(table->copy);
  }
  return functions;
}

std::vector<uint8_t> pattern() {
  std::vector<uint8_t> bytes(kRoom);
  for (size_t i = 0; i < kRoom; ++i) bytes[i] = static_cast<uint8_t>(i * 131 + (i >> 8) * 7 + 1);
  return bytes;
}

TEST(KernelsCopy, EveryDestinationGetsTheSourceAndNothingBesideItChanges) {
  const std::vector<uint8_t> source = pattern();
  std::vector<std::vector<uint8_t>> memory(3, std::vector<uint8_t>(kRoom));
  for (const CopyFunction copy : copyFunctions()) {
    for (const size_t bytes : kSizes) {
      for (const size_t at : {0, 1, 8, 48}) {
        for (int nDsts = 1; nDsts <= 3; ++nDsts) {
          for (uint32_t mask = 0; mask < (1u << nDsts); ++mask) {
            void* dsts[3];
            for (int j = 0; j < 3; ++j) {
              memset(memory[j].data(), 0xa5, bytes + 256);
              dsts[j] = &memory[j][64 + (at * (j + 1)) % 64];
            }
            copy(dsts, nDsts, &source[at], bytes, mask);
            for (int j = 0; j < nDsts; ++j) {
              std::vector<uint8_t> expected(bytes + 256, 0xa5);
              if (bytes > 0) memcpy(&expected[64 + (at * (j + 1)) % 64], &source[at], bytes);
              ASSERT_EQ(memcmp(memory[j].data(), expected.data(), expected.size()), 0)
                  << "bytes " << bytes << " at " << at << " destination " << j << " of " << nDsts
                  << " mask " << mask;
            }
          }
        }
      }
    }
  }
}

TEST(KernelsCopy, DestinationThatIsTheSourceStaysAsItIs) {
  for (const CopyFunction copy : copyFunctions()) {
    for (const uint32_t mask : {0u, 1u, 2u, 3u}) {
      std::vector<uint8_t> inPlace = pattern();
      std::vector<uint8_t> other(kRoom);
      void* dsts[] = {inPlace.data() + 5, other.data() + 5};
      copy(dsts, 2, inPlace.data() + 5, kRoom - 5, mask);
      EXPECT_EQ(inPlace, pattern());
      EXPECT_EQ(memcmp(other.data() + 5, inPlace.data() + 5, kRoom - 5), 0);
    }
  }
}

TEST(KernelsChoice, AnUnknownNameFindsNoKernels) {
  EXPECT_EQ(findKernels("sse9"), nullptr);
  EXPECT_EQ(findKernels(""), nullptr);
}

TEST(KernelsChoice, ALimitIsNeverExceeded) {
  EXPECT_STREQ(widestKernels("portable").name, "portable");
  EXPECT_STRNE(widestKernels("avx2").name, "avx512");
}

TEST(KernelsChoice, WithoutALimitTheWidestThatRunsIsTaken) {
  const char* widest = "portable";
  for (const char* name : {"avx2", "avx512"}) {
    if (findKernels(name) != nullptr) widest = name;
  }
  EXPECT_STREQ(widestKernels("").name, widest);
}

TEST(KernelsChoice, TheChosenNameIsOneThatThisCpuCanRun) {
  ASSERT_NE(findKernels(kernelsName()), nullptr);
  EXPECT_STREQ(findKernels(kernelsName())->name, kernelsName());
}

}  // namespace
}  // namespace flexlink
