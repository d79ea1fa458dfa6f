// SPDX-License-Identifier: Apache-2.0
// The operations of c10d, each as the library's call for it. Lists of tensors that do not lie one
// behind the other are moved through one buffer, as torch does for NCCL.
#include <torch/csrc/distributed/c10d/Utils.hpp>

#include "backend.h"

namespace flexlink::pytorch {
namespace {

using c10d::OpType;

const at::Tensor& only(const std::vector<at::Tensor>& tensors, const char* what) {
  TORCH_CHECK(tensors.size() == 1, "flexlink: ", what, " takes one tensor for each rank, not ",
              tensors.size());
  return tensors.front();
}

const std::vector<at::Tensor>& onlyList(const std::vector<std::vector<at::Tensor>>& lists,
                                        const char* what, int size) {
  TORCH_CHECK(lists.size() == 1, "flexlink: ", what, " takes one list of tensors, not ",
              lists.size());
  TORCH_CHECK(lists.front().size() == static_cast<size_t>(size), "flexlink: ", what, " takes ",
              size, " tensors, one for each rank, not ", lists.front().size());
  for (const at::Tensor& each : lists.front()) (void)movable(each, what);
  return lists.front();
}

void checkPair(const at::Tensor& larger, const at::Tensor& smaller, int size, const char* what) {
  TORCH_CHECK(larger.scalar_type() == smaller.scalar_type(), "flexlink: ", what, " from ",
              smaller.scalar_type(), " to ", larger.scalar_type(), ": types must be the same");
  TORCH_CHECK(larger.numel() == smaller.numel() * size, "flexlink: ", what, ": ", larger.numel(),
              " elements are not ", size, " times ", smaller.numel());
}

// One tensor over all of `tensors`: themselves where they lie so already, else new memory.
at::Tensor flatOver(const std::vector<at::Tensor>& tensors) {
  const at::Tensor& first = tensors.front();
  const auto count = static_cast<int64_t>(tensors.size());
  if (adjacent(tensors) && first.numel() != 0) {
    return first.as_strided({count * first.numel()}, {1}, first.storage_offset());
  }
  return at::empty({count * first.numel()}, first.options());
}

at::Tensor part(const at::Tensor& flat, size_t index, const at::Tensor& like) {
  return flat.narrow(0, static_cast<int64_t>(index) * like.numel(), like.numel())
      .view(like.sizes());
}

// Is there nothing to copy between `tensors` and their parts of `flat`?
bool sameMemory(const at::Tensor& flat, const std::vector<at::Tensor>& tensors) {
  return flat.numel() == 0 || flat.const_data_ptr() == tensors.front().const_data_ptr();
}
void spread(const at::Tensor& flat, const std::vector<at::Tensor>& tensors) {
  if (sameMemory(flat, tensors)) return;
  for (size_t i = 0; i < tensors.size(); ++i) {
    at::Tensor to = tensors[i];
    to.copy_(part(flat, i, to));
  }
}
void collect(const std::vector<at::Tensor>& tensors, const at::Tensor& flat) {
  if (sameMemory(flat, tensors)) return;
  for (size_t i = 0; i < tensors.size(); ++i) part(flat, i, tensors[i]).copy_(tensors[i]);
}

// Where every rank's part has a size of its own: this rank's is on both sides.
void checkOwn(const at::Tensor& output, const at::Tensor& input, const char* what) {
  TORCH_CHECK(output.numel() == input.numel() && output.scalar_type() == input.scalar_type(),
              "flexlink: ", what, ": this rank's output has ", output.numel(), " elements of ",
              output.scalar_type(), " and its input ", input.numel(), " of ", input.scalar_type());
}

// Several ReduceScatters in one; torch has a type for it from 2.12 on.
template <typename Type = OpType>
constexpr Type reduceScatters() {
  if constexpr (requires { Type::REDUCE_SCATTER_TENSOR_COALESCED; }) {
    return Type::REDUCE_SCATTER_TENSOR_COALESCED;
  } else {
    return Type::_REDUCE_SCATTER_BASE;
  }
}

}  // namespace

Backend::WorkPtr Backend::allreduce(Tensors& tensors, const c10d::AllreduceOptions& opts) {
  const at::Tensor& tensor = only(tensors, "all_reduce");
  Reduction reduction(tensor, opts.reduceOp, "all_reduce");
  Elements all = reduction.elements(tensor);
  return run(info(OpType::ALLREDUCE, "flexlink:all_reduce", opts), tensors, tensors,
             [&](const On& on) {
               return reduction.with(on, [&](ncclRedOp_t op) {
                 return on.nccl.ncclAllReduce(all.data, all.data, all.count, all.type, op, on.comm,
                                              on.stream);
               });
             });
}

Backend::WorkPtr Backend::allreduce_sparse(Tensors&, const c10d::AllreduceOptions&) {
  TORCH_CHECK(false,
              "flexlink: all_reduce of sparse tensors is not supported; use tensor.to_dense(), or "
              "a group with the backend gloo");
}

Backend::WorkPtr Backend::allreduce_coalesced(Tensors& tensors,
                                              const c10d::AllreduceCoalescedOptions& opts) {
  std::vector<std::pair<Reduction, Elements>> calls;
  for (const at::Tensor& tensor : tensors) {
    Reduction reduction(tensor, opts.reduceOp, "all_reduce_coalesced");
    Elements all = reduction.elements(tensor);
    calls.emplace_back(std::move(reduction), all);
  }
  return run(info(OpType::ALLREDUCE_COALESCED, "flexlink:all_reduce_coalesced", opts), tensors,
             tensors, [&](const On& on) {
               return on.nccl.grouped(calls.size(), [&](size_t i) {
                 const Elements& all = calls[i].second;
                 return calls[i].first.with(on, [&](ncclRedOp_t op) {
                   return on.nccl.ncclAllReduce(all.data, all.data, all.count, all.type, op,
                                                on.comm, on.stream);
                 });
               });
             });
}

Backend::WorkPtr Backend::broadcast(Tensors& tensors, const c10d::BroadcastOptions& opts) {
  Elements all = movable(only(tensors, "broadcast"), "broadcast");
  const int root = peerOf(static_cast<int>(opts.rootRank), "broadcast");
  return run(info(OpType::BROADCAST, "flexlink:broadcast", opts), tensors, tensors,
             [&](const On& on) {
               return on.nccl.ncclBroadcast(all.data, all.data, all.count, all.type, root, on.comm,
                                            on.stream);
             });
}

Backend::WorkPtr Backend::reduce(Tensors& tensors, const c10d::ReduceOptions& opts) {
  const at::Tensor& tensor = only(tensors, "reduce");
  Reduction reduction(tensor, opts.reduceOp, "reduce");
  Elements all = reduction.elements(tensor);
  const int root = peerOf(static_cast<int>(opts.rootRank), "reduce");
  return run(info(OpType::REDUCE, "flexlink:reduce", opts), tensors, tensors, [&](const On& on) {
    return reduction.with(on, [&](ncclRedOp_t op) {
      return on.nccl.ncclReduce(all.data, all.data, all.count, all.type, op, root, on.comm,
                                on.stream);
    });
  });
}

Backend::WorkPtr Backend::allgather(TensorLists& outputs, Tensors& inputs,
                                    const c10d::AllgatherOptions& opts) {
  const at::Tensor& input = only(inputs, "all_gather");
  const Tensors& list = onlyList(outputs, "all_gather", size_);
  WorkInfo what = info(OpType::ALLGATHER, "flexlink:all_gather", opts);
  what.uneven = !alike(list, input);
  if (what.uneven) return gatherUneven(what, list, input);
  Elements own = movable(input, what.name);
  at::Tensor flat = flatOver(list);
  void* to = flat.data_ptr();
  return run(
      what, inputs, list,
      [&](const On& on) {
        return on.nccl.ncclAllGather(own.data, to, own.count, own.type, on.comm, on.stream);
      },
      [flat, list] { spread(flat, list); });
}

// Every rank's tensor has a size of its own, which all ranks know.
Backend::WorkPtr Backend::gatherUneven(const WorkInfo& what, Tensors outputs,
                                       const at::Tensor& input) {
  checkOwn(outputs[static_cast<size_t>(rank_)], input, what.name);
  Elements own = movable(input, what.name);
  std::vector<Elements> all;
  for (const at::Tensor& each : outputs) all.push_back(movable(each, what.name));
  auto call = [&](const On& on) {
    return on.nccl.grouped(all.size(), [&](size_t root) {
      const int rank = static_cast<int>(root);
      const Elements& to = all[root];
      const void* from = rank == rank_ ? own.data : to.data;
      return on.nccl.ncclBroadcast(from, to.data, to.count, to.type, rank, on.comm, on.stream);
    });
  };
  return run(what, {input}, outputs, call);
}

Backend::WorkPtr Backend::_allgather_base(at::Tensor& output, at::Tensor& input,
                                          const c10d::AllgatherOptions& opts) {
  checkPair(output, input, size_, "all_gather_into_tensor");
  Elements own = movable(input, "all_gather_into_tensor");
  Elements all = movable(output, "all_gather_into_tensor");
  return run(info(OpType::_ALLGATHER_BASE, "flexlink:all_gather_into_tensor", opts), {input},
             {output}, [&](const On& on) {
               return on.nccl.ncclAllGather(own.data, all.data, own.count, own.type, on.comm,
                                            on.stream);
             });
}

// Lists by rank of tensors by place; c10d asks for this form, and calls it old.
Backend::WorkPtr Backend::allgather_coalesced(TensorLists& outputs, Tensors& inputs,
                                              const c10d::AllgatherOptions& opts) {
  TORCH_CHECK(outputs.size() == static_cast<size_t>(size_), "flexlink: all_gather_coalesced takes ",
              size_, " lists, one for each rank, not ", outputs.size());
  TORCH_CHECK(inputs.empty() || inputs.front().device().is_cpu(),
              "flexlink: all_gather_coalesced is for tensors on the CPU, not on ",
              inputs.front().device(), "; use all_gather_into_tensor");
  std::vector<c10::intrusive_ptr<Work>> works;
  Tensors results;
  for (size_t place = 0; place < inputs.size(); ++place) {
    TensorLists one(1);
    for (const Tensors& list : outputs) one.front().push_back(list.at(place));
    results.insert(results.end(), one.front().begin(), one.front().end());
    Tensors input{inputs[place]};
    works.push_back(c10::static_intrusive_pointer_cast<Work>(allgather(one, input, opts)));
  }
  return c10::make_intrusive<JointWork>(
      info(OpType::ALLGATHER_COALESCED, "flexlink:all_gather_coalesced", opts), std::move(works),
      std::move(results));
}

Backend::WorkPtr Backend::allgather_into_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                                          const c10d::AllgatherOptions& opts) {
  constexpr const char* kName = "all_gather_into_tensor_coalesced";
  TORCH_CHECK(outputs.size() == inputs.size(), "flexlink: ", kName, ": ", outputs.size(),
              " outputs for ", inputs.size(), " inputs");
  std::vector<std::pair<Elements, Elements>> calls;
  for (size_t i = 0; i < inputs.size(); ++i) {
    checkPair(outputs[i], inputs[i], size_, kName);
    calls.emplace_back(movable(inputs[i], kName), movable(outputs[i], kName));
  }
  auto call = [&](const On& on) {
    return on.nccl.grouped(calls.size(), [&](size_t i) {
      const auto& [own, all] = calls[i];
      return on.nccl.ncclAllGather(own.data, all.data, own.count, own.type, on.comm, on.stream);
    });
  };
  return run(info(OpType::ALLGATHER_COALESCED, "flexlink:all_gather_into_tensor_coalesced", opts),
             inputs, outputs, call);
}

