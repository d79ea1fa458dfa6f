// SPDX-License-Identifier: Apache-2.0
// Memory that peers can reach: ncclMemAlloc, registration, windows and the one-sided calls on them.
#include <algorithm>
#include <map>
#include <shared_mutex>

#include "api/device_choice.h"
#include "api/device_memory.h"
#include "api/export.h"
#include "api/group.h"
#include "api/handles.h"
#include "device/host/exchange.h"
#include "device/host/region.h"

// What an ncclWindow_t points to on host memory.
struct ncclWindow_vidmem {
  ncclComm_t comm;
  void* user;
  size_t bytes;
  std::vector<flexlink::WindowPart> parts;         // by rank
  std::unique_ptr<flexlink::OpenedMemory> opened;  // of a GPU's memory
};

namespace flexlink {
namespace {

// All windows of the process: a handle is followed only when it is found here.
struct Windows {
  std::shared_mutex mutex;  // guards all
  std::map<const void*, std::unique_ptr<ncclWindow_vidmem>> all;
};

Windows& windows() {
  static auto* windows = new Windows;
  return *windows;
}

// The window behind a handle; it stays while the caller does not deregister it.
Result<ncclWindow_vidmem*> checkedWindow(ncclComm_t comm, ncclWindow_t handle) {
  std::shared_lock lock(windows().mutex);
  auto found = windows().all.find(handle);
  if (found != windows().all.end() && found->second->comm == comm) return found->second.get();
  return makeStatus(Code::kInvalidArgument,
                    "%p is no window of this communicator, or it was deregistered",
                    static_cast<const void*>(handle));
}

ncclWindow_t addWindow(std::unique_ptr<ncclWindow_vidmem> window) {
  ncclWindow_t handle = window.get();
  std::unique_lock lock(windows().mutex);
  windows().all.emplace(handle, std::move(window));
  return handle;
}

constexpr int kSignalContexts = 4;
constexpr int kSignalIndices = kSignals / kSignalContexts;

Status memFree(void* pointer) {
  if (pointer == nullptr) return {};
  FLEXLINK_TRY_ASSIGN(const bool onGpu, freeOnGpu(pointer));
  if (onGpu) return {};
  RegionTable& table = RegionTable::instance();
  uint32_t id = table.find(pointer, 1).id;
  FLEXLINK_TRY(table.destroy(pointer));
  announceFreed(id);
  return {};
}

Status registerBuffer(Communicator& comm, void* buffer, size_t size, void** handle) {
  if (buffer == nullptr || handle == nullptr || size == 0) {
    return makeStatus(Code::kInvalidArgument, "ncclCommRegister: %zu bytes at %p", size, buffer);
  }
  // The handle is an address of ours, so that two registrations of one buffer are two.
  auto key = std::make_unique<char>();
  *handle = key.get();
  comm.registered[*handle] = std::move(key);
  return {};
}

Status deregisterBuffer(Communicator& comm, void* handle) {
  if (handle == nullptr || comm.registered.erase(handle) != 0) return {};
  return makeStatus(Code::kInvalidArgument,
                    "ncclCommDeregister: %p is no handle of ncclCommRegister on "
                    "this communicator",
                    handle);
}

// Collective: each rank tells where its part is.
Status registerWindow(Communicator& comm, ncclWindow_vidmem* window) {
  WindowPart mine{
      RegionTable::instance().find(window->user, window->bytes), window->user, window->bytes, {}};
  const bool onGpu = comm.gpu() != nullptr;
  const bool reached = !comm.byImages();  // else a window is known, and no more
  if (onGpu && reached) FLEXLINK_TRY(shareOnGpu(comm, &mine));
  window->parts.resize(static_cast<size_t>(comm.ranks()));
  comm.expose(window->user, window->bytes);  // before any peer can know of it
  Call call;
  call.kind = Collective::kAllGather;
  call.send = &mine;
  call.recv = window->parts.data();
  call.count = sizeof mine;
  FLEXLINK_TRY(comm.runNow(call));
  if (onGpu && !reached) return {};
  if (onGpu) {
    FLEXLINK_TRY_ASSIGN(window->opened, openParts(comm, &window->parts));
    return {};
  }
  for (int rank = 0; rank < comm.ranks(); ++rank) {
    const WindowPart& part = window->parts[static_cast<size_t>(rank)];
    if (comm.oneProcess() || part.region.id != 0 || part.bytes == 0) continue;
    return makeStatus(Code::kInvalidUsage,
                      "ncclCommWindowRegister: the buffer of rank %d is not from "
                      "ncclMemAlloc, so that other processes cannot reach it",
                      rank);
  }
  return {};
}

struct OneSided {
  Collective kind;
  int peer;
  int signal;
  int context;
  unsigned flags;
};

Status checkOneSided(const Communicator& comm, const OneSided& in) {
  const char* name = collectiveName(in.kind);
  if (in.peer < 0 || in.peer >= comm.ranks()) {
    return makeStatus(Code::kInvalidArgument, "%s: there is no rank %d", name, in.peer);
  }
  if (in.signal < 0 || in.signal >= kSignalIndices || in.context < 0 ||
      in.context >= kSignalContexts) {
    return makeStatus(Code::kInvalidArgument,
                      "%s: signal %d of context %d; there are %d signals in each "
                      "of %d contexts",
                      name, in.signal, in.context, kSignalIndices, kSignalContexts);
  }
  if (in.flags != 0) return makeStatus(Code::kInvalidArgument, "%s: flags must be 0", name);
  if (comm.byImages()) {
    return makeStatus(Code::kInvalidUsage,
                      "%s: between GPUs of several hosts our own lanes carry no one-sided calls; "
                      "use ncclSend and ncclRecv, or let the vendor's library carry all (without "
                      "FLEXLINK_PASS_THROUGH=0)",
                      name);
  }
  return comm.usable();
}

Call oneSidedCall(const OneSided& in) {
  Call call;
  call.kind = in.kind;
  call.root = in.peer;
  call.signal = static_cast<uint32_t>(in.context * kSignalIndices + in.signal);
  return call;
}

Status putSignal(ncclComm* shell, const OneSided& in, Call call, ncclWindow_t handle,
                 size_t offset) {
  FLEXLINK_TRY(checkOneSided(*shell->impl, in));
  size_t bytes = bytesOf(call);
  FLEXLINK_TRY_ASSIGN(ncclWindow_vidmem * window, checkedWindow(shell, handle));
  const WindowPart& part = window->parts[static_cast<size_t>(in.peer)];
  if (offset > part.bytes || bytes > part.bytes - offset || (bytes != 0 && call.send == nullptr)) {
    return makeStatus(Code::kInvalidArgument,
                      "PutSignal: %zu bytes at offset %zu do not fit into the "
                      "%zu bytes of rank %d's window, or the local buffer is NULL",
                      bytes, offset, part.bytes, in.peer);
  }
  return {};
}

Status waitSignals(ncclComm* shell, int count, const ncclWaitSignalDesc_t* waits,
                   cudaStream_t stream) {
  if (count < 0 || (count > 0 && waits == nullptr)) {
    return makeStatus(Code::kInvalidArgument, "ncclWaitSignal: %d descriptors at %p", count,
                      static_cast<const void*>(waits));
  }
  for (int i = 0; i < count; ++i) {
    OneSided in{Collective::kWaitSignal, waits[i].peer, waits[i].sigIdx, waits[i].ctx, 0};
    FLEXLINK_TRY(checkOneSided(*shell->impl, in));
    if (waits[i].opCnt < 0) {
      return makeStatus(Code::kInvalidArgument, "ncclWaitSignal: %d signals", waits[i].opCnt);
    }
  }
  FLEXLINK_TRY(checkedStream(shell, stream).status());  // also where nothing is awaited
  FLEXLINK_TRY(groupStart());                           // all of them are awaited together
  for (int i = 0; i < count; ++i) {
    Call call =
        oneSidedCall({Collective::kWaitSignal, waits[i].peer, waits[i].sigIdx, waits[i].ctx, 0});
    call.count = static_cast<size_t>(waits[i].opCnt);
    (void)noteInGroup(issue(shell, call, stream));
  }
  return groupEnd();
}

}  // namespace
}  // namespace flexlink

