// SPDX-License-Identifier: Apache-2.0
// How a rank of the benchmark gives up: one line on stderr, then the process ends with status 1.
// The launcher (or the controller) sees it and ends the others. For programs only, not libraries.
#pragma once

namespace flexlink::perf {

// Names the rank in later messages; negative: none.
void setFailRank(int rank);

// Called by fail() before the process ends: to end others. Null: nothing.
void setFailHook(void (*hook)());

[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace flexlink::perf
