// SPDX-License-Identifier: Apache-2.0
// Errors as values. Status says what failed and why; Result<T> is a value or a Status.
// No exception crosses a thread or the C edge; the C edge turns a Status into an ncclResult_t.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <variant>

namespace flexlink {

// name, ncclResult_t value, meaning. The only list of codes: names and mapping are made from it.
#define FLEXLINK_CODES(X)                                                           \
  X(kOk, 0, "success")                                                              \
  X(kCuda, 1, "a CUDA call failed")                                                 \
  X(kSystem, 2, "a call to this host's kernel failed")                              \
  X(kInternal, 3, "an invariant of the library is broken")                          \
  X(kInvalidArgument, 4, "an argument is wrong by itself")                          \
  X(kInvalidUsage, 5, "the call does not fit the state or what other ranks called") \
  X(kRemote, 6, "another process died, aborted or could not be reached")            \
  X(kInProgress, 7, "not finished yet; not an error")                               \
  X(kTimeout, 8, "a deadline that the user set has passed")

enum class Code : int {
#define X(name, value, meaning) name = value,
  FLEXLINK_CODES(X)
#undef X
};

const char* codeName(Code code);

// Copying is cheap (a shared, immutable text); an ok Status holds no memory.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string text)
      : code_(code), text_(std::make_shared<const std::string>(std::move(text))) {}

  static Status inProgress() { return Status(Code::kInProgress); }

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const char* text() const { return text_ ? text_->c_str() : ""; }

 private:
  explicit Status(Code code) : code_(code) {}

  Code code_ = Code::kOk;
  std::shared_ptr<const std::string> text_;  // shared: one cause is handed to many callers
};

// printf-style maker: `return makeStatus(Code::kSystem, "memfd_create: %s", strerror(errno));`
Status makeStatus(Code code, const char* format, ...) __attribute__((format(printf, 2, 3)));

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}         // NOLINT(google-explicit-constructor)
  Result(Status status) : value_(std::move(status)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return std::holds_alternative<T>(value_); }
  T& value() { return std::get<T>(value_); }
  const T& value() const { return std::get<T>(value_); }
  Status status() const { return ok() ? Status() : std::get<Status>(value_); }

 private:
  std::variant<T, Status> value_;
};

#define FLEXLINK_CONCAT_(a, b) a##b
#define FLEXLINK_CONCAT(a, b) FLEXLINK_CONCAT_(a, b)

// Returns from the enclosing function when `expr` (a Status) is not ok.
#define FLEXLINK_TRY(expr)                                                                       \
  do {                                                                                           \
    if (::flexlink::Status flexlinkStatus = (expr); !flexlinkStatus.ok()) return flexlinkStatus; \
  } while (0)

// FLEXLINK_TRY_ASSIGN(auto fd, openThing()): assigns the value or returns the error.
#define FLEXLINK_TRY_ASSIGN(lhs, expr)                          \
  auto FLEXLINK_CONCAT(flexlinkResult_, __LINE__) = (expr);     \
  if (!FLEXLINK_CONCAT(flexlinkResult_, __LINE__).ok())         \
    return FLEXLINK_CONCAT(flexlinkResult_, __LINE__).status(); \
  lhs = std::move(FLEXLINK_CONCAT(flexlinkResult_, __LINE__).value())

}  // namespace flexlink
