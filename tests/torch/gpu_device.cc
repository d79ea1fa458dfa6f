// SPDX-License-Identifier: Apache-2.0
// A device of torch whose memory, streams and events are those of the libcuda.so.1 that the process
// finds: of threads, in these tests. Torch's own operators run on the CPU, on copies; where memory
// lies and what waits for what is the driver's.
#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_as_complex_native.h>
#include <ATen/ops/view_as_real_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <dlfcn.h>
#include <torch/extension.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <memory>
#include <mutex>
#include <vector>

namespace {

using Handle = void*;
constexpr c10::DeviceType kType = c10::DeviceType::PrivateUse1;
constexpr int kNotReady = 600;

void* driver() {
  static void* library = dlopen("libcuda.so.1", RTLD_NOW);
  TORCH_CHECK(library != nullptr, dlerror());
  return library;
}

template <typename... Arguments>
int ask(const char* name, Arguments... arguments) {
  auto function = reinterpret_cast<int (*)(Arguments...)>(dlsym(driver(), name));
  TORCH_CHECK(function != nullptr, "libcuda.so.1 lacks ", name);
  return function(arguments...);
}

template <typename... Arguments>
void need(const char* name, Arguments... arguments) {
  const int result = ask(name, arguments...);
  TORCH_CHECK(result == 0, name, " returned ", result);
}

thread_local c10::DeviceIndex current = 0;
thread_local bool hasContext = false;
thread_local std::array<c10::StreamId, 16> currentStreams{};  // 0: the default one

void enter(c10::DeviceIndex device) {
  if (hasContext && device == current) return;
  Handle context = nullptr;
  need("cuInit", 0u);
  need("cuDevicePrimaryCtxRetain", &context, static_cast<int>(device));
  need("cuCtxSetCurrent", context);
  current = device;
  hasContext = true;
}

Handle handleOf(c10::StreamId id) { return reinterpret_cast<Handle>(id); }

Handle streamOf(c10::DeviceIndex device) {
  return handleOf(currentStreams.at(static_cast<size_t>(device)));
}

// From a pool, as CUDA's are.
c10::StreamId pooled() {
  static std::mutex mutex;
  static std::vector<c10::StreamId> all;
  static size_t next = 0;
  std::lock_guard<std::mutex> lock(mutex);
  if (all.size() < 16) {
    Handle made = nullptr;
    need("cuStreamCreateWithPriority", &made, 1u, 0);
    all.push_back(reinterpret_cast<c10::StreamId>(made));
    return all.back();
  }
  return all[next++ % all.size()];
}

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return kType; }
  c10::Device exchangeDevice(c10::Device device) const override {
    const c10::Device old = getDevice();
    enter(device.index());
    return old;
  }
  c10::Device getDevice() const override { return {kType, current}; }
  void setDevice(c10::Device device) const override { enter(device.index()); }
  void uncheckedSetDevice(c10::Device device) const noexcept override { enter(device.index()); }
  c10::Stream getStream(c10::Device device) const override {
    return c10::Stream(c10::Stream::UNSAFE, device,
                       currentStreams.at(static_cast<size_t>(device.index())));
  }
  c10::Stream getDefaultStream(c10::Device device) const override {
    return c10::Stream(c10::Stream::DEFAULT, device);
  }
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override {
    enter(device.index());
    return c10::Stream(c10::Stream::UNSAFE, device, pooled());
  }
  c10::Stream getNewStream(c10::Device device, int) const override {
    return getStreamFromGlobalPool(device, false);
  }
  c10::Stream exchangeStream(c10::Stream stream) const override {
    const c10::Stream old = getStream(stream.device());
    currentStreams.at(static_cast<size_t>(stream.device_index())) = stream.id();
    return old;
  }
  void* getStreamNativeHandle(const c10::Stream stream) const override {
    return handleOf(stream.id());
  }
  c10::DeviceIndex deviceCount() const noexcept override {
    int count = 0;
    return ask("cuInit", 0u) == 0 && ask("cuDeviceGetCount", &count) == 0
               ? static_cast<c10::DeviceIndex>(count)
               : c10::DeviceIndex(0);
  }
  bool queryStream(const c10::Stream& stream) const override {
    return ask("cuStreamQuery", handleOf(stream.id())) != kNotReady;
  }
  void synchronizeStream(const c10::Stream& stream) const override {
    need("cuStreamSynchronize", handleOf(stream.id()));
  }
  bool isStreamCapturing(const c10::Stream& stream) const override {
    int status = 0;
    need("cuStreamIsCapturing", handleOf(stream.id()), &status);
    return status != 0;
  }
  void record(void** event, const c10::Stream& stream, const c10::DeviceIndex,
              const c10::EventFlag) const override {
    enter(stream.device_index());
    if (*event == nullptr) need("cuEventCreate", event, 2u);
    need("cuEventRecord", *event, handleOf(stream.id()));
  }
  void block(void* event, const c10::Stream& stream) const override {
    if (event != nullptr) need("cuStreamWaitEvent", handleOf(stream.id()), event, 0u);
  }
  bool queryEvent(void* event) const override {
    const int result = event == nullptr ? 0 : ask("cuEventQuery", event);
    TORCH_CHECK(result == 0 || result == kNotReady, "cuEventQuery returned ", result);
    return result == 0;
  }
  void synchronizeEvent(void* event) const override { need("cuEventSynchronize", event); }
  void destroyEvent(void* event, const c10::DeviceIndex) const noexcept override {
    if (event != nullptr) ask("cuEventDestroy_v2", event);
  }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct Memory {
  Handle at;
  c10::DeviceIndex device;
  Handle stream;  // on which it was allocated
};