Backend::WorkPtr Backend::gather(TensorLists& outputs, Tensors& inputs,
                                 const c10d::GatherOptions& opts) {
  const at::Tensor& input = only(inputs, "gather");
  const int root = peerOf(static_cast<int>(opts.rootRank), "gather");
  Elements own = movable(input, "gather");
  Tensors list;
  at::Tensor flat;
  if (root == rank_) {
    list = onlyList(outputs, "gather", size_);
    TORCH_CHECK(alike(list, input), "flexlink: gather: all tensors must have the input's size, ",
                input.numel(), " elements, and type");
    flat = flatOver(list);
  } else {
    TORCH_CHECK(outputs.empty() || outputs.front().empty(),
                "flexlink: gather: only the root, rank ", root, ", has outputs");
  }
  void* to = flat.defined() ? flat.data_ptr() : nullptr;
  std::function<void()> after;
  if (flat.defined()) after = [flat, list] { spread(flat, list); };
  return run(
      info(OpType::GATHER, "flexlink:gather", opts), inputs, list,
      [&](const On& on) {
        return on.nccl.ncclGather(own.data, to, own.count, own.type, root, on.comm, on.stream);
      },
      std::move(after));
}

Backend::WorkPtr Backend::scatter(Tensors& outputs, TensorLists& inputs,
                                  const c10d::ScatterOptions& opts) {
  const at::Tensor& output = only(outputs, "scatter");
  const int root = peerOf(static_cast<int>(opts.rootRank), "scatter");
  Elements own = movable(output, "scatter");
  at::Tensor flat;
  if (root == rank_) {
    const Tensors& list = onlyList(inputs, "scatter", size_);
    TORCH_CHECK(alike(list, output), "flexlink: scatter: all tensors must have the output's size, ",
                output.numel(), " elements, and type");
    flat = flatOver(list);
    collect(list, flat);
  } else {
    TORCH_CHECK(inputs.empty() || inputs.front().empty(), "flexlink: scatter: only the root, rank ",
                root, ", has inputs");
  }
  const void* from = flat.defined() ? flat.const_data_ptr() : nullptr;
  Tensors kept;
  if (flat.defined()) kept.push_back(flat);
  return run(info(OpType::SCATTER, "flexlink:scatter", opts), kept, outputs, [&](const On& on) {
    return on.nccl.ncclScatter(from, own.data, own.count, own.type, root, on.comm, on.stream);
  });
}

