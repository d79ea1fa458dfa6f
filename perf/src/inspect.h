// SPDX-License-Identifier: Apache-2.0
// `flexlink_perf inspect ...`: shows the pure parts (parsing, formatting, shapes, values) as text,
// so that tests/python can hold them to independent arithmetic. Not for users.
#pragma once

namespace flexlink::perf {

// argv from main, argv[1] == "inspect". Returns the exit status.
int runInspect(int argc, char** argv);

}  // namespace flexlink::perf