// Behind what its stream holds, and nothing else.
void release(void* opaque) {
  const std::unique_ptr<Memory> memory(static_cast<Memory*>(opaque));
  enter(memory->device);
  ask("cuStreamSynchronize", memory->stream);
  ask("cuMemFree_v2", memory->at);
}

struct DeviceAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device device(kType, current);
    if (bytes == 0) return {nullptr, device};
    enter(current);
    auto memory = std::make_unique<Memory>(Memory{nullptr, current, streamOf(current)});
    need("cuMemAlloc_v2", &memory->at, bytes);
    void* at = memory->at;
    return {at, memory.release(), &release, device};
  }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    need("cuMemcpyAsync", to, const_cast<void*>(from), bytes, streamOf(current));
  }
};

DeviceAllocator allocator;

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  c10::Allocator* getPinnedMemoryAllocator() const override { return at::getCPUAllocator(); }
  bool isPinnedPtr(const void*) const override { return false; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  void resizePrivateUse1Bytes(const c10::Storage& storage, size_t bytes) const override {
    c10::DataPtr fresh = allocator.allocate(bytes);
    const size_t kept = std::min(bytes, storage.nbytes());
    if (kept != 0) allocator.copy_data(fresh.get(), storage.data(), kept);
    storage.unsafeGetStorageImpl()->set_data_ptr_noswap(std::move(fresh));
    storage.unsafeGetStorageImpl()->set_nbytes(bytes);
  }
  c10::DeviceIndex deviceCount() const override { return Guard().deviceCount(); }
  void setCurrentDevice(c10::DeviceIndex device) const override { enter(device); }
  c10::DeviceIndex getCurrentDevice() const override { return current; }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex device) const override {
    return Guard().exchangeDevice({kType, device}).index();
  }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex device) const override {
    return device < 0 ? current : exchangeDevice(device);
  }
};

at::Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> dtype,
                 std::optional<at::Layout>, std::optional<at::Device> device, std::optional<bool>,
                 std::optional<at::MemoryFormat> format) {
  const c10::DeviceGuard guard(device && device->has_index() ? *device
                                                             : c10::Device(kType, current));
  return at::detail::empty_generic(size, &allocator,
                                   c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                   c10::dtype_or_default(dtype), format);
}

at::Tensor emptyStrided(at::IntArrayRef size, at::IntArrayRef stride,
                        std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                        std::optional<at::Device> device, std::optional<bool>) {
  const c10::DeviceGuard guard(device && device->has_index() ? *device
                                                             : c10::Device(kType, current));
  return at::detail::empty_strided_generic(size, stride, &allocator,
                                           c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                           c10::dtype_or_default(dtype));
}

void move(void* to, const void* from, size_t bytes, Handle stream) {
  if (bytes != 0) need("cuMemcpyAsync", to, const_cast<void*>(from), bytes, stream);
}

// The whole storage of a tensor, on the CPU, which knows how to read any layout of it.
at::Tensor storageOnCpu(const at::Tensor& tensor, Handle stream) {
  const size_t elements = tensor.storage().nbytes() / tensor.element_size();
  at::Tensor raw = at::empty({static_cast<int64_t>(elements)}, tensor.options().device(at::kCPU));
  move(raw.data_ptr(), tensor.storage().data(), raw.nbytes(), stream);
  need("cuStreamSynchronize", stream);
  return raw;
}