Backend::WorkPtr Backend::reduce_scatter(Tensors& outputs, TensorLists& inputs,
                                         const c10d::ReduceScatterOptions& opts) {
  const at::Tensor& output = only(outputs, "reduce_scatter");
  const Tensors& list = onlyList(inputs, "reduce_scatter", size_);
  WorkInfo what = info(OpType::REDUCE_SCATTER, "flexlink:reduce_scatter", opts);
  what.uneven = !alike(list, output);
  if (what.uneven) return reduceScatterUneven(what, output, list, opts.reduceOp);
  at::Tensor flat = flatOver(list);
  collect(list, flat);
  Reduction reduction(output, opts.reduceOp, what.name);
  Elements own = reduction.elements(output);
  const void* from = flat.const_data_ptr();
  return run(what, {flat}, outputs, [&](const On& on) {
    return reduction.with(on, [&](ncclRedOp_t op) {
      return on.nccl.ncclReduceScatter(from, own.data, own.count, own.type, op, on.comm, on.stream);
    });
  });
}

Backend::WorkPtr Backend::reduceScatterUneven(const WorkInfo& what, const at::Tensor& output,
                                              Tensors inputs, const c10d::ReduceOp& op) {
  checkOwn(output, inputs[static_cast<size_t>(rank_)], what.name);
  Reduction reduction(output, op, what.name);
  Elements own = reduction.elements(output);
  std::vector<Elements> all;
  for (const at::Tensor& each : inputs) all.push_back(reduction.elements(each));
  auto call = [&](const On& on) {
    return reduction.with(on, [&](ncclRedOp_t made) {
      return on.nccl.grouped(all.size(), [&](size_t root) {
        const int rank = static_cast<int>(root);
        const Elements& from = all[root];
        void* to = rank == rank_ ? own.data : from.data;
        return on.nccl.ncclReduce(from.data, to, from.count, from.type, made, rank, on.comm,
                                  on.stream);
      });
    });
  };
  return run(what, std::move(inputs), {output}, call);
}

