// SPDX-License-Identifier: Apache-2.0
// Checks inside a rank's body. GoogleTest's own macros do not reach across processes: a failed
// check here throws RankFailure, whose text arrives at the test with file, line and rank.
#pragma once

#include <functional>
#include <sstream>
#include <string>

#include "flexlink/nccl.h"
#include "support/rank_run.h"

namespace ranktest {

// "ncclRemoteError (6)" and so on.
std::string resultName(ncclResult_t result);

// Throws a RankFailure that quotes the call, the result and the library's last error.
void checkResult(ncclResult_t got, ncclResult_t want, const char* call, const char* where,
                 ncclComm_t comm = nullptr);
[[noreturn]] void fail(const char* where, const std::string& text);

// ncclGetLastError as a string; never null.
std::string lastError(ncclComm_t comm);

// Fails unless `text` holds every one of `parts`.
void checkMentions(const std::string& text, std::initializer_list<std::string> parts,
                   const char* where);

// Polls ncclCommGetAsyncError until it is not ncclInProgress; the result, or ncclInProgress after
// `seconds`.
ncclResult_t pollAsync(ncclComm_t comm, double seconds);

// Seconds that `call` took.
double timed(const std::function<void()>& call);

// Owns a communicator: destroyed at the end of a body that passed, aborted when a check failed.
class Comm {
 public:
  Comm() = default;
  explicit Comm(ncclComm_t comm) : comm_(comm) {}
  ~Comm();
  Comm(Comm&& other) noexcept : comm_(other.release()) {}
  Comm& operator=(Comm&& other) noexcept;
  Comm(const Comm&) = delete;
  Comm& operator=(const Comm&) = delete;

  operator ncclComm_t() const { return comm_; }  // reads like the plain handle in calls
  ncclComm_t* put() { return &comm_; }
  ncclComm_t release();
  void destroy();
  void abort();

 private:
  ncclComm_t comm_ = nullptr;
};

// The communicator over all ranks of the run, from the unique id number n.
Comm makeWorld(RankContext& ctx, int idNumber = 0);

// A stream of the device that buffers are on; destroyed at the end.
class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  operator cudaStream_t() const { return stream_; }
  void sync() const;

 private:
  cudaStream_t stream_ = nullptr;
};

}  // namespace ranktest

#define RANK_STR2(x) #x
#define RANK_STR(x) RANK_STR2(x)
#define RANK_WHERE __FILE__ ":" RANK_STR(__LINE__)

// The call must return ncclSuccess.
#define RANK_OK(call)                                                                         \
  do {                                                                                        \
    if (auto* rankCtx_ = ::ranktest::currentRank()) rankCtx_->at("%s %s", RANK_WHERE, #call); \
    ::ranktest::checkResult((call), ncclSuccess, #call, RANK_WHERE);                          \
  } while (false)

// The call must return exactly `want`.
#define RANK_IS(call, want)                                                                   \
  do {                                                                                        \
    if (auto* rankCtx_ = ::ranktest::currentRank()) rankCtx_->at("%s %s", RANK_WHERE, #call); \
    ::ranktest::checkResult((call), (want), #call, RANK_WHERE);                               \
  } while (false)

#define RANK_TRUE(condition)                                                 \
  do {                                                                       \
    if (!(condition)) ::ranktest::fail(RANK_WHERE, "not true: " #condition); \
  } while (false)

#define RANK_TRUE_MSG(condition, message)                      \
  do {                                                         \
    if (!(condition)) {                                        \
      std::ostringstream rankText_;                            \
      rankText_ << "not true: " #condition << ": " << message; \
      ::ranktest::fail(RANK_WHERE, rankText_.str());           \
    }                                                          \
  } while (false)

#define RANK_EQ(got, want)                                                                     \
  do {                                                                                         \
    const auto rankGot_ = (got);                                                               \
    const decltype(rankGot_) rankWant_ = (want);                                               \
    if (!(rankGot_ == rankWant_)) {                                                            \
      std::ostringstream rankText_;                                                            \
      rankText_ << #got << " is " << rankGot_ << ", expected " << rankWant_ << " (" #want ")"; \
      ::ranktest::fail(RANK_WHERE, rankText_.str());                                           \
    }                                                                                          \
  } while (false)

#define RANK_MENTIONS(text, ...) ::ranktest::checkMentions((text), {__VA_ARGS__}, RANK_WHERE)
