// SPDX-License-Identifier: Apache-2.0
#include "base/status.h"

#include <cstdarg>
#include <cstdio>

namespace flexlink {

const char* codeName(Code code) {
  switch (code) {
#define X(name, value, meaning) \
  case Code::name:              \
    return #name + 1;
    FLEXLINK_CODES(X)
#undef X
  }
  return "unknown";
}

Status makeStatus(Code code, const char* format, ...) {
  char text[1024];  // longer texts are cut: a message is for a person
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return {code, text};
}

}  // namespace flexlink
