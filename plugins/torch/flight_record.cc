// SPDX-License-Identifier: Apache-2.0
#include "flight_record.h"

#include <Python.h>
#include <c10/util/ApproximateClock.h>

#include <algorithm>
#include <cstdlib>
#include <torch/csrc/distributed/c10d/FlightRecorder.hpp>
#include <utility>

#include "work.h"

namespace flexlink::pytorch {
namespace {

using c10::IValue;
using c10d::OpType;
using Tensors = std::vector<at::Tensor>;

constexpr const char* kVersion = "2.10";

bool isSet(const char* name) {
  const char* text = std::getenv(name);
  return text != nullptr && *text != '\0' && std::string(text) != "0";
}

bool dumpIsWanted() {
  return isSet("TORCH_FR_DUMP_TEMP_FILE") || isSet("TORCH_NCCL_DEBUG_INFO_TEMP_FILE") ||
         isSet("TORCH_NCCL_DUMP_ON_TIMEOUT");
}

// The analyzer knows names of torch's own backends only; "gloo" is nearest.
std::string recordedName(OpType type, const char* name, bool uneven) {
  switch (type) {
    case OpType::ALLGATHER:
      return uneven ? "gloo:all_gather_v" : "gloo:all_gather";
    case OpType::REDUCE_SCATTER:
      return uneven ? "gloo:reduce_scatter_v" : "gloo:reduce_scatter";
    case OpType::_ALLGATHER_BASE:
      return "gloo:_all_gather_base";
    case OpType::_REDUCE_SCATTER_BASE:
      return "gloo:_reduce_scatter_base";
    case OpType::ALLREDUCE_COALESCED:
      return "gloo:allreduce_coalesced";
    case OpType::RECVANYSOURCE:
      return "gloo:recv";
    default:
      return std::string("gloo:") + name;
  }
}

void setSizes(at::TensorList tensors, std::vector<std::vector<int64_t>>* sizes) {
  sizes->resize(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    at::IntArrayRef each = tensors[i].sizes();
    (*sizes)[i].assign(each.begin(), each.end());
  }
}

void setTypes(at::TensorList tensors, std::vector<c10::ScalarType>* types) {
  types->clear();
  for (const at::Tensor& each : tensors) types->push_back(each.scalar_type());
}

IValue listOf(const std::vector<std::vector<int64_t>>& sizes) {
  auto list = c10d::new_list();
  for (const auto& each : sizes) list.push_back(IValue(each));
  return list;
}

IValue listOf(const std::vector<c10::ScalarType>& types) {
  auto list = c10d::new_list();
  for (c10::ScalarType each : types) list.push_back(c10::toString(each));
  return list;
}

// The stacks of these, each a list of frames.
std::vector<IValue> framesOf(const std::vector<torch::CapturedTraceback*>& stacks) {
  torch::SymbolizedTracebacks symbols = torch::symbolize(stacks);
  std::vector<IValue> all;
  for (const torch::unwind::Frame& each : symbols.all_frames) {
    auto frame = c10d::new_dict();
    frame.insert("name", each.funcname);
    frame.insert("filename", each.filename);
    frame.insert("line", static_cast<int64_t>(each.lineno));
    all.emplace_back(std::move(frame));
  }
  std::vector<IValue> lists;
  for (const auto& indices : symbols.tracebacks) {
    auto list = c10d::new_list();
    for (uint64_t index : indices) list.push_back(all.at(index));
    lists.emplace_back(std::move(list));
  }
  return lists;
}

IValue configOf(const RecordedGroup& group) {
  auto config = c10d::new_dict();
  config.insert("name", group.name);
  config.insert("desc", group.description);
  std::string ranks;
  for (int64_t rank : group.ranks) ranks += (ranks.empty() ? "[" : ", ") + std::to_string(rank);
  config.insert("ranks", ranks + "]");
  return config;
}

IValue statusOf(const RecordedGroup& group) {
  const int64_t completed = group.completed.load(std::memory_order_relaxed);
  auto status = c10d::new_dict();
  status.insert("last_enqueued_collective", group.enqueued.load(std::memory_order_relaxed));
  status.insert("last_started_collective", completed);
  status.insert("last_completed_collective", completed);
  return status;
}

std::atomic<int64_t> groups{0};

}  // namespace

RecordedGroup::RecordedGroup(std::string name, std::string description, std::vector<int64_t> ranks)
    : number(groups.fetch_add(1, std::memory_order_relaxed)),
      name(std::move(name)),
      description(std::move(description)),
      ranks(std::move(ranks)) {}

// Never destroyed: operations may end while the process does.
FlightRecord& FlightRecord::instance() {
  static FlightRecord* record = new FlightRecord;
  return *record;
}

FlightRecord::FlightRecord()
    : most_(static_cast<size_t>(std::max(
          0, c10d::getCvarInt({"TORCH_FR_BUFFER_SIZE", "TORCH_NCCL_TRACE_BUFFER_SIZE"}, 2000)))) {}

void FlightRecord::Entry::take(uint64_t its, const WorkInfo& what) {
  number = its;
  group = what.group;
  name = what.name;
  uneven = what.uneven;
  collective = what.seq;
  message = what.message;
  rank = what.rank;
  peer = what.peer;
  type = what.type;
  timeoutMillis = what.timeout.count();
  created = c10::getTime();
  completed = 0;
  retired = false;
}

void FlightRecord::Entry::shape(const Tensors& from, const Tensors& to) {
  const bool told = type != OpType::BARRIER;  // its token is nobody's business
  const bool sends = type == OpType::SEND;    // its header is nobody's business either
  const at::TensorList sent =
      told ? at::TensorList(from.data(), sends ? 1 : from.size()) : at::TensorList();
  const at::TensorList received = told ? at::TensorList(to) : at::TensorList();
  // Where ranks differ in their own part, the parts of all are the same everywhere.
  setSizes(uneven && type == OpType::ALLGATHER ? received : sent, &inputs);
  setTypes(sent, &inputTypes);
  setSizes(uneven && type == OpType::REDUCE_SCATTER ? sent : received, &outputs);
  setTypes(received, &outputTypes);
  if (type != OpType::ALLGATHER || uneven) return;
  int64_t count = 0;  // as one tensor, like torch's own
  for (const at::Tensor& each : to) count += each.numel();
  outputs = {{count}};
  outputTypes.resize(1);
}

FlightRecord::Entry& FlightRecord::next() {
  ++last_;
  if (ring_.size() < most_) return ring_.emplace_back();
  return ring_[(last_ - 1) % most_];
}

uint64_t FlightRecord::begin(const WorkInfo& what, const Tensors& inputs, const Tensors& outputs) {
  if (most_ == 0 || !what.group) return 0;
  // What it holds at the end is that of the place's last operation: freed without the lock.
  std::shared_ptr<torch::CapturedTraceback> stack =
      torch::CapturedTraceback::gather(true, true, false);
  if (what.message == 0)
    what.group->enqueued.store(static_cast<int64_t>(what.seq), std::memory_order_relaxed);
  std::lock_guard<std::mutex> lock(mutex_);
  Entry& entry = next();
  entry.take(last_, what);
  entry.shape(inputs, outputs);
  entry.stack.swap(stack);
  return last_;
}

void FlightRecord::end(uint64_t number, bool success, int peer) {
  if (number == 0) return;
  const int64_t now = c10::getTime();
  std::lock_guard<std::mutex> lock(mutex_);
  Entry& entry = ring_[(number - 1) % most_];
  if (entry.number != number || entry.retired) return;  // many have followed, or it has ended
  entry.retired = true;
  if (peer >= 0) entry.peer = peer;
  if (!success) return;
  entry.completed = now;
  if (entry.message == 0)
    entry.group->completed.store(static_cast<int64_t>(entry.collective), std::memory_order_relaxed);
}

std::vector<FlightRecord::Entry> FlightRecord::inOrder() {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<Entry> entries = ring_;
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.number < b.number; });
  return entries;
}

