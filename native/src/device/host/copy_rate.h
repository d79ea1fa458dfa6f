// SPDX-License-Identifier: Apache-2.0
// How fast one core of this machine copies: a number for estimates.
#pragma once

namespace flexlink {

// Bytes/s. Measured by the first call of the process, in about ten milliseconds. Any thread.
double hostCopyRate();

}  // namespace flexlink
