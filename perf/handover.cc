// SPDX-License-Identifier: Apache-2.0
// How fast two cores hand bytes to each other through shared memory, whatever a library does: the
// bound of collectives that fit into caches. Two processes, each pinned, write a piece into a ring
// of their own, tell the other, and copy the other's piece out.
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

constexpr size_t kArea = size_t{16} << 20;  // of each process; the largest ring
constexpr size_t kPieces[] = {8192, 32768, 131072};
constexpr size_t kRings[] = {size_t{256} << 10, size_t{2} << 20, size_t{4} << 20, size_t{8} << 20};
constexpr int kRounds = 2000;

struct alignas(256) Counter {
  std::atomic<long> value;  // pieces written; release by the owner, acquire by the other
};

double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

void copyPiece(char* to, const char* from, size_t bytes, bool streams) {
#if defined(__x86_64__)
  if (streams) {
    for (size_t i = 0; i < bytes; i += 16) {
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + i),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i)));
    }
    _mm_sfence();
    return;
  }
#endif
  (void)streams;
  memcpy(to, from, bytes);  // the C library's, with the widest registers that there are
}

struct Side {
  int me;
  char* mine;
  const char* theirs;
  Counter* told;
  const Counter* heard;
  long count = 0;
  char* own = static_cast<char*>(aligned_alloc(4096, 1 << 20));

  void meet() {
    told->value.store(++count, std::memory_order_release);
    while (heard->value.load(std::memory_order_acquire) < count) relax();
  }

  double ping() {
    const double start = now();
    for (int i = 0; i < kRounds; ++i) meet();
    return (now() - start) / kRounds;
  }

  // Seconds for one piece each way, and of these for writing.
  double exchange(size_t piece, size_t ring, bool streams, double* writing) {
    double start = 0;
    for (int i = -kRounds / 4; i < kRounds; ++i) {
      if (i == 0) {
        start = now();
        *writing = 0;
      }
      const size_t at = static_cast<size_t>(count) % (ring / piece) * piece;
      const double before = now();
      copyPiece(mine + at, own, piece, streams);
      *writing += (now() - before) / kRounds;
      meet();
      copyPiece(own, theirs + at, piece, false);
    }
    return (now() - start) / kRounds;
  }
};

void measure(Side* side) {
  memset(side->own, side->me, 1 << 20);
  if (side->me == 0) std::printf("stores     piece     ring  ping us  piece us  write us  GB/s\n");
  for (const bool streams : {false, true}) {
    for (const size_t piece : kPieces) {
      for (const size_t ring : kRings) {
        const double ping = side->ping();
        double writing = 0;
        const double seconds = side->exchange(piece, ring, streams, &writing);
        if (side->me != 0) continue;
        std::printf("%-8s %7zu %8zu %8.2f %9.2f %9.2f %5.1f\n", streams ? "streamed" : "plain",
                    piece, ring, ping * 1e6, seconds * 1e6, writing * 1e6,
                    static_cast<double>(piece) / seconds / 1e9);
      }
    }
  }
}

void* share(size_t bytes) {
  void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE,
                  -1, 0);
  if (at == MAP_FAILED) {
    std::perror("handover: mmap");
    std::exit(1);
  }
  return at;
}

}  // namespace

int main() {
  auto* area = static_cast<char*>(share(2 * kArea));
  auto* counters = new (share(2 * sizeof(Counter))) Counter[2];
  const pid_t child = fork();
  const int me = child == 0 ? 1 : 0;
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(me, &cpus);
  if (sched_setaffinity(0, sizeof cpus, &cpus) != 0) std::perror("handover: pinning");
  Side side{me, area + me * kArea, area + (1 - me) * kArea, counters + me, counters + 1 - me};
  measure(&side);
  if (child == 0) return 0;
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