std::string FlightRecord::Entry::profilingName() const {
  std::string recorded = recordedName(type, name, uneven);
  if (message == 0) return recorded;
  const char* way = type == OpType::SEND ? "->" : "<-";
  return recorded + " " + std::to_string(rank) + way + std::to_string(peer);
}

c10::IValue FlightRecord::Entry::asValue() const {
  auto entry = c10d::new_dict();
  entry.insert("record_id", static_cast<int64_t>(number - 1));
  entry.insert("pg_id", group->number);
  entry.insert("process_group", std::make_tuple(group->name, group->description));
  entry.insert("collective_seq_id", static_cast<int64_t>(collective));
  entry.insert("p2p_seq_id", static_cast<int64_t>(message));
  entry.insert("op_id", static_cast<int64_t>(number));
  entry.insert("profiling_name", profilingName());
  entry.insert("input_sizes", listOf(inputs));
  entry.insert("input_dtypes", listOf(inputTypes));
  entry.insert("output_sizes", listOf(outputs));
  entry.insert("output_dtypes", listOf(outputTypes));
  entry.insert("state", completed != 0 ? "completed" : "scheduled");
  entry.insert("time_created_ns", created);
  entry.insert("time_discovered_started_ns", IValue());
  entry.insert("time_discovered_completed_ns", completed != 0 ? IValue(completed) : IValue());
  entry.insert("retired", retired);
  entry.insert("timeout_ms", timeoutMillis);
  entry.insert("is_p2p", message != 0);
  return entry;
}

std::string FlightRecord::dump(bool frames, bool onlyActive) {
  std::vector<Entry> entries = inOrder();
  // The analyzer cannot read a message of nobody.
  std::erase_if(entries, [&](const Entry& one) {
    return (one.message != 0 && one.peer < 0) || (onlyActive && one.completed != 0);
  });
  std::vector<torch::CapturedTraceback*> stacks;
  for (const Entry& each : entries) stacks.push_back(each.stack.get());
  const std::vector<IValue> callers = frames ? framesOf(stacks) : std::vector<IValue>();
  auto list = c10d::new_list();
  auto config = c10d::new_dict();
  auto status = c10d::new_dict();
  for (size_t i = 0; i < entries.size(); ++i) {
    IValue entry = entries[i].asValue();
    if (frames) entry.toGenericDict().insert("frames", callers[i]);
    list.push_back(std::move(entry));
    const RecordedGroup& group = *entries[i].group;
    config.insert_or_assign(group.name, configOf(group));
    status.insert_or_assign(std::to_string(group.number), statusOf(group));
  }
  auto all = c10d::new_dict();
  all.insert("version", kVersion);
  all.insert("entries", std::move(list));
  all.insert("pg_config", std::move(config));
  all.insert("pg_status", std::move(status));
  all.insert("nccl_comm_state", c10d::new_dict());
  all.insert("comm_lib_version", "flexlink");
  return c10d::pickle_str(all);
}

void FlightRecord::writeOnce(int64_t rank) {
  if (most_ == 0 || !dumpIsWanted() || written_.exchange(true)) return;
  const bool frames =
      Py_IsInitialized() != 0 && c10d::getCvarBool({"TORCH_INCLUDE_STACK_TRACE"}, true);
  const bool onlyActive = c10d::getCvarBool({"TORCH_INCLUDE_ONLY_ACTIVE"}, false);
  c10d::DebugInfoWriter::getWriter(static_cast<int>(rank)).write(dump(frames, onlyActive));
}

}  // namespace flexlink::pytorch
