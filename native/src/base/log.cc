// SPDX-License-Identifier: Apache-2.0
// The log's filter, its sink and its line format. It reads NCCL_DEBUG* by lookup, not through
// settings(), because reading the settings may log.
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/settings.h"

namespace flexlink {

namespace internal {
constinit std::atomic<uint64_t> logFilter{kLogUnread};
}

namespace {

struct NamedBit {
  const char* name;
  LogSubsystem bit;
};

constexpr NamedBit kSubsystems[] = {
    {"INIT", LogSubsystem::kInit},
    {"COLL", LogSubsystem::kColl},
    {"P2P", LogSubsystem::kP2p},
    {"SHM", LogSubsystem::kShm},
    {"NET", LogSubsystem::kNet},
    {"GRAPH", LogSubsystem::kGraph},
    {"TUNING", LogSubsystem::kTuning},
    {"ENV", LogSubsystem::kEnv},
    {"ALLOC", LogSubsystem::kAlloc},
    {"CALL", LogSubsystem::kCall},
    {"PROXY", LogSubsystem::kProxy},
    {"NVLS", LogSubsystem::kNvls},
    {"BOOTSTRAP", LogSubsystem::kBootstrap},
    {"REG", LogSubsystem::kReg},
    {"PROFILE", LogSubsystem::kProfile},
    {"RAS", LogSubsystem::kRas},
    {"ALL", LogSubsystem::kAll},
};

constexpr const char* kLevels[] = {"NONE", "VERSION", "WARN", "INFO", "ABORT", "TRACE"};

constexpr uint32_t kDefaultSubsystems = static_cast<uint32_t>(LogSubsystem::kInit) |
                                        static_cast<uint32_t>(LogSubsystem::kBootstrap) |
                                        static_cast<uint32_t>(LogSubsystem::kEnv);

// Guards reading the configuration; never taken for writing a line.
constinit std::mutex readMutex;
constinit int fileFd = -1;  // under readMutex: once opened, its number is kept for ever

// Where lines go. Release when the configuration is read, acquire in logMessage. A new file takes
// over the old one's number by dup3, so that no line under way meets a closed descriptor.
constinit std::atomic<int> sink{STDOUT_FILENO};

// Which lines begin with the time, and how it is written.
struct Stamp {
  uint32_t levels = 0;  // bit: LogLevel
  std::string format;   // strftime's, and %1f to %9f
  std::unique_ptr<const Stamp> previous;
};

// Release when the configuration is read, acquire in logMessage. What it points to never changes
// and is never freed: a line under way may still use it.
constinit std::atomic<const Stamp*> stamp{nullptr};

// What is wrong with the variables themselves; logged when the filter stands.
using Complaints = std::vector<std::string>;

LogLevel readLevel(const char* text, Complaints* complaints) {
  if (text == nullptr || *text == '\0' || strcmp(text, "0") == 0) return LogLevel::kNone;
  for (size_t i = 0; i < std::size(kLevels); ++i) {
    if (strcasecmp(text, kLevels[i]) == 0) return static_cast<LogLevel>(i);
  }
  // Whoever wrote it wants to see something, and a typing error must not be silent.
  complaints->push_back(std::string("NCCL_DEBUG=") + text +
                        ": expected NONE, VERSION, WARN, INFO, ABORT or TRACE; using WARN");
  return LogLevel::kWarn;
}

// A list with commas, ^ in front: all but these. `bitsOf` gives the bits of a name.
template <typename BitsOf>
uint32_t readBits(const char* text, const BitsOf& bitsOf) {
  const bool inverted = *text == '^';
  uint32_t named = 0;
  std::string_view rest(text + (inverted ? 1 : 0));
  while (!rest.empty()) {
    const std::string name(rest.substr(0, rest.find(',')));
    rest.remove_prefix(std::min(rest.size(), name.size() + 1));
    if (!name.empty()) named |= bitsOf(name);
  }
  return inverted ? ~named : named;
}

uint32_t subsystemBits(const std::string& name, Complaints* complaints) {
  std::string known;
  for (const NamedBit& entry : kSubsystems) {
    if (strcasecmp(entry.name, name.c_str()) == 0) return static_cast<uint32_t>(entry.bit);
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  complaints->push_back("NCCL_DEBUG_SUBSYS: no subsystem '" + name +
                        "', it is left out; there are " + known);
  return 0;
}

uint32_t readSubsystems(const char* text, Complaints* complaints) {
  if (text == nullptr || *text == '\0') return kDefaultSubsystems;
  return readBits(text, [&](const std::string& name) { return subsystemBits(name, complaints); });
}

std::string hostName() {
  char name[256] = "";
  gethostname(name, sizeof(name) - 1);
  name[strcspn(name, ".")] = '\0';
  return name;
}

// %h: host, %p: pid, %%: percent sign; anything else after % stays as it is.
std::string expandFileName(const char* pattern) {
  std::string path;
  for (const char* at = pattern; *at != '\0'; ++at) {
    if (*at != '%') {
      path += *at;
      continue;
    }
    switch (at[1]) {
      case 'h':
        path += hostName();
        break;
      case 'p':
        path += std::to_string(getpid());
        break;
      case '%':
        path += '%';
        break;
      default:
        path += '%';
        continue;
    }
    ++at;
  }
  return path;
}

// Appends, so that lines of processes that share a file never overwrite each other.
int openSink(const char* pattern, Complaints* complaints) {
  if (pattern == nullptr || *pattern == '\0') return STDOUT_FILENO;
  const std::string path = expandFileName(pattern);
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644);
  if (fd < 0) {
    complaints->push_back("NCCL_DEBUG_FILE=" + std::string(pattern) + ": cannot open " + path +
                          ": " + strerror(errno) + "; logging to stdout");
    return STDOUT_FILENO;
  }
  if (fileFd < 0) {
    fileFd = fd;
  } else {
    dup3(fd, fileFd, O_CLOEXEC);
    close(fd);
  }
  return fileFd;
}

uint32_t levelBit(LogLevel level) { return 1u << static_cast<unsigned>(level); }

uint32_t stampBits(const std::string& name, Complaints* complaints) {
  const auto* found =
      std::find_if(std::begin(kLevels) + 1, std::end(kLevels),
                   [&](const char* level) { return strcasecmp(level, name.c_str()) == 0; });
  if (found != std::end(kLevels)) return 1u << (found - std::begin(kLevels));
  if (strcasecmp(name.c_str(), "ALL") == 0) return ~0u;
  complaints->push_back("NCCL_DEBUG_TIMESTAMP_LEVELS: no level '" + name +
                        "', it is left out; there are VERSION, WARN, INFO, ABORT, TRACE, ALL");
  return 0;
}

uint32_t readStampLevels(const char* text, Complaints* complaints) {
  if (text == nullptr) return levelBit(LogLevel::kWarn);
  return readBits(text, [&](const std::string& name) { return stampBits(name, complaints); });
}

void readStamp(Complaints* complaints) {
  auto fresh = std::make_unique<Stamp>();
  fresh->levels = readStampLevels(lookup("NCCL_DEBUG_TIMESTAMP_LEVELS"), complaints);
  const char* format = lookup("NCCL_DEBUG_TIMESTAMP_FORMAT");
  fresh->format = format != nullptr ? format : "[%F %T] ";
  std::replace(fresh->format.begin(), fresh->format.end(), '_', ' ');
  const Stamp* now = stamp.load(std::memory_order_acquire);
  if (now != nullptr && now->levels == fresh->levels && now->format == fresh->format) return;
  fresh->previous.reset(now);
  stamp.store(fresh.release(), std::memory_order_release);
}

uint64_t readConfiguration(Complaints* complaints) {
  const LogLevel level = readLevel(lookup("NCCL_DEBUG"), complaints);
  const uint64_t subsystems = readSubsystems(lookup("NCCL_DEBUG_SUBSYS"), complaints);
  // As in NCCL, a file is made only where there is more to say than the version.
  const bool wantsFile = level > LogLevel::kVersion;
  sink.store(wantsFile ? openSink(lookup("NCCL_DEBUG_FILE"), complaints) : STDOUT_FILENO,
             std::memory_order_release);
  readStamp(complaints);
  const uint64_t filter = subsystems << 8 | static_cast<uint64_t>(level);
  internal::logFilter.store(filter, std::memory_order_relaxed);
  return filter;
}

// Log lines are best effort: a sink that fails loses its lines and nothing else.
void writeAll(int fd, const char* data, size_t bytes) {
  while (bytes > 0) {
    const ssize_t written = write(fd, data, bytes);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    data += written;
    bytes -= static_cast<size_t>(written);
  }
}

// %3f becomes the milliseconds of `nanos`, and so on from %1f to %9f; the rest is strftime's.
std::string withFractions(const std::string& format, long nanos) {
  char digits[16];
  snprintf(digits, sizeof(digits), "%09ld", nanos);
  std::string text;
  for (size_t at = 0; at < format.size(); ++at) {
    const bool fraction = format[at] == '%' && at + 2 < format.size() && format[at + 2] == 'f' &&
                          format[at + 1] >= '1' && format[at + 1] <= '9';
    if (fraction) {
      text.append(digits, static_cast<size_t>(format[at + 1] - '0'));
      at += 2;
      continue;
    }
    text += format[at];
    if (format[at] == '%' && at + 1 < format.size()) text += format[++at];  // also of %%3f
  }
  return text;
}

std::string timeText(LogLevel level) {
  const Stamp* how = stamp.load(std::memory_order_acquire);
  if (how == nullptr || (how->levels & levelBit(level)) == 0 || how->format.empty()) return "";
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  localtime_r(&now.tv_sec, &parts);
  char text[256];
  const size_t length =
      strftime(text, sizeof(text), withFractions(how->format, now.tv_nsec).c_str(), &parts);
  std::replace(text, text + length, '\n', ' ');  // one record, one line
  return {text, length};
}

std::string prefix(LogLevel level, const char* file, int line) {
  std::string text = timeText(level);
  if (level == LogLevel::kVersion) return text;
  text += hostName() + ":" + std::to_string(getpid()) + ":" + std::to_string(gettid()) + " [0] ";
  if (level != LogLevel::kInfo) {
    const char* slash = strrchr(file, '/');
    text += std::string(slash != nullptr ? slash + 1 : file) + ":" + std::to_string(line) + " ";
  }
  return text + "NCCL " + kLevels[static_cast<int>(level)] + " ";
}

void appendFormatted(std::string* text, const char* format, va_list arguments) {
  va_list again;
  va_copy(again, arguments);
  const int length = vsnprintf(nullptr, 0, format, arguments);
  if (length > 0) {
    const size_t start = text->size();
    text->resize(start + static_cast<size_t>(length) + 1);
    vsnprintf(text->data() + start, static_cast<size_t>(length) + 1, format, again);
    text->pop_back();
    // One record, one line: also where a peer's or a user's text is part of it.
    std::replace(text->begin() + static_cast<ptrdiff_t>(start), text->end(), '\n', ' ');
  }
  va_end(again);
}

void complain(const Complaints& complaints) {
  for (const std::string& text : complaints) FLEXLINK_WARN("%s", text.c_str());
}

}  // namespace

void logMessage(LogLevel level, LogSubsystem subsystem, const char* file, int line,
                const char* format, ...) {
  if (!logEnabled(level, subsystem)) return;
  const int savedErrno = errno;
  std::string text = prefix(level, file, line);
  va_list arguments;
  va_start(arguments, format);
  errno = savedErrno;  // for %m
  appendFormatted(&text, format, arguments);
  va_end(arguments);
  text += '\n';
  writeAll(sink.load(std::memory_order_acquire), text.data(), text.size());
  errno = savedErrno;
}

void logReset() {
  Complaints complaints;
  {
    std::lock_guard lock(readMutex);
    readConfiguration(&complaints);
  }
  complain(complaints);
}

uint64_t internal::logReadFilter() {
  const int savedErrno = errno;
  Complaints complaints;
  uint64_t filter;
  {
    std::lock_guard lock(readMutex);
    filter = logFilter.load(std::memory_order_relaxed);  // another thread may have been first
    if (filter == kLogUnread) filter = readConfiguration(&complaints);
  }
  complain(complaints);
  errno = savedErrno;
  return filter;
}

}  // namespace flexlink