Backend::WorkPtr Backend::_reduce_scatter_base(at::Tensor& output, at::Tensor& input,
                                               const c10d::ReduceScatterOptions& opts) {
  constexpr const char* kName = "reduce_scatter_tensor";
  checkPair(input, output, size_, kName);
  Reduction reduction(output, opts.reduceOp, kName);
  Elements own = reduction.elements(output);
  Elements all = reduction.elements(input);
  return run(info(OpType::_REDUCE_SCATTER_BASE, "flexlink:reduce_scatter_tensor", opts), {input},
             {output}, [&](const On& on) {
               return reduction.with(on, [&](ncclRedOp_t op) {
                 return on.nccl.ncclReduceScatter(all.data, own.data, own.count, own.type, op,
                                                  on.comm, on.stream);
               });
             });
}

Backend::WorkPtr Backend::reduce_scatter_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                                          const c10d::ReduceScatterOptions& opts) {
  TORCH_CHECK(outputs.size() == inputs.size(),
              "flexlink: reduce_scatter_tensor_coalesced: ", outputs.size(), " outputs for ",
              inputs.size(), " inputs");
  constexpr const char* kName = "reduce_scatter_tensor_coalesced";
  struct One {
    Reduction reduction;
    Elements own, all;
  };
  std::vector<One> calls;
  for (size_t i = 0; i < inputs.size(); ++i) {
    checkPair(inputs[i], outputs[i], size_, kName);
    Reduction reduction(outputs[i], opts.reduceOp, kName);
    const Elements own = reduction.elements(outputs[i]), all = reduction.elements(inputs[i]);
    calls.push_back({std::move(reduction), own, all});
  }
  auto call = [&](const On& on) {
    return on.nccl.grouped(calls.size(), [&](size_t i) {
      const auto& [reduction, own, all] = calls[i];
      return reduction.with(on, [&, own = own, all = all](ncclRedOp_t op) {
        return on.nccl.ncclReduceScatter(all.data, own.data, own.count, own.type, op, on.comm,
                                         on.stream);
      });
    });
  };
  return run(info(reduceScatters(), "flexlink:reduce_scatter_tensor_coalesced", opts), inputs,
             outputs, call);
}

