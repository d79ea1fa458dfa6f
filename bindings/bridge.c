/* SPDX-License-Identifier: Apache-2.0
 * Body of the module flexlink._cffi. The library is opened by its absolute path, never linked: a
 * vendor's libnccl.so.2 that the process already holds has the same SONAME and the same symbols,
 * and the dynamic linker would hand us that one. A preloaded copy of our own file is found again.
 * The including file lists the functions in FLEXLINK_FUNCTIONS(X).
 */
#define FLEXLINK_POINTER(name) static __typeof__(&name) name##Entry;
FLEXLINK_FUNCTIONS(FLEXLINK_POINTER)

static char bridgeError[512];

/* Fills the table; NULL, or why not. The caller holds the GIL or a lock: not for two threads. */
static const char* bridgeOpen(const char* path) {
  void* handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (handle == NULL) {
    snprintf(bridgeError, sizeof(bridgeError), "dlopen: %s", dlerror());
    return bridgeError;
  }
#define FLEXLINK_LOOKUP(name)                                                         \
  *(void**)&name##Entry = dlsym(handle, #name);                                       \
  if (name##Entry == NULL) {                                                          \
    snprintf(bridgeError, sizeof(bridgeError), "%s does not export %s", path, #name); \
    return bridgeError;                                                               \
  }
  FLEXLINK_FUNCTIONS(FLEXLINK_LOOKUP)
  return NULL;
}

/* Waits for all work that the stream holds now. timeoutMicros as in flexlinkStreamWait. */
static ncclResult_t bridgeWait(cudaStream_t stream, int64_t timeoutMicros) {
  uint64_t ticket = 0;
  ncclResult_t result = flexlinkStreamRecordEntry(stream, &ticket);
  if (result != ncclSuccess) return result;
  return flexlinkStreamWaitEntry(stream, ticket, timeoutMicros);
}