at::Tensor likeThat(const at::Tensor& raw, const at::Tensor& tensor) {
  return raw.as_strided(tensor.sizes(), tensor.strides(), tensor.storage_offset());
}

// On the current stream; nobody waits on a GPU between alike layouts.
at::Tensor copyFrom(const at::Tensor& from, const at::Tensor& to, bool) {
  const bool fromGpu = from.device().type() == kType;
  const bool toGpu = to.device().type() == kType;
  const c10::DeviceIndex device = (toGpu ? to : from).device().index();
  const c10::DeviceGuard guard(c10::Device(kType, device));
  const Handle stream = streamOf(device);
  if (from.scalar_type() == to.scalar_type() && from.sizes() == to.sizes() &&
      from.is_contiguous() && to.is_contiguous()) {
    move(to.data_ptr(), from.data_ptr(), from.nbytes(), stream);
    if (!toGpu || !fromGpu) need("cuStreamSynchronize", stream);
    return to;
  }
  const at::Tensor source = fromGpu ? likeThat(storageOnCpu(from, stream), from) : from;
  if (!toGpu) {
    const_cast<at::Tensor&>(to).copy_(source);
    return to;
  }
  const at::Tensor raw = storageOnCpu(to, stream);
  likeThat(raw, to).copy_(source);
  move(to.storage().mutable_data(), raw.data_ptr(), raw.nbytes(), stream);
  need("cuStreamSynchronize", stream);
  return to;
}

at::Tensor copyFromAndResize(const at::Tensor& from, const at::Tensor& to) {
  if (to.sizes() != from.sizes()) const_cast<at::Tensor&>(to).resize_(from.sizes());
  return copyFrom(from, to, false);
}

at::Scalar item(const at::Tensor& tensor) { return tensor.cpu().item(); }

const at::Tensor& resize(const at::Tensor& self, at::IntArrayRef size,
                         std::optional<at::MemoryFormat>) {
  const auto bytes = static_cast<size_t>(c10::multiply_integers(size)) * self.element_size();
  c10::StorageImpl* storage = self.storage().unsafeGetStorageImpl();
  if (storage->nbytes() < bytes) {
    c10::DataPtr grown = allocator.allocate(bytes);
    if (storage->nbytes() != 0) {
      allocator.copy_data(grown.get(), storage->data(), storage->nbytes());
    }
    storage->set_data_ptr_noswap(std::move(grown));
    storage->set_nbytes(bytes);
  }
  self.unsafeGetTensorImpl()->set_sizes_contiguous(size);
  return self;
}

at::Tensor& setStorage(at::Tensor& self, at::Storage storage, int64_t offset, at::IntArrayRef size,
                       at::IntArrayRef stride) {
  return at::native::set_storage_cpu_(self, std::move(storage), offset, size, stride);
}

void onTheCpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  at::native::cpu_fallback(op, stack);
}

}  // namespace

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&onTheCpu>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &emptyStrided);
  m.impl("_copy_from", &copyFrom);
  m.impl("_copy_from_and_resize", &copyFromAndResize);
  m.impl("_local_scalar_dense", &item);
  m.impl("resize_", &resize);
  m.impl("as_strided", &at::native::as_strided_tensorimpl);
  m.impl("view", &at::native::view);
  m.impl("view.dtype", &at::native::view_dtype);
  m.impl("view_as_real", &at::native::view_as_real);
  m.impl("view_as_complex", &at::native::view_as_complex);
  m.impl("_reshape_alias", &at::native::_reshape_alias);
  m.impl("unfold", &at::native::unfold);
  m.impl("set_.source_Storage_storage_offset", &setStorage);
}

PYBIND11_MODULE(flexlink_test_gpu, module) {
  at::RegisterPrivateUse1HooksInterface(new Hooks);
  c10::SetAllocator(kType, &allocator);
  module.def("device_count", [] { return static_cast<int>(Guard().deviceCount()); });
  module.def("current_device", [] { return static_cast<int>(current); });
  module.def("set_device", [](int device) { enter(static_cast<c10::DeviceIndex>(device)); });
  module.def("synchronize", [] { need("cuStreamSynchronize", streamOf(current)); });
}
