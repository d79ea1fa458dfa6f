// SPDX-License-Identifier: Apache-2.0
// The one list of everything a user can set by environment or NCCL config file: name, type,
// default, unit, prose. Read once, on first use. A setting that is not in this list does not exist.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace flexlink {

// "first-last", or one port. 0-0: the kernel chooses.
struct PortRange {
  int first = 0;
  int last = 0;
};

// C++ type, field, name, second name (asked when the first is not set), default, accepted form,
// unit, prose. The form is "low..high" for numbers, "a|b" for a choice, "secret" for text that no
// dump may show, "empty" for text that may be set to nothing, else "". A new setting is one line
// here and nothing anywhere else.
// clang-format off
#define FLEXLINK_SETTINGS(X) \
  X(double, timeoutSeconds, "FLEXLINK_TIMEOUT", "", "0", "0..", "s", "limit for one operation, also where a living peer does not come; 0: no limit") \
  X(double, initTimeoutSeconds, "FLEXLINK_INIT_TIMEOUT", "", "120", "0..", "s", "limit for creating a communicator; 0: no limit") \
  X(std::string, hostId, "FLEXLINK_HOSTID", "NCCL_HOSTID", "", "", "", "name of this host instead of the one found; ranks with different names are on different hosts") \
  X(std::string, secret, "FLEXLINK_SECRET", "", "", "secret", "", "shared secret of the job; connections need it where NCCL_COMM_ID replaces the unique id") \
  X(std::string, runDir, "FLEXLINK_RUN_DIR", "", "", "", "", "folder for probes; empty: XDG_RUNTIME_DIR, else /dev/shm") \
  X(std::string, device, "FLEXLINK_DEVICE", "", "", "host|cuda", "", "where buffers live; empty: cuda where a GPU and a vendor library are there, else host") \
  X(std::string, simd, "FLEXLINK_SIMD", "", "", "portable|avx2|avx512", "", "widest instruction set of the host kernels; empty: the widest that this CPU has") \
  X(bool, probe, "FLEXLINK_PROBE", "", "1", "", "", "write the probe that the diagnosis reads") \
  X(PortRange, portRange, "FLEXLINK_PORT_RANGE", "", "0-0", "", "", "TCP ports to listen on; 0-0: any") \
  X(int64_t, spinMicros, "FLEXLINK_SPIN_US", "", "-1", "-1..1000000", "us", "how long a waiter spins before it yields; -1: automatic") \
  X(int64_t, eagerBytes, "FLEXLINK_EAGER_BYTES", "", "-1", "-1..1048576", "B", "largest message that is sent without a credit; -1: automatic") \
  X(int64_t, chunkBytes, "FLEXLINK_CHUNK_BYTES", "", "-1", "-1..1073741824", "B", "size of the pieces of a large message; -1: automatic") \
  X(bool, cma, "FLEXLINK_CMA", "", "1", "", "", "use cross-memory attach between processes of one host where the kernel allows it") \
  X(std::string, copies, "FLEXLINK_COPIES", "", "cpu", "cpu|device", "", "who copies and adds between ranks of one host: the thread that waits, or streams of the device as on a GPU; as rank 0 has it") \
  X(std::string, staging, "FLEXLINK_STAGING", "", "auto", "auto|gpu|host", "", "where bytes wait on their way between GPUs of one host: gpu: in their memory, host: in pinned memory, over PCIe; auto: gpu where all reach each other, host beside the vendor") \
  X(bool, directCopy, "FLEXLINK_DIRECT", "", "1", "", "", "read and write peers' ncclMemAlloc buffers in place") \
  X(bool, deterministic, "FLEXLINK_DETERMINISTIC", "", "0", "", "", "fix the split between lanes by a table, so that also a vendor lane's bits repeat") \
  X(std::string, lanes, "FLEXLINK_LANES", "", "", "", "", "lanes that may carry collectives, e.g. vendor,memory; with parts their shares are fixed: vendor:3,memory:1; empty: our own") \
  X(std::string, vendorPath, "FLEXLINK_NCCL_PATH", "", "", "", "", "the vendor's libnccl.so.2, absolute; empty: the one that the program would use; on host memory a second copy of this library") \
  X(std::string, passThrough, "FLEXLINK_PASS_THROUGH", "", "auto", "auto|1|0", "", "hand every call to the vendor's library; auto: where the device is cuda and a vendor is found; 1: on any device; 0: never") \
  X(std::string, cudaKernels, "FLEXLINK_CUDA_KERNELS", "", "", "", "", "fatbin, cubin or PTX file with the CUDA kernels, instead of those inside the library; empty: those inside") \
  X(int64_t, maxCtas, "FLEXLINK_MAX_CTAS", "NCCL_MAX_CTAS", "-1", "-1..1000000", "", "blocks of a CUDA kernel of ours, at most; -1, 0: as many as a GPU holds at once") \
  X(std::string, library, "FLEXLINK_LIBRARY", "", "", "", "", "the libnccl.so.2 that the perf program and the tests open; the library itself does not use it") \
  X(std::string, commId, "NCCL_COMM_ID", "", "", "", "", "host:port of rank 0, instead of passing the unique id around") \
  X(std::string, socketIfname, "NCCL_SOCKET_IFNAME", "", "", "", "", "interfaces to use: prefixes with commas; = exact, ^ all but these") \
  X(std::string, links, "FLEXLINK_LINKS", "", "", "", "", "links for data and their order, e.g. tcp:eth0,tcp:eth1, and pcie: through shared memory to processes of this host that do not share it otherwise; empty: NICs that are directly connected to the peer or near the bootstrap's") \
  X(int64_t, sockets, "FLEXLINK_SOCKETS", "NCCL_NSOCKS_PERTHREAD", "-1", "-1..16", "", "TCP connections for each pair of NICs, as the side that dials has it; -1: 1, more where the NIC is of a cloud that limits each flow") \
  X(int64_t, pcieBytes, "FLEXLINK_PCIE_BUFFER", "", "8388608", "131072..268435456", "B", "pinned memory of a pcie link for each direction, as the side that dials has it") \
  X(std::string, profileCache, "FLEXLINK_PROFILE_CACHE", "", "", "", "", "folder for what is learnt of links, for the next job; off: none; empty: XDG_CACHE_HOME or ~/.cache, below it flexlink") \
  X(std::string, oobIfname, "NCCL_OOB_NET_IFNAME", "", "", "", "", "as NCCL_SOCKET_IFNAME, for bootstrap only") \
  X(std::string, socketFamily, "NCCL_SOCKET_FAMILY", "", "", "AF_INET|AF_INET6", "", "IPv4 or IPv6 only; empty: both") \
  X(int64_t, commBlocking, "NCCL_COMM_BLOCKING", "", "-1", "-1..1", "", "1: calls block, 0: they return ncclInProgress, for every communicator; -1: as its config says") \
  X(std::string, debug, "NCCL_DEBUG", "", "", "", "", "what is logged: VERSION, WARN, INFO, ABORT, TRACE; empty: nothing") \
  X(std::string, debugSubsys, "NCCL_DEBUG_SUBSYS", "", "", "", "", "subsystems with commas whose INFO and TRACE lines are logged; ^ all but these; ALL") \
  X(std::string, debugFile, "NCCL_DEBUG_FILE", "", "", "", "", "file for the log (%h host, %p pid, %% a percent sign); empty: stdout") \
  X(std::string, debugTimestampFormat, "NCCL_DEBUG_TIMESTAMP_FORMAT", "", "[%F %T] ", "empty", "", "local time before a line of the log, as in strftime; %3f: milliseconds, _: a blank; empty: none") \
  X(std::string, debugTimestampLevels, "NCCL_DEBUG_TIMESTAMP_LEVELS", "", "WARN", "empty", "", "levels with commas whose lines begin with the time; ^ all but these; ALL; empty: none")
