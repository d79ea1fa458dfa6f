/* SPDX-License-Identifier: Apache-2.0
 * A libcuda.so.1 whose GPUs are this host's memory and whose streams are flexlink.h's, so that
 * `flexlink perf --device cuda` runs whole without a GPU. HOST_CUDA_GPUS says how many there are,
 * HOST_CUDA_SPOIL=1 flips a bit in all that is copied from a device (a device that loses data).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { SUCCESS = 0, OUT_OF_MEMORY = 2, NO_DEVICE = 100, NOT_READY = 600, UNKNOWN = 999 };

typedef struct Range {
  uintptr_t start, end;
} Range;
static Range devices[64]; /* what cuMemAlloc gave */
static int deviceRanges;

static int findLibrary(struct dl_phdr_info* info, size_t size, void* path) {
  (void)size;
  if (strstr(info->dlpi_name, "libflexlink.so") || strstr(info->dlpi_name, "libnccl")) {
    *(const char**)path = info->dlpi_name;
  }
  return 0;
}

/* A function of the library that this process measures. */
static int call(const char* name, void* argument) {
  const char* path = NULL;
  dl_iterate_phdr(findLibrary, &path);
  void* library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
  int (*function)(void*) = library ? (int (*)(void*))dlsym(library, name) : NULL;
  const int result = function ? function(argument) : 3;
  return result == 0 ? SUCCESS : result == 7 ? NOT_READY : UNKNOWN;
}

static int gpus(void) { return getenv("HOST_CUDA_GPUS") ? atoi(getenv("HOST_CUDA_GPUS")) : 2; }

int cuInit(unsigned flags) { return flags || gpus() == 0 ? NO_DEVICE : SUCCESS; }
int cuDriverGetVersion(int* version) { return *version = 12040, SUCCESS; }
int cuGetErrorName(int error, const char** name) {
  *name = error == NO_DEVICE ? "CUDA_ERROR_NO_DEVICE" : "CUDA_ERROR_UNKNOWN";
  return SUCCESS;
}
int cuGetErrorString(int error, const char** text) {
  *text = error == NO_DEVICE ? "no CUDA-capable device is detected" : "unknown error";
  return SUCCESS;
}
int cuDeviceGetCount(int* count) { return *count = gpus(), SUCCESS; }
int cuDeviceGet(int* device, int ordinal) { return *device = ordinal, SUCCESS; }
int cuDeviceGetName(char* name, int length, int device) {
  snprintf(name, length, "Host memory as GPU %d", device);
  return SUCCESS;
}
int cuDeviceGetPCIBusId(char* id, int length, int device) {
  snprintf(id, length, "0001:4%x:00.0", device);
  return SUCCESS;
}
int cuDevicePrimaryCtxRetain(void** context, int device) {
  *context = (void*)(intptr_t)(device + 1);
  return SUCCESS;
}

static _Thread_local void* current;
int hostCudaContextsSet; /* how often a thread was given one */
int cuCtxSetCurrent(void* context) {
  __atomic_add_fetch(&hostCudaContextsSet, 1, __ATOMIC_RELAXED);
  return (current = context) ? SUCCESS : UNKNOWN;
}
int cuCtxGetCurrent(void** context) { return *context = current, SUCCESS; }

int cuMemAlloc_v2(unsigned long long* address, size_t bytes) {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
  void* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (memory == MAP_FAILED || deviceRanges == 64) return OUT_OF_MEMORY;
  *address = (uintptr_t)memory;
  devices[deviceRanges++] = (Range){*address, *address + bytes};
  return SUCCESS;
}

static int onDevice(unsigned long long address) {
  for (int i = 0; i < deviceRanges; ++i) {
    if (address >= devices[i].start && address < devices[i].end) return 1;
  }
  return 0;
}

int cuStreamCreateWithPriority(void** stream, unsigned flags, int priority) {
  return flags == 1 && priority == 0 ? call("flexlinkStreamCreate", stream) : UNKNOWN;
}
/* With the stream NULL the library's calls are done when they come back. */
int cuStreamQuery(void* stream) { return stream ? call("flexlinkStreamQuery", stream) : SUCCESS; }
int cuStreamSynchronize(void* stream) {
  return stream ? call("flexlinkStreamSynchronize", stream) : SUCCESS;
}

/* An event is the stream that it was recorded on. */
int cuEventCreate(void** event, unsigned flags) {
  *event = calloc(1, sizeof(void*));
  return flags == 2 && *event ? SUCCESS : UNKNOWN;
}
int cuEventRecord(void* event, void* stream) { return *(void**)event = stream, SUCCESS; }
int cuEventQuery(void* event) { return cuStreamQuery(*(void**)event); }
int cuEventDestroy_v2(void* event) { return free(event), SUCCESS; }

int cuMemcpyAsync(unsigned long long to, unsigned long long from, size_t bytes, void* stream) {
  const int waited = cuStreamSynchronize(stream);
  memcpy((void*)(uintptr_t)to, (const void*)(uintptr_t)from, bytes);
  if (getenv("HOST_CUDA_SPOIL") && onDevice(from) && !onDevice(to)) *(char*)(uintptr_t)to ^= 1;
  return waited;
}

int cuMemsetD8Async(unsigned long long to, unsigned char value, size_t bytes, void* stream) {
  const int waited = cuStreamSynchronize(stream);
  memset((void*)(uintptr_t)to, value, bytes);
  return waited;
}
