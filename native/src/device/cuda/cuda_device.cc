// SPDX-License-Identifier: Apache-2.0
// Set-up of a GPU, its memory and its streams. What a GPU is given to do is the driver's business:
// each function is one call of it.
#include "device/cuda/cuda_device.h"

#include <string.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "base/log.h"
#include "base/settings.h"
#include "base/small_file.h"
#include "device/cuda/context_scope.h"
#include "device/cuda/fold_plan.h"
#include "device/cuda/kernel_image.h"
#include "device/host/exchange.h"

namespace flexlink {
namespace {

CUstream streamOf(StreamHandle handle) { return static_cast<CUstream>(handle); }
CUdeviceptr addressOf(const void* pointer) { return reinterpret_cast<CUdeviceptr>(pointer); }

// What a MemoryHandle is here. The driver names whole allocations, and refuses to open one in the
// process that shares it.
struct CudaHandle {
  CUipcMemHandle ipc;
  uint64_t offset;
  Cookie process;    // whose
  uint64_t address;  // there
};
static_assert(sizeof(CudaHandle) <= sizeof(MemoryHandle));

// Tells this process from others on this host, of whatever PID namespace.
const Cookie& processToken() {
  static const Cookie token = randomCookie();
  return token;
}

}  // namespace

#define FLEXLINK_IN_CONTEXT()                  \
  const ContextScope scope(driver_, context_); \
  FLEXLINK_TRY(scope.status())

Result<std::unique_ptr<CudaDevice>> CudaDevice::create(const CudaDriver& driver, int ordinal) {
  FLEXLINK_TRY(driver.run(driver.init, 0u));
  int count = 0;
  FLEXLINK_TRY(driver.run(driver.deviceGetCount, &count));
  if (ordinal < 0 || ordinal >= count) {
    return makeStatus(Code::kCuda,
                      "there is no CUDA device %d: the driver shows %d (CUDA_VISIBLE_DEVICES)",
                      ordinal, count);
  }
  CUdevice device = 0;
  FLEXLINK_TRY(driver.run(driver.deviceGet, &device, ordinal));
  std::unique_ptr<CudaDevice> made(new CudaDevice(driver, device));
  FLEXLINK_TRY(made->start());
  return made;
}

Result<int> CudaDevice::current(const CudaDriver& driver) {
  FLEXLINK_TRY(driver.run(driver.init, 0u));
  CUcontext context = nullptr;
  FLEXLINK_TRY(driver.run(driver.ctxGetCurrent, &context));
  CUdevice device = 0;
  if (context != nullptr) FLEXLINK_TRY(driver.run(driver.ctxGetDevice, &device));
  return device;
}

Status CudaDevice::start() {
  FLEXLINK_TRY(readPlace());
  FLEXLINK_TRY(check());
  FLEXLINK_TRY(driver_.run(driver_.primaryCtxRetain, &context_, device_));
  FLEXLINK_IN_CONTEXT();
  const CaptureUndisturbed undisturbed(driver_);
  kernels_ = loadKernels();
  FLEXLINK_INFO(kInit, "CUDA device %d: %s at %s, %d multiprocessors, NUMA node %d; kernels: %s",
                device_, model_.c_str(), pciId_.c_str(), multiprocessors_, numaNode_,
                kernels_.ok() ? kernelImage().text : kernels_.text());
  return {};
}

Status CudaDevice::readPlace() {
  char text[256] = "";
  FLEXLINK_TRY(
      driver_.run(driver_.deviceGetName, text, static_cast<int>(sizeof text - 1), device_));
  model_ = text;
  FLEXLINK_TRY(
      driver_.run(driver_.deviceGetPciBusId, text, static_cast<int>(sizeof text - 1), device_));
  pciId_ = text;
  for (char& letter : pciId_) letter = static_cast<char>(tolower(letter));
  const std::string node = firstLine("/sys/bus/pci/devices/" + pciId_ + "/numa_node");
  if (!node.empty()) numaNode_ = atoi(node.c_str());  // NOLINT(cert-err34-c): the kernel wrote it
  return {};
}

// What nothing here works without.
Status CudaDevice::check() {
  FLEXLINK_TRY(driver_.has(driver_.streamWaitValue64));
  FLEXLINK_TRY(driver_.has(driver_.streamWriteValue64));
  const struct {
    int attribute;
    const char* what;
  } needs[] = {
      {kCudaStreamValues64, "lets no stream wait for a 64-bit counter"},
      {kCudaHostPointerAsIs, "reaches pinned host memory at other addresses than the CPU"},
  };
  for (const auto& need : needs) {
    int has = 0;
    FLEXLINK_TRY(driver_.run(driver_.deviceGetAttribute, &has, need.attribute, device_));
    if (has == 0) {
      return makeStatus(Code::kCuda, "CUDA device %d, %s, %s", device_, model_.c_str(), need.what);
    }
  }
  return driver_.run(driver_.deviceGetAttribute, &multiprocessors_, kCudaMultiprocessors, device_);
}

Status CudaDevice::loadKernels() {
  const KernelImage image = kernelImage();
  if (image.fatbin == nullptr) {
    return makeStatus(Code::kCuda, "there are no CUDA kernels (%s)", image.text);
  }
  char log[512] = "";
  int options[] = {kCudaJitErrorLog, kCudaJitErrorLogBytes};
  void* values[] = {log, reinterpret_cast<void*>(sizeof log)};
  const Status loaded = driver_.run(driver_.moduleLoadDataEx, &module_, image.fatbin, 2u,
                                    static_cast<int*>(options), static_cast<void**>(values));
  if (!loaded.ok()) {
    return makeStatus(Code::kCuda,
                      "this driver (CUDA %s) does not take the kernels (%s): %s %.400s",
                      cudaVersionText(driver_.version).c_str(), image.text, loaded.text(), log);
  }
  for (int t = 0; t < kDataTypes; ++t) {
    for (int o = 0; o < kReduceOps; ++o) {
      const auto type = static_cast<DataType>(t);
      const auto op = static_cast<ReduceOp>(o);
      if (isBitwise(op) && !isInteger(type)) continue;
      const std::string name = kernelName(kernelOf(type, op));
      FLEXLINK_TRY(
          driver_.run(driver_.moduleGetFunction, &functions_[t][o], module_, name.c_str()));
    }
  }
  return {};
}

CudaDevice::~CudaDevice() {
  if (context_ == nullptr) return;
  {
    const ContextScope scope(driver_, context_);
    if (module_ != nullptr) (void)driver_.moduleUnload(module_);
  }
  for (const CUdevice peer : peers_) (void)driver_.primaryCtxRelease(peer);
  (void)driver_.primaryCtxRelease(device_);
}

Status CudaDevice::reachPeer(int peer) {
  int can = 0;
  FLEXLINK_TRY(driver_.run(driver_.deviceCanAccessPeer, &can, device_, peer));
  if (can == 0) {
    return makeStatus(Code::kCuda, "CUDA device %d cannot reach the memory of device %d", device_,
                      peer);
  }
  std::lock_guard<std::mutex> lock(mutex_);
  if (std::find(peers_.begin(), peers_.end(), peer) != peers_.end()) return {};
  CUcontext peers = nullptr;
  FLEXLINK_TRY(driver_.run(driver_.primaryCtxRetain, &peers, peer));
  peers_.push_back(peer);
  FLEXLINK_IN_CONTEXT();
  const CUresult enabled = driver_.ctxEnablePeerAccess(peers, 0);
  if (enabled == kCudaPeerAlreadyEnabled) return {};
  return driver_.check(driver_.ctxEnablePeerAccess, enabled);
}

Result<MemoryKind> CudaDevice::memoryOf(const void* pointer) {
  FLEXLINK_IN_CONTEXT();
  uint64_t type = 0;  // wider than what the driver writes
  uint64_t managed = 0;
  int attributes[] = {kCudaPointerMemoryType, kCudaPointerIsManaged};
  void* values[] = {&type, &managed};
  FLEXLINK_TRY(driver_.run(driver_.pointerGetAttributes, 2u, static_cast<int*>(attributes),
                           static_cast<void**>(values), addressOf(pointer)));
  if (managed != 0) return MemoryKind::kManaged;
  if (type == kCudaMemoryDevice) return MemoryKind::kDevice;
  return type == kCudaMemoryHost ? MemoryKind::kPinned : MemoryKind::kHost;
}

Status CudaDevice::pin(void* begin, size_t bytes) {
  FLEXLINK_IN_CONTEXT();
  const CaptureUndisturbed undisturbed(driver_);
  const unsigned flags = kCudaRegisterPortable | kCudaRegisterMapped;
  return driver_.run(driver_.memHostRegister, begin, bytes, flags);
}

Status CudaDevice::unpin(void* begin) {
  FLEXLINK_IN_CONTEXT();
  const CaptureUndisturbed undisturbed(driver_);
  return driver_.run(driver_.memHostUnregister, begin);
}

Result<void*> CudaDevice::allocate(size_t bytes) {
  FLEXLINK_IN_CONTEXT();
  const CaptureUndisturbed undisturbed(driver_);
  CUdeviceptr at = 0;
  FLEXLINK_TRY(driver_.run(driver_.memAlloc, &at, bytes));
  return reinterpret_cast<void*>(at);
}

Status CudaDevice::release(void* allocated) {
  FLEXLINK_IN_CONTEXT();
  const CaptureUndisturbed undisturbed(driver_);
  return driver_.run(driver_.memFree, addressOf(allocated));
}

Result<MemoryHandle> CudaDevice::share(const void* pointer) {
  FLEXLINK_IN_CONTEXT();
  CudaHandle handle{};
  CUdeviceptr base = 0;
  size_t bytes = 0;
  FLEXLINK_TRY(driver_.run(driver_.memGetAddressRange, &base, &bytes, addressOf(pointer)));
  FLEXLINK_TRY(driver_.run(driver_.ipcGetMemHandle, &handle.ipc, addressOf(pointer)));
  handle.offset = addressOf(pointer) - base;
  handle.process = processToken();
  handle.address = addressOf(pointer);
  MemoryHandle opaque{};
  memcpy(opaque.data(), &handle, sizeof handle);
  return opaque;
}

Result<void*> CudaDevice::open(const MemoryHandle& opaque) {
  CudaHandle handle;
  memcpy(&handle, opaque.data(), sizeof handle);
  if (handle.process == processToken()) return reinterpret_cast<void*>(handle.address);
  FLEXLINK_IN_CONTEXT();
  const CaptureUndisturbed undisturbed(driver_);
  CUdeviceptr base = 0;
  const unsigned flags = kCudaIpcLazyPeer;
  FLEXLINK_TRY(driver_.run(driver_.ipcOpenMemHandle, &base, handle.ipc, flags));
  auto* opened = reinterpret_cast<void*>(base + handle.offset);
  std::lock_guard<std::mutex> lock(mutex_);
  opened_.emplace(opened, base);
  return opened;
}

Status CudaDevice::close(void* opened) {
  CUdeviceptr base = 0;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = opened_.find(opened);
    if (found == opened_.end()) return {};  // of this process
    base = found->second;
    opened_.erase(found);
  }
  FLEXLINK_IN_CONTEXT();
  const CaptureUndisturbed undisturbed(driver_);
  return driver_.run(driver_.ipcCloseMemHandle, base);
}

