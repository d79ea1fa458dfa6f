// SPDX-License-Identifier: Apache-2.0
// send, recv and recv from anybody, with tags, in any order: what c10d promises and NCCL has not.
// Every message is a header {tag, bytes} and its payload on the ordered channel of its pair. The
// receiver reads headers while it wants something of that sender; a payload whose tag nobody waits
// for yet is received into memory of its own.
#pragma once

#include <atomic>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "work.h"

namespace flexlink::pytorch {

class PointToPoint;

// A receive under way.
class ReceiveWork final : public Work {
 public:
  ReceiveWork(const WorkInfo& info, at::Tensor into, std::shared_ptr<PointToPoint> owner, int from,
              int tag);

  bool advance(std::chrono::microseconds timeout) override;
  int sourceRank() const override { return source_; }

 private:
  friend class PointToPoint;
  void attend() override {}  // the owner follows every message to its end
  int sender() const override { return source_; }
  std::string awaited() const override;

  const std::shared_ptr<PointToPoint> owner_;
  const int from_;  // -1: anybody
  const int tag_;
  std::atomic<int> source_;  // relaxed: read after the end
};

// Of one group. Any thread.
class PointToPoint : public std::enable_shared_from_this<PointToPoint> {
 public:
  // `comm` is used for nothing else.
  PointToPoint(std::shared_ptr<Communicator> comm, int rank, int size);

  c10::intrusive_ptr<Work> send(const WorkInfo& info, const at::Tensor& tensor, int to, int tag);

  // from -1: from anybody.
  c10::intrusive_ptr<Work> receive(const WorkInfo& info, const at::Tensor& into, int from, int tag);

  Communicator& communicator() { return *comm_; }

  bool sending();  // is there a message under way that has not arrived?

  // Lets go of receives that nobody has answered, and waits until what was sent has arrived.
  void close();
  void abort();

 private:
  friend class ReceiveWork;
  using Receive = c10::intrusive_ptr<ReceiveWork>;

  struct Header {
    int64_t tag = 0;
    uint64_t bytes = 0;
  };
  struct Parcel {  // a payload that came before it was wanted
    int64_t tag;
    at::Tensor bytes;
  };
  // Messages from one peer: at most one piece (header or payload) is under way.
  struct Channel {
    std::shared_ptr<Stream> stream;
    std::shared_ptr<Header> header = std::make_shared<Header>();
    std::optional<Ticket> underWay;
    bool payload = false;         // it is the payload of `header`, else a header
    Receive receiver;             // of that payload; null: nobody wanted it when it began
    at::Tensor parcel;            // where it goes then, or where it does not fit the receiver
    std::deque<Parcel> unwanted;  // in the order in which they came
    std::exception_ptr gone;      // the sender has left: what a receive hears
  };
  // A receive that has ended; it is told without the lock, because its futures run callbacks.
  struct End {
    Receive receive;
    std::exception_ptr failure;
    c10d::WorkResult result;
  };

  void pump(int from);
  bool step(int from);
  bool takeParcel(int from);
  void broken(int from, ncclResult_t code);
  void endUnanswered(int from);
  bool allGone() const;
  void begin(int from, bool payload, const at::Tensor& memory, void* to, size_t bytes);
  void beginPayload(int from);
  void endPayload(int from);
  void end(const Receive& receive, int from, size_t bytes);
  void failAll(const std::exception_ptr& failure, c10d::WorkResult result);
  Receive takeWanted(int from, int64_t tag);
  bool accepts(const Receive& receive, int from) const;
  bool wants(int from) const;
  std::optional<Ticket> underWay(int from);

  const std::shared_ptr<Communicator> comm_;
  const int rank_;
  std::mutex mutex_;               // guards the rest; before the communicator's lock
  std::vector<Channel> channels_;  // by sender
  std::vector<std::shared_ptr<Stream>> outgoing_;  // by receiver; made by the first message
  std::list<Receive> posted_;                      // in the order of the calls
  std::vector<End> ends_;
};

}  // namespace flexlink::pytorch
