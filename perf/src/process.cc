// SPDX-License-Identifier: Apache-2.0
// process.h: the unique id by shared page or by file, then one thread for each -t.
#include "process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "fail.h"
#include "nccl_backend.h"
#include "table.h"

namespace flexlink::perf {
namespace {

constexpr int kIdSeconds = 120;  // until rank 0's id must be there

// 22nd field of /proc/PID/stat: with the pid it names one process for ever.
std::string parentKey() {
  std::ifstream file("/proc/" + std::to_string(getppid()) + "/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  const size_t end = text.rfind(')');  // the name before it may hold blanks
  std::istringstream fields(end == std::string::npos ? "" : text.substr(end + 1));
  std::string field;
  for (int i = 3; i <= 22; ++i) fields >> field;
  return field;
}

std::string defaultIdFile(const Place& place) {
  const char* base = std::getenv("TMPDIR");
  std::string folder =
      std::string(base && *base ? base : "/tmp") + "/flexlink-perf-" + std::to_string(getuid());
  mkdir(folder.c_str(), 0700);
  struct stat info {};
  const bool ours = lstat(folder.c_str(), &info) == 0 && S_ISDIR(info.st_mode) &&
                    info.st_uid == getuid() && (info.st_mode & 077) == 0;
  if (!ours) fail("%s must be a folder that only you can open; or give --id-file", folder.c_str());
  std::string name = place.job + "-" + parentKey();
  for (char& c : name) {
    if (c == '/') c = '_';
  }
  return folder + "/" + name + ".id";
}

void writeIdFile(const std::string& path, const ncclUniqueId& id) {
  const std::string temporary = path + ".new";
  unlink(temporary.c_str());
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  const bool written = fd >= 0 && write(fd, &id, sizeof id) == static_cast<ssize_t>(sizeof id);
  if (fd >= 0) close(fd);
  // By rename: readers see nothing or all of it.
  if (!written || rename(temporary.c_str(), path.c_str()) != 0) {
    fail("cannot write the unique id to %s: %s", path.c_str(), std::strerror(errno));
  }
}

ncclUniqueId readIdFile(const std::string& path) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(kIdSeconds);
  ncclUniqueId id{};
  while (std::chrono::steady_clock::now() < deadline) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    const ssize_t got = fd >= 0 ? read(fd, &id, sizeof id) : -1;
    if (fd >= 0) close(fd);
    if (got == static_cast<ssize_t>(sizeof id)) return id;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  fail(
      "no unique id in %s after %d s: did rank 0 start, and does it see the same folder? "
      "Set NCCL_COMM_ID=host:port, or --id-file to a shared path.",
      path.c_str(), kIdSeconds);
}

// The id, and the file to remove when all have joined.
ncclUniqueId exchangeId(const NcclLibrary& library, const Options& options, const Place& place,
                        SharedPage* page, std::string* file) {
  if (page) return idOverPage(library, place.process, page);
  const char* fixed = std::getenv("NCCL_COMM_ID");
  if (place.processes == 1 || (fixed && *fixed)) return makeUniqueId(library);
  const std::string path = options.idFile.empty() ? defaultIdFile(place) : options.idFile;
  if (place.process != 0) return readIdFile(path);
  unlink(path.c_str());
  const ncclUniqueId id = makeUniqueId(library);
  writeIdFile(path, id);
  *file = path;
  return id;
}

void onAlarm(int) {
  constexpr char kText[] = "flexlink_perf: no progress within the time of -T; giving up\n";
  const ssize_t written = write(STDERR_FILENO, kText, sizeof kText - 1);
  (void)written;
  _exit(1);
}

struct ThreadJob {
  const Options* options;
  Place place;
  SharedPage* page;
  const NcclLibrary* library;
  ncclUniqueId id;
  std::string idFile;
  std::vector<std::string> arguments;
};

// Of the ranks of one thread; empty on host memory.
std::vector<std::unique_ptr<Gpu>> gpusOf(const Options& options, const Place& place, int thread) {
  if (!options.cuda) return {};
  const int first = firstGpu(place.localProcess, options.threads, thread, options.devices);
  return openGpus(first, options.devices);
}

int runThread(const ThreadJob& job, int thread) {
  const Options& options = *job.options;
  const int participants = job.place.processes * options.threads;
  const int self = job.place.process * options.threads + thread;
  int core = -1;
  if (options.pin)
    core = pinToCore(job.place.localProcess * options.threads + thread, participants);
  const double before = residentBytes();
  const std::vector<std::unique_ptr<Gpu>> gpus = gpusOf(options, job.place, thread);
  NcclSetup setup{job.library,
                  job.id,
                  participants * options.devices,
                  self * options.devices,
                  options.devices,
                  options.async,
                  options.ctaPolicy,
                  {}};
  for (const auto& gpu : gpus) setup.gpus.push_back(gpu.get());
  std::string error;
  const std::unique_ptr<NcclBackend> backend = NcclBackend::create(setup, &error);
  if (!backend)
    fail("joining rank %d of %d failed: %s", setup.firstRank, setup.ranks, error.c_str());
  std::unique_ptr<Control> control;
  if (job.page) {
    control = std::make_unique<SharedControl>(job.page, participants, self);
  } else {
    control = std::make_unique<LibraryControl>(backend.get());
  }
  control->barrier();
  if (thread == 0 && !job.idFile.empty()) unlink(job.idFile.c_str());
  const int status = runTable({&options,
                               backend.get(),
                               control.get(),
                               job.library->version,
                               core,
                               {setup.gpus.begin(), setup.gpus.end()},
                               residentBytes() - before,
                               job.arguments});
  control->barrier();  // nobody leaves while others still print or check
  return status;
}

}  // namespace

int runProcess(const Options& options, const Place& place, SharedPage* page,
               const std::vector<std::string>& arguments) {
  setFailRank(place.process * options.threads * options.devices);
  signal(SIGALRM, onAlarm);
  const int total = place.processes * options.threads * options.devices;
  if (hasRoot(options.collective) && options.root >= total) {
    fail("-r %d: there are only %d ranks", options.root, total);
  }
  if (place.processes * options.threads > kMaxParticipants) {
    fail("more than %d threads in all", kMaxParticipants);
  }
  NcclLibrary library;
  std::string error;
  if (!openLibrary(libraryPath(options.library), &library, &error)) fail("%s", error.c_str());
  ThreadJob job{&options, place, page, &library, {}, {}, arguments};
  // One process alone needs no page from outside.
  if (!page && place.processes == 1) job.page = mapAnonymousPage();
  job.id = exchangeId(library, options, place, page, &job.idFile);
  std::atomic<int> status{0};  // joined with the threads
  std::vector<std::thread> threads;
  for (int i = 1; i < options.threads; ++i) {
    threads.emplace_back([&job, &status, i] {
      if (const int result = runThread(job, i)) status.store(result);
    });
  }
  if (const int result = runThread(job, 0)) status.store(result);
  for (std::thread& thread : threads) thread.join();
  return status.load();
}

}  // namespace flexlink::perf