Backend::WorkPtr Backend::alltoall_base(at::Tensor& output, at::Tensor& input,
                                        std::vector<int64_t>& outputSplits,
                                        std::vector<int64_t>& inputSplits,
                                        const c10d::AllToAllOptions& opts) {
  constexpr const char* kName = "all_to_all_single";
  TORCH_CHECK(output.scalar_type() == input.scalar_type(), "flexlink: ", kName, " from ",
              input.scalar_type(), " to ", output.scalar_type(), ": types must be the same");
  c10d::checkSplitSizes(inputSplits, input, size_);
  c10d::checkSplitSizes(outputSplits, output, size_);
  WorkInfo what = info(OpType::ALLTOALL_BASE, "flexlink:all_to_all_single", opts);
  Elements from = movable(input, kName);
  Elements to = movable(output, kName);
  if (inputSplits.empty() && outputSplits.empty()) {
    checkPair(output, input, 1, kName);
    return run(what, {input}, {output}, [&](const On& on) {
      return on.nccl.ncclAlltoAll(from.data, to.data, from.count / static_cast<size_t>(size_),
                                  from.type, on.comm, on.stream);
    });
  }
  auto cut = [&](const at::Tensor& whole, const std::vector<int64_t>& splits) {
    return splits.empty() ? whole.tensor_split(size_) : whole.split_with_sizes(splits);
  };
  return exchange(what, {input}, {output}, cut(input, inputSplits), cut(output, outputSplits));
}

