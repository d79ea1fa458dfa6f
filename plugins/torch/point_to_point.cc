// SPDX-License-Identifier: Apache-2.0
#include "point_to_point.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cstring>

#include "finisher.h"
#include "tensors.h"

namespace flexlink::pytorch {
namespace {

using std::chrono::microseconds;
using Clock = std::chrono::steady_clock;

// A waiter looks again after so long at what another thread may have moved on.
constexpr microseconds kSlice{50'000};

}  // namespace

ReceiveWork::ReceiveWork(const WorkInfo& info, at::Tensor into, std::shared_ptr<PointToPoint> owner,
                         int from, int tag)
    : Work(info, {}, {std::move(into)}),
      owner_(std::move(owner)),
      from_(from),
      tag_(tag),
      source_(from) {}

bool ReceiveWork::advance(microseconds timeout) {
  const bool limited = timeout.count() >= 0;
  const Clock::time_point end = Clock::now() + timeout;
  for (;;) {
    if (ended()) return true;
    if (from_ >= 0) owner_->pump(from_);
    if (ended()) return true;
    microseconds rest =
        limited ? std::chrono::duration_cast<microseconds>(end - Clock::now()) : kSlice;
    if (rest.count() <= 0) return false;
    rest = std::min(rest, kSlice);
    std::optional<Ticket> ticket = from_ >= 0 ? owner_->underWay(from_) : std::nullopt;
    if (ticket) {
      ticket->wait(rest);
      continue;
    }
    std::unique_lock<std::mutex> lock(mutex_);
    cv_.wait_for(lock, rest, [this] { return completed_; });
  }
}

std::string ReceiveWork::awaited() const {
  std::string whom = from_ < 0 ? "any rank" : "rank " + std::to_string(from_) + " of the group";
  return " It waits for a message with tag " + std::to_string(tag_) + " from " + whom + ".";
}

PointToPoint::PointToPoint(std::shared_ptr<Communicator> comm, int rank, int size)
    : comm_(std::move(comm)),
      rank_(rank),
      channels_(static_cast<size_t>(size)),
      outgoing_(static_cast<size_t>(size)) {}

c10::intrusive_ptr<Work> PointToPoint::send(const WorkInfo& info, const at::Tensor& tensor, int to,
                                            int tag) {
  Elements payload = movable(tensor, info.name);
  at::Tensor header = at::empty({2}, at::kLong);
  const Header content{tag, tensor.nbytes()};
  std::memcpy(header.data_ptr(), &content, sizeof content);
  const auto call = [&](const On& on) {
    return on.nccl.grouped(content.bytes == 0 ? 1 : 2, [&](size_t piece) {
      const void* from = piece == 0 ? header.data_ptr() : payload.data;
      const size_t bytes = piece == 0 ? sizeof content : content.bytes;
      return on.nccl.ncclSend(from, bytes, ncclUint8, to, on.comm, on.stream);
    });
  };
  Ticket ticket;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    std::shared_ptr<Stream>& stream = outgoing_[static_cast<size_t>(to)];
    if (!stream) stream = std::make_shared<Stream>();
    ticket = comm_->issue(info.name, stream, call);
  }
  // Without the lock: a Work takes the GIL to note its caller, and who has the GIL may want the
  // lock.
  return c10::make_intrusive<EnqueuedWork>(info, std::move(ticket), comm_,
                                           std::vector<at::Tensor>{tensor, header},
                                           std::vector<at::Tensor>{});
}

c10::intrusive_ptr<Work> PointToPoint::receive(const WorkInfo& info, const at::Tensor& into,
                                               int from, int tag) {
  (void)movable(into, info.name);
  auto work = c10::make_intrusive<ReceiveWork>(info, into, shared_from_this(), from, tag);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    posted_.push_back(work);
  }
  const int peers = static_cast<int>(channels_.size());
  for (int peer = 0; peer < peers; ++peer) {
    if (from == -1 || from == peer) pump(peer);
  }
  return work;
}

// Moves the messages of one sender on as far as they have come.
void PointToPoint::pump(int from) {
  std::vector<End> ends;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    try {
      while (step(from)) {
      }
    } catch (...) {
      failAll(std::current_exception(), c10d::WorkResult::COMM_ERROR);
    }
    ends.swap(ends_);
  }
  for (const End& each : ends) each.receive->conclude(each.failure, each.result);
}

// With the lock; false: nothing to do now.
bool PointToPoint::step(int from) {
  Channel& channel = channels_[static_cast<size_t>(from)];
  if (takeParcel(from)) return true;
  if (channel.gone) {
    endUnanswered(from);
    return false;
  }
  if (!channel.underWay) {
    if (!wants(from)) return false;
    begin(from, false, at::Tensor(), channel.header.get(), sizeof(Header));
    return true;
  }
  ncclResult_t code = channel.underWay->wait(microseconds(0));
  if (code == ncclInProgress) return false;
  channel.underWay.reset();
  if (code != ncclSuccess) {
    broken(from, code);
    return true;
  }
  channel.payload ? endPayload(from) : beginPayload(from);
  return true;
}

// The sender has left, and the communicator goes on without it; or that is at its end as well.
void PointToPoint::broken(int from, ncclResult_t code) {
  const std::exception_ptr failure = backendError(hostLibrary().failureText(code, "recv"));
  channels_[static_cast<size_t>(from)].gone = failure;
  if (comm_->asyncError() != ncclSuccess) failAll(failure, resultOf(code));
}

