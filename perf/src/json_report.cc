// SPDX-License-Identifier: Apache-2.0
// A writer just large enough for json_report.h.
#include "json_report.h"

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>

namespace flexlink::perf {
namespace {

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", byte);
      out += escaped;
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string number(double value) {
  if (std::isnan(value)) return "\"nan\"";
  char buffer[400];
  std::snprintf(buffer, sizeof buffer, "%f", value);
  return buffer;
}

std::string truth(bool value) { return value ? "\"true\"" : "\"false\""; }

// Collects "key":value pairs; text() closes the object.
class Object {
 public:
  Object& add(const char* key, const std::string& json) {
    if (!body_.empty()) body_ += ',';
    body_.append(quoted(key)).append(":").append(json);
    return *this;
  }
  Object& add(const char* key, int value) { return add(key, std::to_string(value)); }
  Object& add(const char* key, size_t value) { return add(key, std::to_string(value)); }
  std::string text() const { return "{" + body_ + "}"; }

 private:
  std::string body_;
};

template <typename Items, typename Write>
std::string list(const Items& items, Write write) {
  std::string out = "[";
  for (const auto& item : items) {
    if (out.size() > 1) out += ',';
    out += write(item);
  }
  return out + "]";
}

// NAME=value, with the value blanked when the name says that it is nobody's business.
std::string withoutSecret(const std::string& entry) {
  const size_t equals = entry.find('=');
  if (equals == std::string::npos) return entry;
  const std::string name = entry.substr(0, equals);
  for (const char* word : {"SECRET", "TOKEN", "PASSWORD", "KEY", "CREDENTIAL"}) {
    if (name.find(word) != std::string::npos) return name + "=***";
  }
  return entry;
}

std::string configText(const Options& o) {
  Object config;
  config.add("nthreads", o.threads).add("ngpus", o.devices);
  config.add("minimum_bytes", o.minBytes).add("maximum_bytes", o.maxBytes);
  if (o.stepFactor > 1) {
    config.add("step_factor", o.stepFactor);
  } else {
    config.add("step_bytes", o.stepBytes);
  }
  config.add("warmup_iters", o.warmup).add("iterations", o.iterations);
  config.add("aggregated_iterations", o.aggregated).add("validation", o.checks).add("graph", 0);
  config.add("blocking_collectives", truth(o.blocking != 0));
  config.add("per_iter_timing", truth(o.perIteration != 0));
  config.add("per_iter_skip", o.perIterationSkip);
  config.add("parallel_init", truth(o.parallelInit != 0));
  return config.text();
}

std::string deviceObject(const DeviceLine& device) {
  Object object;
  object.add("rank", device.rank).add("group", device.group).add("pid", device.pid);
  object.add("hostname", quoted(device.host)).add("device", device.device);
  return object.add("device_hex", quoted(pciText(device.pci)))
      .add("device_info", quoted(device.text))
      .text();
}

std::string halfObject(const Options& options, const Half& half) {
  Object object;
  object.add(options.cpuTime ? "cpu_time" : "time", number(half.microseconds));
  object.add("alg_bw", number(half.algbw)).add("bus_bw", number(half.busbw));
  object.add("nwrong", half.wrong ? number(static_cast<double>(*half.wrong)) : "null");
  if (half.bound) object.add("bound_bus_bw", number(*half.bound));
  return object.text();
}

std::string iterationsObject(const Options& options, const Half& half) {
  const IterationStats stats =
      statsOf({half.iterations.begin() + options.perIterationSkip, half.iterations.end()});
  Object object;
  object.add("skipped_iterations", options.perIterationSkip);
  object.add("min_us", number(stats.min * 1e6)).add("max_us", number(stats.max * 1e6));
  object.add("avg_us", number(stats.average * 1e6)).add("p50_us", number(stats.p50 * 1e6));
  object.add("p95_us", number(stats.p95 * 1e6)).add("p99_us", number(stats.p99 * 1e6));
  object.add("stdev_us", number(stats.deviation * 1e6));
  object.add("cv_pct", number(stats.variationPercent()));
  object.add("times_us", list(half.iterations, [](double s) { return number(s * 1e6); }));
  return object.text();
}

std::string rowObject(const Options& options, const Row& row) {
  char root[16];
  std::snprintf(root, sizeof root, "%6i", row.root);
  Object object;
  object.add("size", row.bytes).add("count", row.count).add("type", quoted(typeName(row.type)));
  object.add("redop", quoted(opName(row.op))).add("root", quoted(root));
  object.add("out_of_place", halfObject(options, row.outOfPlace));
  if (options.perIteration) {
    object.add("out_of_place_per_iter", iterationsObject(options, row.outOfPlace));
  }
  object.add("in_place", halfObject(options, row.inPlace));
  if (options.perIteration) {
    object.add("in_place_per_iter", iterationsObject(options, row.inPlace));
  }
  object.add("actual_iterations", options.iterations).add("experiment_name", quoted(""));
  return object.text();
}

std::string linkObject(const LinkUse& use) {
  Object object;
  object.add("rank", use.now.rank).add("name", quoted(use.now.name));
  object.add("peer", use.now.peer < 0 ? "null" : std::to_string(use.now.peer));
  object.add("peer_host", quoted(use.now.host)).add("state", quoted(use.now.state));
  object.add("why", quoted(use.now.why));
  object.add("sent_bytes", std::to_string(use.sent));
  object.add("received_bytes", std::to_string(use.received));
  object.add("share", use.share < 0 ? "null" : number(use.share));
  object.add("replays", std::to_string(use.replays));
  object.add("fitted_bw", number(use.now.bytesPerSecond / 1e9));
  object.add("fitted_latency", number(use.now.latency * 1e6));
  return object.text();
}

}  // namespace

std::string jsonText(const JsonReport& report) {
  const Options& options = *report.options;
  Object file;
  file.add("version", 3).add("start_time", quoted(report.startTime));
  file.add("args", list(report.arguments, quoted));
  file.add("env", list(report.environment,
                       [](const std::string& entry) { return quoted(withoutSecret(entry)); }));
  file.add("nccl_version", report.libraryVersion).add("config", configText(options));
  file.add("devices", list(report.devices, deviceObject));
  file.add("results", list(report.rows, [&](const Row& row) { return rowObject(options, row); }));
  Object bounds;
  bounds.add("count", static_cast<size_t>(report.wrong)).add("okay", truth(report.wrong == 0));
  file.add("out_of_bounds", bounds.text());
  Object bandwidth;
  bandwidth.add("bandwidth", number(report.averageBusbw));
  bandwidth.add(
      "okay", wantedBandwidth() ? truth(reachesWanted(report.averageBusbw)) : quoted("unchecked"));
  file.add("average_bus_bandwidth", bandwidth.text());
  if (options.links) file.add("links", list(report.links, linkObject));
  file.add("end_time", quoted(report.endTime));
  return file.text();
}

std::string writeJson(const JsonReport& report, const std::string& path, std::string* error) {
  std::string target = path;
  std::FILE* file = std::fopen(target.c_str(), "wx");
  for (int i = 0; !file && errno == EEXIST; ++i) {
    target = path + "." + std::to_string(i);
    file = std::fopen(target.c_str(), "wx");
  }
  if (!file) {
    *error = "cannot write " + target + ": " + std::strerror(errno);
    return {};
  }
  const std::string text = jsonText(report);
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  if (std::fclose(file) == 0 && written) return target;
  *error = "writing " + target + " failed: " + std::strerror(errno);
  return {};
}

}  // namespace flexlink::perf