Backend::WorkPtr Backend::alltoall(Tensors& outputs, Tensors& inputs,
                                   const c10d::AllToAllOptions& opts) {
  const auto size = static_cast<size_t>(size_);
  TORCH_CHECK(outputs.size() == size && inputs.size() == size, "flexlink: all_to_all takes ", size_,
              " tensors, one for each rank, not ", inputs.size(), " and ", outputs.size());
  return exchange(info(OpType::ALLTOALL, "flexlink:all_to_all", opts), inputs, outputs, inputs,
                  outputs);
}

// Element i of `parts` goes to rank i, whose message becomes element i of `wholes`.
Backend::WorkPtr Backend::exchange(const WorkInfo& what, Tensors inputs, Tensors outputs,
                                   Tensors parts, Tensors wholes) {
  std::vector<Elements> from, to;
  for (const at::Tensor& each : parts) from.push_back(movable(each, what.name));
  for (const at::Tensor& each : wholes) to.push_back(movable(each, what.name));
  auto call = [&](const On& on) {
    return on.nccl.grouped(from.size(), [&](size_t i) {
      const int peer = static_cast<int>(i);
      const Elements &out = from[i], &in = to[i];
      ncclResult_t result = ncclSuccess;
      if (out.count != 0) {
        result = on.nccl.ncclSend(out.data, out.count, out.type, peer, on.comm, on.stream);
      }
      if (in.count == 0 || result != ncclSuccess) return result;
      return on.nccl.ncclRecv(in.data, in.count, in.type, peer, on.comm, on.stream);
    });
  };
  return run(what, std::move(inputs), std::move(outputs), call);
}

// An AllReduce of one byte: nobody is through before all have come. Where all ranks have met on
// GPUs, on those: behind what their streams hold.
Backend::WorkPtr Backend::barrier(const c10d::BarrierOptions& opts) {
  GpuGroup* group = gpuIfAny();
  const bool met = group != nullptr && group->connected();
  at::Device device = met ? group->device() : opts.device.value_or(at::kCPU);
  if (!device.is_cpu() && !device.has_index()) {
    device = c10::impl::VirtualGuardImpl(device.type()).getDevice();
  }
  at::Tensor token = at::zeros({1}, at::TensorOptions(device).dtype(at::kByte));
  void* data = token.data_ptr();
  return run(info(OpType::BARRIER, "flexlink:barrier", opts), {token}, {}, [&](const On& on) {
    return on.nccl.ncclAllReduce(data, data, 1, ncclUint8, ncclSum, on.comm, on.stream);
  });
}

Backend::WorkPtr Backend::send(Tensors& tensors, int to, int tag) {
  const at::Tensor& tensor = only(tensors, "send");
  const WorkInfo what = messageInfo(OpType::SEND, "flexlink:send", peerOf(to, "send"));
  if (tensor.device().is_cpu()) return noted(messages_->send(what, tensor, to, tag));
  return gpuForCall(tensor.device()).send(what, tensor, to);
}

Backend::WorkPtr Backend::recv(Tensors& tensors, int from, int tag) {
  const at::Tensor& tensor = only(tensors, "recv");
  const WorkInfo what = messageInfo(OpType::RECV, "flexlink:recv", peerOf(from, "recv"));
  if (tensor.device().is_cpu()) return noted(messages_->receive(what, tensor, from, tag));
  return gpuForCall(tensor.device()).receive(what, tensor, from);
}

Backend::WorkPtr Backend::recvAnysource(Tensors& tensors, int tag) {
  const at::Tensor& tensor = only(tensors, "recv");
  TORCH_CHECK(tensor.device().is_cpu(),
              "flexlink: recv from any rank is for tensors on the CPU, "
              "not on ",
              tensor.device(), ": there the sender must be named");
  return noted(messages_->receive(
      messageInfo(OpType::RECVANYSOURCE, "flexlink:recv_any_source", -1), tensor, -1, tag));
}

}  // namespace flexlink::pytorch