Result<StreamHandle> CudaDevice::makeStream() {
  FLEXLINK_IN_CONTEXT();
  int least = 0;
  int greatest = 0;  // the smallest number
  FLEXLINK_TRY(driver_.run(driver_.ctxGetStreamPriorityRange, &least, &greatest));
  CUstream stream = nullptr;
  const unsigned flags = kCudaStreamNonBlocking;
  FLEXLINK_TRY(driver_.run(driver_.streamCreateWithPriority, &stream, flags, greatest));
  return static_cast<StreamHandle>(stream);
}

Status CudaDevice::freeStream(StreamHandle stream) {
  FLEXLINK_IN_CONTEXT();
  return driver_.run(driver_.streamDestroy, streamOf(stream));
}

Status CudaDevice::query(StreamHandle stream) {
  FLEXLINK_IN_CONTEXT();
  const CUresult result = driver_.streamQuery(streamOf(stream));
  if (result == kCudaNotReady) return Status::inProgress();
  return driver_.check(driver_.streamQuery, result);
}

Status CudaDevice::copy(StreamHandle stream, void* dst, const void* src, size_t bytes) {
  if (bytes == 0) return {};
  FLEXLINK_IN_CONTEXT();
  return driver_.run(driver_.memcpyAsync, addressOf(dst), addressOf(src), bytes, streamOf(stream));
}

