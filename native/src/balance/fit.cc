// SPDX-License-Identifier: Apache-2.0
// Water filling without caps (exact, by the corners of the paths' curves); with caps a small
// linear program for each finishing time, and the earliest time that fits by bisection.
#include "balance/fit.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

namespace flexlink {
namespace {

bool isPositive(double value) { return std::isfinite(value) && value > 0; }
bool isAmount(double value) { return std::isfinite(value) && value >= 0; }

Status checkPath(const PathModel& path, size_t i) {
  if (!isPositive(path.rate)) {
    return makeStatus(Code::kInvalidArgument, "path %zu: rate is %g bytes/s; it must be positive",
                      i, path.rate);
  }
  if (!isAmount(path.latency) || !isAmount(path.chunk)) {
    return makeStatus(Code::kInvalidArgument,
                      "path %zu: latency is %g s, chunk is %g bytes; neither may be negative", i,
                      path.latency, path.chunk);
  }
  if (path.stages < 1 || path.steps < 1) {
    return makeStatus(Code::kInvalidArgument, "path %zu: %d stages, %d steps; at least 1 of each",
                      i, path.stages, path.steps);
  }
  return {};
}

Status checkCap(const Cap& cap, size_t i, size_t paths) {
  if (!isPositive(cap.rate)) {
    return makeStatus(Code::kInvalidArgument, "cap %zu: rate is %g bytes/s; it must be positive", i,
                      cap.rate);
  }
  bool good = cap.crossings.size() == paths;
  for (double crossings : cap.crossings) good = good && isAmount(crossings);
  if (good) return {};
  return makeStatus(Code::kInvalidArgument,
                    "cap %zu: crossings must be %zu numbers that are not negative", i, paths);
}

Status check(std::span<const PathModel> paths, std::span<const Cap> caps) {
  if (paths.empty() || paths.size() > kMostPaths || caps.size() > kMostPaths) {
    return makeStatus(Code::kInvalidArgument, "%zu paths and %zu caps: 1 to %d and 0 to %d",
                      paths.size(), caps.size(), kMostPaths, kMostPaths);
  }
  for (size_t i = 0; i < paths.size(); ++i) FLEXLINK_TRY(checkPath(paths[i], i));
  for (size_t i = 0; i < caps.size(); ++i) FLEXLINK_TRY(checkCap(caps[i], i, paths.size()));
  return {};
}

// Every path's curve of bytes over time has two corners: where it starts, and where its messages
// outgrow a chunk. Between neighbouring corners the sum is a straight line.
double finishWithoutCaps(std::span<const PathModel> paths, double bytes) {
  struct Corner {
    double at, steeper;
  };
  std::vector<Corner> corners;
  for (const PathModel& path : paths) {
    double knee = kneeOf(path);
    double first = knee > 0 ? path.rate / path.stages : path.rate;
    corners.push_back({startOf(path), first});
    if (knee > 0) corners.push_back({timeOf(path, knee), path.rate - first});
  }
  std::sort(corners.begin(), corners.end(),
            [](const Corner& a, const Corner& b) { return a.at < b.at; });
  double through = 0, slope = 0, at = 0;
  for (const Corner& corner : corners) {
    double until = through + slope * (corner.at - at);
    if (until >= bytes) break;
    through = until;
    at = corner.at;
    slope += corner.steeper;
  }
  return at + (bytes - through) / slope;
}

// Maximises the sum of x, where rows·x <= limits and x >= 0, by the simplex method. The limits are
// not negative, so that it starts at 0; Bland's rule ends it and fills low columns first.
class Simplex {
 public:
  static constexpr size_t kRows = size_t{2} * kMostPaths;
  static constexpr size_t kColumns = kMostPaths;

  Simplex(size_t rows, size_t columns) : rows_(rows), columns_(columns) {
    for (size_t c = 0; c < columns; ++c) gain_[c] = 1;
    for (size_t i = 0; i < columns + rows; ++i) names_[i] = i;
  }

  double& at(size_t row, size_t column) { return table_[row][column]; }
  double& limit(size_t row) { return limit_[row]; }

  std::vector<double> solve() {
    for (;;) {
      size_t column = entering();
      if (column == columns_) break;
      size_t row = leaving(column);
      if (row == rows_) break;  // without bound: the callers' rows leave none
      pivot(row, column);
    }
    std::vector<double> x(columns_, 0.0);
    for (size_t r = 0; r < rows_; ++r) {
      if (basic(r) < columns_) x[basic(r)] = std::max(limit_[r], 0.0);
    }
    return x;
  }

 private:
  static constexpr double kNothing = 1e-12;  // rounding of sums of a few numbers near 1

  size_t& basic(size_t row) { return names_[columns_ + row]; }

  size_t entering() const {
    size_t best = columns_;
    for (size_t c = 0; c < columns_; ++c) {
      if (gain_[c] > kNothing && (best == columns_ || names_[c] < names_[best])) best = c;
    }
    return best;
  }

  size_t leaving(size_t column) {
    size_t best = rows_;
    double least = 0;
    for (size_t r = 0; r < rows_; ++r) {
      if (table_[r][column] <= kNothing) continue;
      double ratio = limit_[r] / table_[r][column];
      if (best == rows_ || ratio < least || (ratio == least && basic(r) < basic(best))) {
        best = r;
        least = ratio;
      }
    }
    return best;
  }

