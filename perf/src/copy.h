// SPDX-License-Identifier: Apache-2.0
// Two ways to copy memory that the bound is made of: what any library could at most reach.
#pragma once

#include <cstddef>

namespace flexlink::perf {

void copyPlain(char* to, const char* from, size_t bytes);

// Stores go around the caches where the machine has such stores; else as copyPlain.
void copyStreaming(char* to, const char* from, size_t bytes);

}  // namespace flexlink::perf