Status CudaDevice::writeValue(StreamHandle stream, uint64_t* at, uint64_t value) {
  FLEXLINK_IN_CONTEXT();
  const unsigned flags =
      kCudaWriteDefault;  // a barrier before it: what came first is visible first
  return driver_.run(driver_.streamWriteValue64, streamOf(stream), addressOf(at), value, flags);
}

Status CudaDevice::waitValue(StreamHandle stream, const uint64_t* at, uint64_t value) {
  FLEXLINK_IN_CONTEXT();
  const unsigned flags = kCudaWaitGreaterOrEqual;
  return driver_.run(driver_.streamWaitValue64, streamOf(stream), addressOf(at), value, flags);
}

Status CudaDevice::fold(StreamHandle stream, const FoldArgs& args) {
  if (args.count == 0) return {};
  FLEXLINK_TRY(kernels_);
  FoldPlan plan;
  FLEXLINK_TRY(planFold(args, mostBlocks(multiprocessors_, settings().maxCtas), &plan));
  FLEXLINK_IN_CONTEXT();
  const auto type = static_cast<int>(plan.kernel.type);
  const auto op = static_cast<int>(plan.kernel.op);
  void* parameters[] = {&plan.pack};
  const unsigned threads = cuda::kThreadsPerBlock;
  return driver_.run(driver_.launchKernel, functions_[type][op], plan.blocks, 1u, 1u, threads, 1u,
                     1u, 0u, streamOf(stream), static_cast<void**>(parameters), nullptr);
}

Result<bool> CudaDevice::capturing(StreamHandle stream) {
  FLEXLINK_IN_CONTEXT();
  int status = kCudaCaptureNone;
  FLEXLINK_TRY(driver_.run(driver_.streamIsCapturing, streamOf(stream), &status));
  return status != kCudaCaptureNone;
}

}  // namespace flexlink