  void pivot(size_t row, size_t column) {
    double by = 1 / table_[row][column];
    for (size_t c = 0; c < columns_; ++c) table_[row][c] *= by;
    table_[row][column] = by;
    limit_[row] *= by;
    for (size_t r = 0; r < rows_; ++r) {
      if (r == row) continue;
      limit_[r] -= table_[r][column] * limit_[row];
      subtract(table_[r], table_[row], column);
    }
    subtract(gain_, table_[row], column);
    std::swap(names_[column], basic(row));
  }

  using Row = std::array<double, kColumns>;

  // Takes the pivot row out of another; in the pivot column the leaving variable takes its place.
  void subtract(Row& from, const Row& pivotRow, size_t column) const {
    double factor = from[column];
    from[column] = 0;
    for (size_t c = 0; c < columns_; ++c) from[c] -= factor * pivotRow[c];
  }

  size_t rows_, columns_;
  std::array<Row, kRows> table_{};
  std::array<double, kRows> limit_{};
  Row gain_{};
  std::array<size_t, kRows + kColumns> names_{};  // of columns, then of rows: which variable it is
};

// A power of two, so that nothing is rounded.
double unitOf(double bytes) { return std::ldexp(1.0, std::ilogb(bytes)); }

// The most that paths with these limits carry together when a cap's members may use `seconds` of
// its rate. `unit` bytes are 1 inside, so that "nothing" means the same for every size.
std::vector<double> most(std::span<const double> limits, std::span<const Cap> caps, double seconds,
                         double unit) {
  size_t count = limits.size();
  Simplex program(count + caps.size(), count);
  for (size_t i = 0; i < count; ++i) {
    program.at(i, i) = 1;
    program.limit(i) = limits[i] / unit;
  }
  for (size_t k = 0; k < caps.size(); ++k) {
    for (size_t i = 0; i < count; ++i) program.at(count + k, i) = caps[k].crossings[i];
    program.limit(count + k) = caps[k].rate * seconds / unit;
  }
  std::vector<double> bytes = program.solve();
  for (double& each : bytes) each *= unit;
  return bytes;
}

std::vector<double> limitsAt(std::span<const PathModel> paths, double seconds) {
  std::vector<double> limits;
  for (const PathModel& path : paths) limits.push_back(bytesWithin(path, seconds));
  return limits;
}

double sumOf(std::span<const double> numbers) {
  double sum = 0;
  for (double number : numbers) sum += number;
  return sum;
}

bool fits(std::span<const double> bytes, std::span<const Cap> caps, double seconds) {
  for (const Cap& cap : caps) {
    double crossing = 0;
    for (size_t i = 0; i < bytes.size(); ++i) crossing += bytes[i] * cap.crossings[i];
    if (crossing > cap.rate * seconds) return false;
  }
  return true;
}

// Until two neighbouring numbers are left: nothing finer can be said.
double finishWithCaps(std::span<const PathModel> paths, std::span<const Cap> caps, double bytes,
                      double tooEarly) {
  auto enough = [&](double seconds) {
    return sumOf(most(limitsAt(paths, seconds), caps, seconds, unitOf(bytes))) >= bytes;
  };
  double late = 2 * tooEarly;
  while (std::isfinite(late) && !enough(late)) late *= 2;
  if (!std::isfinite(late)) return late;
  for (double early = tooEarly;;) {
    double middle = early + (late - early) / 2;
    if (middle <= early || middle >= late) return late;
    (enough(middle) ? late : early) = middle;
  }
}

Status tooSlow(double bytes) {
  return makeStatus(Code::kInvalidArgument, "%g bytes take longer than any number can say", bytes);
}

// Rounding leaves the sum a little off: the path that carries most takes the rest.
void settle(std::vector<double>& shares, double bytes) {
  auto largest = std::max_element(shares.begin(), shares.end());
  *largest += bytes - sumOf(shares);
}

}  // namespace

Result<Fit> fit(std::span<const PathModel> paths, std::span<const Cap> caps, double bytes) {
  FLEXLINK_TRY(check(paths, caps));
  if (!isAmount(bytes)) return makeStatus(Code::kInvalidArgument, "%g bytes to share out", bytes);
  if (bytes == 0) return Fit{0, std::vector<double>(paths.size(), 0.0)};
  Fit found;
  found.seconds = finishWithoutCaps(paths, bytes);
  if (!std::isfinite(found.seconds)) return tooSlow(bytes);
  found.bytes = limitsAt(paths, found.seconds);
  if (!fits(found.bytes, caps, found.seconds)) {
    found.seconds = finishWithCaps(paths, caps, bytes, found.seconds);
    if (!std::isfinite(found.seconds)) return tooSlow(bytes);
    found.bytes = most(limitsAt(paths, found.seconds), caps, found.seconds, unitOf(bytes));
  }
  settle(found.bytes, bytes);
  return found;
}

Result<double> fullRate(std::span<const PathModel> paths, std::span<const Cap> caps) {
  FLEXLINK_TRY(check(paths, caps));
  std::vector<double> rates;
  for (const PathModel& path : paths) rates.push_back(path.rate);
  if (!fits(rates, caps, 1)) rates = most(rates, caps, 1, unitOf(sumOf(rates)));
  return sumOf(rates);
}

double aloneBelow(std::span<const PathModel> paths) {
  if (paths.size() < 2) return std::numeric_limits<double>::infinity();
  size_t first = 0;
  for (size_t i = 1; i < paths.size(); ++i) {
    if (startOf(paths[i]) < startOf(paths[first])) first = i;
  }
  double next = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < paths.size(); ++i) {
    if (i != first) next = std::min(next, startOf(paths[i]));
  }
  return bytesWithin(paths[first], next);
}

}  // namespace flexlink
