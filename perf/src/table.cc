// SPDX-License-Identifier: Apache-2.0
// The rows of table.h: sizes × types × ops × roots, each half warmed up, timed, checked.
#include "table.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "fail.h"
#include "json_report.h"
#include "links.h"
#include "place.h"

namespace flexlink::perf {
namespace {

constexpr int kHostWords = 4;    // doubles that carry a host's name between ranks,
constexpr int kCharsInWord = 6;  // this many characters each, as a whole number
constexpr int kModelWords = 6;   // the same for a GPU's name
constexpr useconds_t kLinksOldMicros = 50000;

// Text as numbers that doubles hold exactly, and back.
void pack(const std::string& text, int words, std::vector<double>* numbers) {
  for (int word = 0; word < words; ++word) {
    double value = 0;
    for (int i = kCharsInWord - 1; i >= 0; --i) {
      const size_t at = static_cast<size_t>(word) * kCharsInWord + static_cast<size_t>(i);
      value = value * 256 + (at < text.size() ? static_cast<unsigned char>(text[at]) : 0);
    }
    numbers->push_back(value);
  }
}

std::string unpack(const double* numbers, int words) {
  std::string text;
  for (int word = 0; word < words; ++word) {
    for (auto left = static_cast<uint64_t>(numbers[word]); left; left /= 256) {
      text += static_cast<char>(left % 256);
    }
  }
  return text;
}

class Table {
 public:
  explicit Table(const TableSetup& setup)
      : setup_(setup),
        options_(*setup.options),
        prints_(setup.backend->firstRank() == 0),
        workload_(setup.backend, setup.control,
                  {options_.maxBytes, options_.buffersOfLibrary, options_.registration,
                   options_.unalign}) {}

  int run();

 private:
  void start();
  void cycle();
  void rows(const Case& what);
  Half half(const Case& what);
  void boundOf(const Case& what, Half* half) const;
  std::vector<double> slowest(const std::vector<double>& mine);
  void finish(double bandwidth);
  std::vector<LinkReading> links(std::string* error) const;
  void reportLinks();
  std::vector<DeviceLine> devices();
  void print(const std::string& text) const;
  void reportMemory(double before);