using namespace flexlink;

FLEXLINK_API(ncclResult_t, ncclMemAlloc, (void** ptr, size_t size)) {
  return guarded([&]() -> Status {
    if (ptr == nullptr) return makeStatus(Code::kInvalidArgument, "ncclMemAlloc: ptr is NULL");
    *ptr = nullptr;
    FLEXLINK_TRY(mayCreate());
    if (size == 0) return {};
    if (makesOnGpu()) {
      FLEXLINK_TRY_ASSIGN(*ptr, allocateOnGpu(size));
      return {};
    }
    FLEXLINK_TRY_ASSIGN(*ptr, RegionTable::instance().create(size, RegionUse::kUser));
    return {};
  });
}
FLEXLINK_API(ncclResult_t, ncclMemFree, (void* ptr)) {
  return guarded([&] { return memFree(ptr); });
}
FLEXLINK_API(ncclResult_t, ncclCommRegister,
             (const ncclComm_t comm, void* buff, size_t size, void** handle)) {
  return guarded([&] {
    return withCommunicator(comm,
                            [&](Communicator& c) { return registerBuffer(c, buff, size, handle); });
  });
}
FLEXLINK_API(ncclResult_t, ncclCommDeregister, (const ncclComm_t comm, void* handle)) {
  return guarded([&] {
    return withCommunicator(comm, [&](Communicator& c) { return deregisterBuffer(c, handle); });
  });
}
FLEXLINK_API(ncclResult_t, ncclCommWindowRegister,
             (ncclComm_t comm, void* buff, size_t size, ncclWindow_t* win, int winFlags)) {
  return guarded([&]() -> Status {
    if (win == nullptr || (buff == nullptr && size != 0) || (winFlags & ~0xf) != 0) {
      return makeStatus(Code::kInvalidArgument,
                        "ncclCommWindowRegister: %zu bytes at %p, flags 0x%x", size, buff,
                        winFlags);
    }
    *win = nullptr;
    auto window = std::make_unique<ncclWindow_vidmem>();
    window->comm = comm;
    window->user = buff;
    window->bytes = size;
    FLEXLINK_TRY(
        withCommunicator(comm, [&](Communicator& c) { return registerWindow(c, window.get()); }));
    *win = addWindow(std::move(window));
    return {};
  });
}
FLEXLINK_API(ncclResult_t, ncclCommWindowDeregister, (ncclComm_t comm, ncclWindow_t win)) {
  return guarded([&]() -> Status {
    FLEXLINK_TRY_ASSIGN([[maybe_unused]] ncclComm * shell, checkedShell(comm));
    if (win == nullptr) return {};
    FLEXLINK_TRY_ASSIGN([[maybe_unused]] ncclWindow_vidmem * window, checkedWindow(comm, win));
    // A communicator that has failed or was aborted lets nobody put any more.
    (void)withCommunicator(comm, [&](Communicator& c) -> Status {
      c.conceal(window->user);
      return {};
    });
    std::unique_lock lock(windows().mutex);
    windows().all.erase(win);
    return {};
  });
}
FLEXLINK_API(ncclResult_t, ncclWinGetUserPtr,
             (ncclComm_t comm, ncclWindow_t win, void** outUserPtr)) {
  return guarded([&]() -> Status {
    FLEXLINK_TRY_ASSIGN([[maybe_unused]] ncclComm * shell, checkedShell(comm));
    if (outUserPtr == nullptr) {
      return makeStatus(Code::kInvalidArgument,
                        "ncclWinGetUserPtr: the place for the answer is NULL");
    }
    FLEXLINK_TRY_ASSIGN(ncclWindow_vidmem * window, checkedWindow(comm, win));
    *outUserPtr = window->user;
    return {};
  });
}
FLEXLINK_API(ncclResult_t, ncclPutSignal,
             (const void* localbuff, size_t count, ncclDataType_t datatype, int peer,
              ncclWindow_t peerWin, size_t peerWinOffset, int sigIdx, int ctx, unsigned int flags,
              ncclComm_t comm, cudaStream_t stream)) {
  return guarded([&] {
    auto whole = [&]() -> Status {
      FLEXLINK_TRY_ASSIGN(ncclComm * shell, readyShell(comm));
      if (datatype < 0 || datatype >= ncclNumTypes) {
        return makeStatus(Code::kInvalidArgument, "PutSignal: there is no data type %d",
                          static_cast<int>(datatype));
      }
      OneSided in{Collective::kPutSignal, peer, sigIdx, ctx, flags};
      Call call = oneSidedCall(in);
      call.send = localbuff;
      call.count = count;
      call.type = static_cast<DataType>(datatype);
      FLEXLINK_TRY(putSignal(shell, in, call, peerWin, peerWinOffset));
      const WindowPart& part = peerWin->parts[static_cast<size_t>(peer)];
      call.target.region = {part.region.id, part.region.offset + peerWinOffset};
      call.target.address = static_cast<uint8_t*>(part.address) + peerWinOffset;
      return issue(shell, call, stream);
    };
    return noteInGroup(whole());
  });
}
FLEXLINK_API(ncclResult_t, ncclSignal,
             (int peer, int sigIdx, int ctx, unsigned int flags, ncclComm_t comm,
              cudaStream_t stream)) {
  return guarded([&] {
    auto whole = [&]() -> Status {
      FLEXLINK_TRY_ASSIGN(ncclComm * shell, readyShell(comm));
      OneSided in{Collective::kSignal, peer, sigIdx, ctx, flags};
      FLEXLINK_TRY(checkOneSided(*shell->impl, in));
      return issue(shell, oneSidedCall(in), stream);
    };
    return noteInGroup(whole());
  });
}
FLEXLINK_API(ncclResult_t, ncclWaitSignal,
             (int nDesc, ncclWaitSignalDesc_t* signalDescs, ncclComm_t comm, cudaStream_t stream)) {
  return guarded([&] {
    auto whole = [&]() -> Status {
      FLEXLINK_TRY_ASSIGN(ncclComm * shell, readyShell(comm));
      return waitSignals(shell, nDesc, signalDescs, stream);
    };
    return noteInGroup(whole());
  });
}
