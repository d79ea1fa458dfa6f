// SPDX-License-Identifier: Apache-2.0
// printf formats of the table. Widths and blanks are nccl-tests' own, so that its parsers work.
#include "format.h"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "flexlink/nccl.h"

namespace flexlink::perf {
namespace {

// The release whose text this is.
constexpr char kFormatVersion[] = "2.19.6";

std::string text(const char* format, ...) __attribute__((format(printf, 1, 2)));
std::string text(const char* format, ...) {
  char buffer[1024];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(buffer, sizeof buffer, format, arguments);
  va_end(arguments);
  return buffer;
}

std::string headerLine(const Options& options, const char* const (&left)[5],
                       const std::vector<const char*>& half, const std::string& stamp) {
  std::string line =
      text("# %10s  %12s  %8s  %6s  %6s", left[0], left[1], left[2], left[3], left[4]);
  for (int side = 0; side < 2; ++side) {
    for (size_t i = 0; i < half.size(); ++i) {
      const bool narrow = i >= 1 && i <= 3;
      line += text(narrow ? "  %6s" : "  %7s", half[i]);
    }
  }
  line += text(" %*s", options.timestamps ? 19 : 0, stamp.c_str());
  return line;
}

std::string halfText(const Half& half) {
  std::string out = text("  %7s  %6s  %6s", shortNumber(half.microseconds, 7).c_str(),
                         shortNumber(half.algbw, 6).c_str(), shortNumber(half.busbw, 6).c_str());
  out += half.wrong ? text("  %6g", static_cast<double>(*half.wrong)) : "    N/A";
  if (half.iterations.empty()) return out;
  const IterationStats stats = statsOf(half.iterations);
  for (const double value :
       {stats.min * 1e6, stats.max * 1e6, stats.p99 * 1e6, stats.variationPercent()}) {
    out += text("  %7s", shortNumber(value, 7).c_str());
  }
  return out;
}

std::vector<double> afterSkip(const Options& options, const std::vector<double>& all) {
  if (all.empty()) return {};
  return {all.begin() + options.perIterationSkip, all.end()};
}

Half skipped(const Options& options, Half half) {
  half.iterations = afterSkip(options, half.iterations);
  return half;
}

}  // namespace

std::string shortNumber(double value, int width) {
  for (const char* format : {"%*.2f", "%*.1f", "%*.0f"}) {
    char buffer[512];
    if (std::snprintf(buffer, sizeof buffer, format, width, value) <= width) return buffer;
  }
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, width >= 7 ? "%*.1e" : "%*.0e", width, value);
  return buffer;
}

IterationStats statsOf(std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  const size_t n = seconds.size();
  const auto nearest = [n](size_t percent) {
    return std::min(n - 1, (n * percent + 99) / 100 - 1);
  };
  IterationStats stats;
  stats.min = seconds.front();
  stats.max = seconds.back();
  stats.p50 = seconds[n / 2];
  stats.p95 = seconds[nearest(95)];
  stats.p99 = seconds[nearest(99)];
  double sum = 0;
  for (const double value : seconds) sum += value;
  stats.average = sum / static_cast<double>(n);
  double squares = 0;
  for (const double value : seconds) squares += (value - stats.average) * (value - stats.average);
  stats.deviation = std::sqrt(squares / static_cast<double>(n));
  return stats;
}

std::string wayText(const Options& o) {
  const char* maker = o.buffersOfLibrary ? "ncclMemAlloc" : o.cuda ? "cuMemAlloc" : "malloc";
  const char* way = o.cuda    ? "CUDA, enqueued on one stream for each rank"
                    : o.async ? "host memory, enqueued on host streams"
                              : "host memory, blocking calls";
  return text("%s, buffers of %s", way, maker);
}

std::string preamble(const Options& o, int libraryVersion) {
  std::string out = text("# nccl-tests version %s nccl-headers=%d nccl-library=%d\n",
                         kFormatVersion, NCCL_VERSION_CODE, libraryVersion);
  out += text("# Collective test starting: %s_perf\n", collectiveName(o.collective));
  const bool factor = o.stepFactor > 1;
  out += text(
      "# nThread %d nGpus %d minBytes %ld maxBytes %ld step: %ld(%s) warmup iters: %d iters: "
      "%d agg iters: %d validation: %d graph: %d unalign: %d\n",
      o.threads, o.devices, static_cast<long>(o.minBytes), static_cast<long>(o.maxBytes),
      factor ? static_cast<long>(o.stepFactor) : static_cast<long>(o.stepBytes),
      factor ? "factor" : "bytes", o.warmup, o.iterations, o.aggregated, o.checks, 0, o.unalign);
  if (o.blocking == 1) {
    out += "# Blocking Enabled: wait and barrier after each inner iteration (-m) \n";
  } else if (o.blocking == 2) {
    out += "# Blocking Enabled: wait after each inner iteration (-m), no barrier \n";
  } else if (o.blocking == 3) {
    out +=
        "# Blocking Enabled: wait and barrier after each outer iteration (-n); time excludes "
        "barrier \n";
  }
  if (o.perIteration) {
    out += "# Per-Iteration Report: host clock timing; i_* uses max over process rows";
    if (o.perIterationSkip) {
      out += text("; summary skips first %d iterations", o.perIterationSkip);
    }
    out += " \n";
  }
  if (o.parallelInit) {
    out += "# Parallel Init Enabled: threads call into NcclInitRank concurrently \n";
  }
  return out + "#\n# Using devices\n";
}

