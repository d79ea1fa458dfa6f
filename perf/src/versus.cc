// SPDX-License-Identifier: Apache-2.0
// The rounds and the table of versus.h.
#include "versus.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "control.h"
#include "fail.h"
#include "format.h"
#include "nccl_backend.h"
#include "peers.h"
#include "place.h"
#include "side.h"
#include "worker.h"
#include "workload.h"

namespace flexlink::perf {
namespace {

constexpr double kRoundSeconds = 0.02;  // of the slower side, when -n does not say otherwise
constexpr int kMostIterations = 2000;

// For the way out when something fails; set once both exist.
std::vector<Side>* gSides = nullptr;
std::string* gFolder = nullptr;

void endEverything() {
  for (Side& side : *gSides) side.kill();
  std::error_code ignored;
  std::filesystem::remove_all(*gFolder, ignored);
}

// Folders of comparisons that were killed: theirs is the process that their name says.
void removeOldFolders(const std::string& base) {
  constexpr std::string_view kPrefix = "flexlink-perf-";
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(base, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind(kPrefix, 0) != 0) continue;
    const int pid = std::atoi(name.c_str() + kPrefix.size());
    const bool dead = pid > 0 && ::kill(pid, 0) != 0 && errno == ESRCH;
    if (dead) std::filesystem::remove_all(entry.path(), ignored);  // others' cannot be removed
  }
}

// Memory-backed where there is such a place: the ranks' page must not wait for a disk.
std::string makeFolder() {
  for (const char* base : {"/dev/shm", "/tmp"}) {
    removeOldFolders(base);
    std::string path = std::string(base) + "/flexlink-perf-" + std::to_string(getpid()) + "-XXXXXX";
    if (mkdtemp(path.data())) return path;
  }
  fail("no folder in /dev/shm or /tmp: %s", std::strerror(errno));
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

struct Comparison {
  Case what;
  Shape shape;
  int ranks = 1;
  int iterations = 1;
  std::vector<double> seconds[2];  // by round; 0: ours
  uint64_t wrong[2] = {0, 0};
  double bound = 0;  // busbw

  double busbw(double time) const {
    return algBytes(what.collective, shape, what.type, ranks) / 1e9 / time *
           busFactor(what.collective, ranks);
  }
  // By pairs: the two runs of a pair see the same machine, whatever it was doing.
  double ratio() const {
    std::vector<double> ratios;
    for (size_t i = 0; i < seconds[0].size(); ++i) ratios.push_back(seconds[1][i] / seconds[0][i]);
    return median(ratios);
  }
};

class Versus {
 public:
  explicit Versus(const Options& options) : options_(options) {}
  int run();

 private:
  void startSides(const std::string& folder);
  void header() const;
  void compare(const Case& what);
  void prepare(const Case& what);
  int calibrate();
  void measureBound(Comparison* comparison);
  void print(const Comparison& comparison) const;

  const Options& options_;
  int ranks_ = 2;
  std::vector<Side> sides_{2};
  uint64_t seed_ = 0;
  bool allRight_ = true;
};

bool inPlaceByDefault(Collective collective) {
  return collective == Collective::kAllReduce || collective == Collective::kReduce ||
         collective == Collective::kBroadcast;
}

// Keeps freed memory: scratch buffers of large messages then do not fault anew every time.
std::vector<std::string> mallocSettings(const Options& options) {
  if (!options.noMmap) return {};
  return {"MALLOC_MMAP_MAX_=0", "MALLOC_TOP_PAD_=536870912", "MALLOC_TRIM_THRESHOLD_=-1"};
}

void Versus::startSides(const std::string& folder) {
  const StartPlan plans[2] = {planOfLibrary(libraryPath(options_.library), "ours"),
                              planOfPeer(options_.vs, ranks_)};
  const size_t bytes = options_.maxBytes;
  for (int i = 0; i < 2; ++i) {
    StartPlan plan = plans[i];
    for (const std::string& entry : mallocSettings(options_)) plan.environment.push_back(entry);
    if (options_.cuda) plan.environment.push_back(std::string(kDeviceVariable) + "=cuda");
    sides_[i].start(plan, ranks_, options_.pin, folder);
    char command[160];
    // Kinds of buffers and registration are the NCCL API's; other libraries take memory as it is.
    const bool nccl = i == 0 || isLibraryPath(options_.vs);
    std::snprintf(command, sizeof command, "buffers %zu %d %d %d", bytes,
                  nccl && options_.buffersOfLibrary ? 1 : 0, nccl ? options_.registration : 0,
                  options_.unalign);
    for (const std::string& answer : sides_[i].ask(command)) {
      if (answer != "ok") fail("%s: %s", plan.title.c_str(), answer.c_str());
    }
    sides_[i].pause();
  }
}

int Versus::run() {
  ranks_ = options_.processes > 0 ? options_.processes : 2;
  std::string folder = makeFolder();
  gFolder = &folder;
  gSides = &sides_;
  setFailHook(endEverything);
  startSides(folder);
  header();
  std::vector<Op> ops = {Op::kNone};
  if (reduces(options_.collective)) ops = options_.ops;
  const int root = hasRoot(options_.collective) ? std::max(options_.root, 0) : -1;
  const int inPlace =
      options_.inPlace >= 0 ? options_.inPlace : (inPlaceByDefault(options_.collective) ? 1 : 0);
  const auto factor = static_cast<size_t>(options_.stepFactor);
  for (const Type type : options_.types) {
    for (const Op op : ops) {
      for (size_t bytes = options_.minBytes; bytes <= options_.maxBytes;
           bytes = factor > 1 ? bytes * factor : bytes + options_.stepBytes) {
        compare({options_.collective, type, op, root, bytes, inPlace != 0});
      }
    }
  }
  for (Side& side : sides_) side.quit();
  std::filesystem::remove_all(folder);
  return allRight_ ? 0 : 1;
}

void Versus::header() const {
  std::printf("# %s: ours %s, theirs %s\n", collectiveName(options_.collective),
              sides_[0].name().c_str(), sides_[1].name().c_str());
  std::printf("# %d ranks on %zu cores (%s), %d interleaved rounds; %s%s\n", ranks_,
              usableCores().size(), cpuModel().c_str(), options_.rounds, wayText(options_).c_str(),
              options_.noMmap ? ", malloc without mmap" : "");
  if (options_.csv) {
    std::printf(
        "peer,collective,ranks,size,count,type,redop,root,inplace,rounds,iters,ours_us,ours_min_us,"
        "ours_max_us,theirs_us,theirs_min_us,theirs_max_us,ours_busbw,theirs_busbw,bound_busbw,"
        "ours_wrong,theirs_wrong,ratio\n");
    return;
  }
  std::printf("#\n# %10s  %12s  %8s  %6s  %6s  %7s  %7s  %6s  %6s  %7s  %6s  %6s  %6s  %6s\n",
              "size", "count", "type", "redop", "root", "inplace", "ours", "busbw", "#wrong",
              "theirs", "busbw", "#wrong", "bound", "%bound");
  std::printf("# %10s  %12s  %8s  %6s  %6s  %7s  %7s  %6s  %6s  %7s  %6s  %6s  %6s  %6s\n", "(B)",
              "(elements)", "", "", "", "", "(us)", "(GB/s)", "", "(us)", "(GB/s)", "", "(GB/s)",
              "");
  std::fflush(stdout);
}

void Versus::prepare(const Case& what) {
  char command[256];
  std::snprintf(command, sizeof command, "case %s %s %s %d %zu %d", collectiveName(what.collective),
                typeName(what.type), opName(what.op), what.root, what.bytes, what.inPlace ? 1 : 0);
  for (Side& side : sides_) {
    side.resume();
    for (const std::string& answer : side.ask(command)) {
      if (answer != "ok")
        fail("%s: %s", side.name().c_str(), answer.c_str() + (answer.rfind("no ", 0) == 0 ? 3 : 0));
    }
    side.pause();
  }
}

int Versus::calibrate() {
  if (options_.iterationsGiven) return options_.iterations;
  double slowest = 0;
  for (Side& side : sides_) {
    side.resume();
    side.askNumbers("run 2", "time");
    const std::vector<double> times = side.askNumbers("run 5", "time");
    slowest = std::max(slowest, *std::max_element(times.begin(), times.end()));
    side.pause();
  }
  return static_cast<int>(std::clamp(kRoundSeconds / slowest, 1.0, double{kMostIterations}));
}

void Versus::measureBound(Comparison* comparison) {
  sides_[0].resume();
  const std::vector<double> times = sides_[0].askNumbers("copy", "time");
  sides_[0].pause();
  const Case& what = comparison->what;
  const double copied = static_cast<double>(comparison->shape.largest() * typeSize(what.type));
  const double rate = 2 * copied * ranks_ / *std::max_element(times.begin(), times.end());
  const double traffic =
      trafficBytes(what.collective, comparison->shape, what.type, ranks_, what.inPlace);
  comparison->bound = comparison->busbw(traffic / rate);
}

void Versus::compare(const Case& what) {
  Comparison comparison;
  comparison.what = what;
  comparison.ranks = ranks_;
  comparison.shape = shapeOf(what.collective, what.bytes, what.type, ranks_);
  prepare(what);
  for (int i = 0; i < 2; ++i) {
    if (options_.checks == 0 || (what.inPlace && !checksInPlace(what.collective))) break;
    sides_[i].resume();
    for (const double wrong : sides_[i].askNumbers("check " + std::to_string(++seed_), "wrong")) {
      comparison.wrong[i] += static_cast<uint64_t>(wrong);
    }
    sides_[i].pause();
    allRight_ = allRight_ && comparison.wrong[i] == 0;
  }
  comparison.iterations = calibrate();
  const std::string command = "run " + std::to_string(comparison.iterations);
  for (int round = 0; round < options_.rounds; ++round) {
    for (int i = 0; i < 2; ++i) {
      sides_[i].resume();
      const std::vector<double> times = sides_[i].askNumbers(command, "time");
      sides_[i].pause();
      comparison.seconds[i].push_back(*std::max_element(times.begin(), times.end()));
    }
  }
  measureBound(&comparison);
  print(comparison);
}

void Versus::print(const Comparison& c) const {
  const double ours = median(c.seconds[0]);
  const double theirs = median(c.seconds[1]);
  const size_t bytes = c.shape.largest() * typeSize(c.what.type);
  if (options_.csv) {
    const auto [ourMin, ourMax] = std::minmax_element(c.seconds[0].begin(), c.seconds[0].end());
    const auto [theirMin, theirMax] = std::minmax_element(c.seconds[1].begin(), c.seconds[1].end());
    std::printf("%s,%s,%d,%zu,%zu,%s,%s,%d,%d,%d,%d,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.6f,%.6f,%.6f,",
                options_.vs.c_str(), collectiveName(c.what.collective), ranks_, bytes,
                c.shape.count, typeName(c.what.type), opName(c.what.op), c.what.root,
                c.what.inPlace ? 1 : 0, options_.rounds, c.iterations, ours * 1e6, *ourMin * 1e6,
                *ourMax * 1e6, theirs * 1e6, *theirMin * 1e6, *theirMax * 1e6, c.busbw(ours),
                c.busbw(theirs), c.bound);
    std::printf("%llu,%llu,%.4f\n", static_cast<unsigned long long>(c.wrong[0]),
                static_cast<unsigned long long>(c.wrong[1]), c.ratio());
  } else {
    std::printf("%12zu  %12zu  %8s  %6s  %6d  %7d", bytes, c.shape.count, typeName(c.what.type),
                opName(c.what.op), c.what.root, c.what.inPlace ? 1 : 0);
    for (int i = 0; i < 2; ++i) {
      const double time = i == 0 ? ours : theirs;
      std::printf("  %7s  %6s  %6g", shortNumber(time * 1e6, 7).c_str(),
                  shortNumber(c.busbw(time), 6).c_str(), static_cast<double>(c.wrong[i]));
    }
    std::printf("  %6s  %6s\nratio: %.3f\n", shortNumber(c.bound, 6).c_str(),
                shortNumber(100 * c.busbw(ours) / c.bound, 6).c_str(), c.ratio());
  }
  std::fflush(stdout);
}

}  // namespace

int runVersus(const Options& options) { return Versus(options).run(); }

int runNcclWorker(const Options& options) {
  const int rank = std::atoi(workerSetting(kRankVariable).c_str());
  const int ranks = std::atoi(workerSetting(kRanksVariable).c_str());
  setFailRank(rank);
  pinWorker(rank);
  NcclLibrary library;
  std::string error;
  if (!openLibrary(libraryPath(options.library), &library, &error)) fail("%s", error.c_str());
  SharedPage* page = mapPageFile(workerSetting(kPageVariable));
  if (!page) fail("cannot map the ranks' page: %s", std::strerror(errno));
  NcclSetup setup;
  setup.library = &library;
  setup.ranks = ranks;
  setup.firstRank = rank;
  const char* device = std::getenv(kDeviceVariable);
  std::vector<std::unique_ptr<Gpu>> gpus;
  if (device && std::string_view(device) == "cuda") gpus = openGpus(firstGpu(rank, 1, 0, 1), 1);
  for (const auto& gpu : gpus) setup.gpus.push_back(gpu.get());
  setup.id = idOverPage(library, rank, page);
  const std::unique_ptr<NcclBackend> backend = NcclBackend::create(setup, &error);
  if (!backend) fail("joining rank %d of %d failed: %s", rank, ranks, error.c_str());
  return serveWorker(backend.get());
}

}  // namespace flexlink::perf