// What comes from this sender has come: receives from it, and from anybody where nobody is left.
void PointToPoint::endUnanswered(int from) {
  const bool none = allGone();
  posted_.remove_if([&](const Receive& receive) {
    if (receive->from_ != from && !(receive->from_ < 0 && none)) return false;
    ends_.push_back(
        {receive, channels_[static_cast<size_t>(from)].gone, c10d::WorkResult::COMM_ERROR});
    return true;
  });
}

bool PointToPoint::allGone() const {
  for (size_t peer = 0; peer < channels_.size(); ++peer) {
    if (static_cast<int>(peer) != rank_ && !channels_[peer].gone) return false;
  }
  return true;
}

bool PointToPoint::takeParcel(int from) {
  auto& parcels = channels_[static_cast<size_t>(from)].unwanted;
  for (auto parcel = parcels.begin(); parcel != parcels.end(); ++parcel) {
    Receive receive = takeWanted(from, parcel->tag);
    if (!receive) continue;
    at::Tensor& into = receive->outputs_.front();
    if (into.nbytes() == parcel->bytes.nbytes()) {
      std::memcpy(into.data_ptr(), parcel->bytes.data_ptr(), into.nbytes());
    }
    end(receive, from, parcel->bytes.nbytes());
    parcels.erase(parcel);
    return true;
  }
  return false;
}

// `memory` is kept as long as the library may write to it.
void PointToPoint::begin(int from, bool payload, const at::Tensor& memory, void* to, size_t bytes) {
  Channel& channel = channels_[static_cast<size_t>(from)];
  if (!channel.stream) channel.stream = std::make_shared<Stream>();
  channel.payload = payload;
  channel.underWay = comm_->issue("recv", channel.stream, [&](const On& on) {
    return on.nccl.ncclRecv(to, bytes, ncclUint8, from, on.comm, on.stream);
  });
  Finisher::instance().whenFinished(
      *channel.underWay, [self = weak_from_this(), from, memory, header = channel.header] {
        if (auto owner = self.lock()) owner->pump(from);
      });
}

void PointToPoint::beginPayload(int from) {
  Channel& channel = channels_[static_cast<size_t>(from)];
  const Header header = *channel.header;
  channel.receiver = takeWanted(from, header.tag);
  const bool fits = channel.receiver && channel.receiver->outputs_.front().nbytes() == header.bytes;
  at::Tensor memory = fits ? channel.receiver->outputs_.front()
                           : at::empty({static_cast<int64_t>(header.bytes)}, at::kByte);
  channel.parcel = memory;
  channel.payload = true;
  if (header.bytes == 0) return endPayload(from);
  begin(from, true, memory, memory.data_ptr(), header.bytes);
}

void PointToPoint::endPayload(int from) {
  Channel& channel = channels_[static_cast<size_t>(from)];
  if (channel.receiver) {
    end(channel.receiver, from, channel.header->bytes);
  } else {
    channel.unwanted.push_back({channel.header->tag, channel.parcel});
  }
  channel.receiver = nullptr;
  channel.parcel = at::Tensor();
}

void PointToPoint::end(const Receive& receive, int from, size_t bytes) {
  const size_t room = receive->outputs_.front().nbytes();
  std::exception_ptr failure;
  auto result = c10d::WorkResult::SUCCESS;
  if (room != bytes) {
    result = c10d::WorkResult::COMM_ERROR;
    failure = backendError("flexlink: recv on rank " + std::to_string(rank_) + " wants " +
                           std::to_string(room) + " bytes with tag " +
                           std::to_string(receive->tag_) + ", and rank " + std::to_string(from) +
                           " of the group sent " + std::to_string(bytes) +
                           "; sizes and types of a message must be the same on both sides");
  }
  receive->source_.store(from, std::memory_order_relaxed);
  ends_.push_back({receive, failure, result});
}

void PointToPoint::failAll(const std::exception_ptr& failure, c10d::WorkResult result) {
  for (const Receive& receive : posted_) ends_.push_back({receive, failure, result});
  posted_.clear();
  for (Channel& channel : channels_) {
    if (channel.receiver) ends_.push_back({channel.receiver, failure, result});
    channel.receiver = nullptr;
  }
}

// Anybody is anybody else: torch lets no rank send to itself, and nobody is to wait for itself.
bool PointToPoint::accepts(const Receive& receive, int from) const {
  return receive->from_ == from || (receive->from_ < 0 && from != rank_);
}

PointToPoint::Receive PointToPoint::takeWanted(int from, int64_t tag) {
  auto found = std::find_if(posted_.begin(), posted_.end(), [&](const Receive& receive) {
    return accepts(receive, from) && receive->tag_ == tag;
  });
  if (found == posted_.end()) return {};
  Receive receive = *found;
  posted_.erase(found);
  return receive;
}

bool PointToPoint::wants(int from) const {
  return std::any_of(posted_.begin(), posted_.end(),
                     [&](const Receive& receive) { return accepts(receive, from); });
}

std::optional<Ticket> PointToPoint::underWay(int from) {
  std::lock_guard<std::mutex> lock(mutex_);
  return channels_[static_cast<size_t>(from)].underWay;
}

bool PointToPoint::sending() {
  std::lock_guard<std::mutex> lock(mutex_);
  return std::any_of(outgoing_.begin(), outgoing_.end(),
                     [](const auto& stream) { return stream && stream->busy(); });
}

void PointToPoint::close() { comm_->leave(); }

void PointToPoint::abort() { comm_->abort(); }

}  // namespace flexlink::pytorch