std::string pciText(unsigned long pci) {
  return text("%04lx:%02lx:%02lx", pci >> 16, pci >> 8 & 0xff, pci & 0xff);
}

std::string deviceText(const DeviceLine& line) {
  return text("#  Rank %2d Group %2d Pid %6d on %10s device %2d [%s] %s\n", line.rank, line.group,
              line.pid, line.host.c_str(), line.device, pciText(line.pci).c_str(),
              line.text.c_str());
}

std::string tableHeader(const Options& o) {
  const char* time = o.cpuTime ? "cputime" : "time";
  std::vector<const char*> names = {time, "algbw", "busbw", "#wrong"};
  std::vector<const char*> units = {"(us)", "(GB/s)", "(GB/s)", ""};
  std::string out = "#\n" + text("# %10s  %12s  %8s  %6s  %6s", "", "", "", "", "");
  if (o.perIteration) {
    for (const char* name : {"i_min", "i_max", "i_p99", "i_cv%"}) names.push_back(name);
    for (const char* unit : {"(us)", "(us)", "(us)", "(%)"}) units.push_back(unit);
    out += std::string(14, ' ') + "out-of-place (+ per-iteration)" + std::string(32, ' ') +
           "in-place (+ per-iteration)\n";
  } else {
    out += std::string(11, ' ') + "out-of-place" + std::string(23, ' ') + "in-place          \n";
  }
  out += headerLine(o, {"size", "count", "type", "redop", "root"}, names,
                    o.timestamps ? "timestamp" : "");
  out += o.bound ? "  bound   bound\n" : "\n";
  out += headerLine(o, {"(B)", "(elements)", "", "", ""}, units,
                    o.timestamps ? "%Y-%m-%d %H:%M:%S" : "");
  return out + (o.bound ? " (GB/s)  (GB/s)\n" : "\n");
}

std::string rowText(const Options& o, const Row& row) {
  std::string out =
      text("%12li  %12li  %8s  %6s  %6i", static_cast<long>(row.bytes),
           static_cast<long>(row.count), typeName(row.type), opName(row.op), row.root);
  out += halfText(skipped(o, row.outOfPlace)) + halfText(skipped(o, row.inPlace));
  if (o.timestamps) out += text("%21s", timeOfDay().c_str());
  if (o.bound) {
    for (const Half* half : {&row.outOfPlace, &row.inPlace}) {
      out += text("  %6s", half->bound ? shortNumber(*half->bound, 6).c_str() : "N/A");
    }
  }
  return out + "\n";
}

std::string footer(const Options& o, uint64_t wrong, double averageBusbw) {
  const char* verdict = !wantedBandwidth() ? "" : reachesWanted(averageBusbw) ? "OK" : "FAILED";
  std::string out = text("# %-20s : %d %s\n", "Out of bounds values", static_cast<int>(wrong),
                         wrong ? "FAILED" : "OK");
  out += text("# %-20s : %g %s\n", "Avg bus bandwidth", averageBusbw, verdict);
  return out + text("#\n# Collective test concluded: %s_perf\n#\n\n", collectiveName(o.collective));
}

std::string csvHeader() {
  return "collective,ranks,size,count,type,redop,root,inplace,time_us,algbw,busbw,wrong,bound_"
         "busbw\n";
}

std::string csvText(const Row& row) {
  std::string out;
  for (const bool inPlace : {false, true}) {
    const Half& half = inPlace ? row.inPlace : row.outOfPlace;
    out += text("%s,%d,%zu,%zu,%s,%s,%d,%d,%.4f,%.6f,%.6f,", collectiveName(row.collective),
                row.ranks, row.bytes, row.count, typeName(row.type), opName(row.op), row.root,
                inPlace ? 1 : 0, half.microseconds, half.algbw, half.busbw);
    if (half.wrong) out += std::to_string(*half.wrong);
    out += half.bound ? text(",%.6f\n", *half.bound) : ",\n";
  }
  return out;
}

std::optional<double> wantedBandwidth() {
  const char* wanted = std::getenv("NCCL_TESTS_MIN_BW");
  if (!wanted || !*wanted) return std::nullopt;
  return std::atof(wanted);
}

bool reachesWanted(double averageBusbw) {
  const std::optional<double> wanted = wantedBandwidth();
  return !wanted || averageBusbw >= *wanted * 0.9;  // a tenth is noise
}

std::string timeOfDay() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  char buffer[64];
  std::strftime(buffer, sizeof buffer, "%Y-%m-%d %H:%M:%S", &parts);
  return buffer;
}

}  // namespace flexlink::perf