  TableSetup setup_;
  const Options& options_;
  bool prints_;
  Workload workload_;
  JsonReport report_;
  uint64_t seed_ = 0;
  uint64_t wrong_ = 0;
  double copyRate_ = 0;  // bytes read and written in a second by all ranks together; 0: not known
  std::vector<LinkReading> linksBefore_;
  double busbwSum_ = 0;
  int halves_ = 0;
};

void Table::print(const std::string& text) const {
  if (!prints_) return;
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

std::vector<DeviceLine> Table::devices() {
  const int locals = setup_.backend->localRanks();
  const std::string model = cpuModel();
  std::vector<DeviceLine> lines(static_cast<size_t>(setup_.backend->ranks()));
  for (int local = 0; local < locals; ++local) {
    const Gpu* gpu = setup_.gpus.empty() ? nullptr : setup_.gpus[local];
    std::vector<double> mine = {static_cast<double>(getpid()), static_cast<double>(setup_.core),
                                gpu ? static_cast<double>(gpu->ordinal()) : 0,
                                gpu ? static_cast<double>(gpu->pciId()) : 0};
    const size_t words = mine.size();
    pack(hostName(), kHostWords, &mine);
    pack(gpu ? gpu->name() : "", kModelWords, &mine);
    int rank = local;
    for (const auto& row : setup_.control->exchange(mine)) {
      DeviceLine& line = lines[static_cast<size_t>(rank)];
      line = {rank, 0, static_cast<int>(row[0]), unpack(&row[words], kHostWords), 0, 0, ""};
      line.device = static_cast<int>(row[2]);
      line.pci = static_cast<unsigned long>(row[3]);
      const std::string core =
          row[1] < 0 ? "" : ", core " + std::to_string(static_cast<int>(row[1]));
      line.text = gpu ? unpack(&row[words + kHostWords], kModelWords) : model + core;
      rank += locals;
    }
  }
  return lines;
}

void Table::start() {
  report_.options = &options_;
  report_.arguments = setup_.arguments;
  report_.startTime = timeOfDay();
  report_.libraryVersion = setup_.libraryVersion;
  for (char** entry = environ; *entry; ++entry) report_.environment.emplace_back(*entry);
  report_.devices = devices();
  std::string text = preamble(options_, setup_.libraryVersion);
  for (const DeviceLine& line : report_.devices) text += deviceText(line);
  text += "# " + setup_.backend->name() + ", " + wayText(options_) + "\n";
  print(text + (options_.csv ? csvHeader() : tableHeader(options_)));
}

int Table::run() {
  const double before = residentBytes();
  start();
  std::string ignored;  // of the first reading: the second one says it
  if (options_.links) linksBefore_ = links(&ignored);
  for (int cycle = 0; options_.cycles == 0 || cycle < options_.cycles; ++cycle) this->cycle();
  const double bandwidth = halves_ ? busbwSum_ / halves_ : 0;
  finish(bandwidth);
  if (options_.memory) reportMemory(before);
  return wrong_ == 0 && reachesWanted(bandwidth) ? 0 : 1;
}

void Table::cycle() {
  std::vector<Op> ops = {Op::kNone};
  if (reduces(options_.collective)) ops = options_.ops;
  // nccl-tests names the op of sendrecv, which has none, "sum".
  if (options_.collective == Collective::kSendRecv) ops = {Op::kSum};
  int firstRoot = -1;
  int lastRoot = -1;
  if (hasRoot(options_.collective)) {
    const bool all = options_.root < 0;
    firstRoot = all ? 0 : options_.root;
    lastRoot = all ? setup_.backend->ranks() - 1 : options_.root;
  }
  for (const Type type : options_.types) {
    for (const Op op : ops) {
      for (int root = firstRoot; root <= lastRoot; ++root) {
        rows({options_.collective, type, op, root, 0, false});
      }
    }
  }
}

void Table::rows(const Case& what) {
  const auto factor = static_cast<size_t>(options_.stepFactor);
  for (size_t bytes = options_.minBytes; bytes <= options_.maxBytes;
       bytes = factor > 1 ? bytes * factor : bytes + options_.stepBytes) {
    Case out = what;
    out.bytes = bytes;
    Case in = out;
    in.inPlace = true;
    Row row;
    row.collective = what.collective;
    row.ranks = setup_.backend->ranks();
    row.type = what.type;
    row.op = what.op;
    row.root = what.root;
    row.outOfPlace = half(out);
    if (options_.bound) {
      const double copied = static_cast<double>(workload_.shape().largest() * typeSize(what.type));
      copyRate_ = 2 * copied * row.ranks / workload_.copySeconds();
    }
    row.inPlace = half(in);
    boundOf(out, &row.outOfPlace);
    boundOf(in, &row.inPlace);
    row.count = workload_.shape().count;
    row.bytes = workload_.shape().largest() * typeSize(what.type);
    print(options_.csv ? csvText(row) : rowText(options_, row));
    if (prints_ && !options_.json.empty()) report_.rows.push_back(row);
  }
}

Half Table::half(const Case& what) {
  alarm(static_cast<unsigned>(options_.timeout));
  const std::string refusal = workload_.prepare(what);
  if (!refusal.empty()) fail("%s", refusal.c_str());
  workload_.run(std::max(1, options_.warmup));
  const LoopTime loop =
      workload_.time({options_.iterations, options_.aggregated,
                      static_cast<Blocking>(options_.blocking), options_.perIteration != 0});
  const double seconds =
      foldOver(setup_.control, loop.seconds, static_cast<Fold>(options_.average));
  const int ranks = setup_.backend->ranks();
  Half half;
  half.microseconds = (options_.cpuTime ? loop.cpuSeconds : seconds) * 1e6;
  half.algbw = algBytes(what.collective, workload_.shape(), what.type, ranks) / 1e9 / seconds;
  half.busbw = half.algbw * busFactor(what.collective, ranks);
  if (options_.perIteration) half.iterations = slowest(loop.iterations);
  if (options_.checks > 0 && !(what.inPlace && !checksInPlace(what.collective))) half.wrong = 0;
  for (int i = 0; half.wrong == 0U && i < options_.checks; ++i) {
    const auto mine = static_cast<double>(workload_.check(++seed_));
    half.wrong = static_cast<uint64_t>(foldOver(setup_.control, mine, Fold::kSum));
  }
  wrong_ += half.wrong.value_or(0);
  busbwSum_ += half.busbw;
  ++halves_;
  return half;
}

void Table::boundOf(const Case& what, Half* half) const {
  if (!options_.bound) return;
  const int ranks = setup_.backend->ranks();
  const Shape& shape = workload_.shape();
  const double seconds =
      trafficBytes(what.collective, shape, what.type, ranks, what.inPlace) / copyRate_;
  half->bound = algBytes(what.collective, shape, what.type, ranks) / 1e9 / seconds *
                busFactor(what.collective, ranks);
}

std::vector<double> Table::slowest(const std::vector<double>& mine) {
  std::vector<double> result;
  for (size_t from = 0; from < mine.size(); from += kMaxNumbers) {
    const size_t to = std::min(mine.size(), from + kMaxNumbers);
    const auto rows = setup_.control->exchange(
        {mine.begin() + static_cast<ptrdiff_t>(from), mine.begin() + static_cast<ptrdiff_t>(to)});
    for (size_t i = 0; i < to - from; ++i) {
      double longest = 0;
      for (const auto& row : rows) longest = std::max(longest, row[i]);
      result.push_back(longest);
    }
  }
  return result;
}

std::vector<LinkReading> Table::links(std::string* error) const {
  std::vector<LinkReading> found;
  const std::string path = prints_ ? ownProbePath() : "";
  *error = "the library writes no probe here; is FLEXLINK_PROBE=0 set?";
  if (!path.empty() && readLinks(path, &found, error)) error->clear();
  return found;
}

void Table::reportLinks() {
  // The library writes them now and then, while it works: once more when the last ones are old.
  usleep(kLinksOldMicros);
  workload_.run(1);
  std::string error;
  report_.links = linkUses(linksBefore_, links(&error));
  print(error.empty() ? linksText(report_.links) : "# Links: " + error + "\n");
}

void Table::finish(double bandwidth) {
  alarm(0);
  print(footer(options_, wrong_, bandwidth));
  if (options_.links) reportLinks();
  if (!prints_ || options_.json.empty()) return;
  report_.wrong = wrong_;
  report_.averageBusbw = bandwidth;
  report_.endTime = timeOfDay();
  std::string error;
  const std::string path = writeJson(report_, options_.json, &error);
  if (path.empty()) fail("%s", error.c_str());
  print("# Writing JSON output to " + path + "\n");
}

void Table::reportMemory(double before) {
  const double buffers =
      2.0 * static_cast<double>(options_.maxBytes) * setup_.backend->localRanks();
  const double running = std::max(0.0, residentBytes() - before);
  const double mebi = 1024.0 * 1024;
  char line[256];
  std::snprintf(line, sizeof line,
                "# %-20s : Initialization %.1f MB | User-Allocated %.1f MB | Collective %.1f MB | "
                "Total  %.1f MB\n",
                "Host memory usage", setup_.setUpMemory / mebi, buffers / mebi, running / mebi,
                (setup_.setUpMemory + buffers + running) / mebi);
  print(line);
}

}  // namespace

int runTable(const TableSetup& setup) { return Table(setup).run(); }

double residentBytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  long total = 0;
  long resident = 0;
  if (!file) return 0;
  const int read = std::fscanf(file, "%ld %ld", &total, &resident);
  std::fclose(file);
  return read == 2 ? static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) : 0;
}

}  // namespace flexlink::perf