// clang-format on

struct Settings {
#define X(type, field, ...) type field{};
  FLEXLINK_SETTINGS(X)
#undef X
};

enum class SettingType { kInt64, kBool, kDouble, kString, kPortRange };

struct Setting {
  const char* name;
  const char* secondName;
  SettingType type;
  const char* defaultText;
  const char* form;
  const char* unit;
  const char* prose;
};

enum class OriginKind { kDefault, kEnvironment, kFile };

// Where a value came from; path belongs to the process's settings and is never freed.
struct Origin {
  OriginKind kind = OriginKind::kDefault;
  const char* path = "";
};

// One setting as it stands. text is canonical ("1" for "yes"); "***" for a secret that is set.
struct SettingValue {
  const Setting* setting;
  std::string text;
  std::string origin;  // "default", "environment" or "file PATH"
};

// The values, read on the first call. Any thread; the reference stays valid for the whole process,
// also after settingsReload (which then leaves the old values in it).
const Settings& settings();

// All of the list in its order, same lifetime as settings().
const std::vector<SettingValue>& settingValues();

// Text of `name` from the environment, else from $NCCL_CONF_FILE or ~/.nccl.conf, else from
// /etc/nccl.conf; nullptr where none has it. It is also right for names outside the list. The
// pointer is valid until the environment changes. Never logs.
const char* lookup(const char* name, Origin* origin = nullptr);

// One line per setting: name, value, origin, unit, prose; separated by tabs.
std::string settingsDump();

// Reads environment and files again. For tests: a running library keeps what it read first.
void settingsReload();

// The pure parts, here for their tests.
struct NamedText {
  std::string name;
  std::string text;
};
std::vector<NamedText> parseConfigText(std::string_view text);  // NAME=value lines, # comments
std::string nearestSettingName(std::string_view unknown);       // "" if nothing is near
bool parseSetting(std::string_view text, const char* form, int64_t* value);
bool parseSetting(std::string_view text, const char* form, double* value);
bool parseSetting(std::string_view text, const char* form, bool* value);
bool parseSetting(std::string_view text, const char* form, std::string* value);
bool parseSetting(std::string_view text, const char* form, PortRange* value);

}  // namespace flexlink
