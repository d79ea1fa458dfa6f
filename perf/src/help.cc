// SPDX-License-Identifier: Apache-2.0
// The text of -h. One line for each option of options.cc.
#include "options.h"

namespace flexlink::perf {

const char* helpText() {
  return R"(flexlink_perf COLLECTIVE [options]: times a collective and checks every element.

COLLECTIVE: all_reduce all_gather broadcast reduce_scatter reduce alltoall gather scatter sendrecv

Ranks
  --ranks N          start N processes, each pinned to a core where there are enough
  -t N               threads in each process (default 1)
  -g N               ranks ("devices") of each thread (default 1)
  --no-pin           leave placement to the kernel
  --device KIND      host (default) or cuda: rank i of a host on GPU i, modulo their number;
                     NCCL_TESTS_DEVICE=N: each process counts from GPU N
  Under torchrun, mpirun or srun, without --ranks: one process for each that was started.
  --id-file PATH     where those processes hand over the unique id (default: a private temporary
                     file; NCCL_COMM_ID makes it needless)
Sizes
  -b SIZE -e SIZE    from, to (default 32M, 32M); 8, 64K, 1.5M, 2G
  -i SIZE | -f N     add this much (default 1M), or multiply
What
  -o OP              sum prod min max avg mulsum all (default sum)
  -d TYPE            int8 uint8 int32 uint32 int64 uint64 half float double bfloat16 f8e4m3 f8e5m2
                     all (default float)
  -r N               root (default 0; -1: each rank in turn)
  -c N               checks of every element for each row (default 1; 0 none)
  -u N               start buffers N elements off their alignment
  --buffers KIND     malloc (default; of the driver with --device cuda) or ncclMemAlloc
  -R 0|1|2           register buffers: no, locally, as symmetric windows
How it is timed
  -n N               iterations (default 20)      -w N  warm-up iterations (default 1)
  -m N               calls in one group           -N N  repeat the table (0: for ever)
  -z 0|1|2|3         wait after each call: no; and barrier; without barrier; outside the time
  -a 0|1|2|3         time of rank 0, average, fastest, slowest rank (default 3)
  --async, -y 0      enqueue on a host stream and wait at the end; default: calls that block.
                     With --device cuda always: one CUDA stream for each rank
  -C 1               show the time until everything was enqueued
  -I 1, -K N         statistics of single iterations, without the first N
  -T N               give up after N seconds without progress
  -p 0|1             threads make their communicators one by one or together (always together)
Output
  --bound            one more column: busbw if the collective ran at this machine's copy rate,
                     measured with as many processes in the same run
  --links            after the table: what each link of rank 0's process carried (several hosts)
  --csv              comma-separated rows instead of the table
  -J FILE            JSON as well      -S 1  time of day      -M 1  memory used
Comparison
  --vs PEER          gloo ompi mpich impi oneccl, or the path of a libnccl: interleaved, same
                     pinning, buffers and iterations; prints both medians and "ratio: X" (X > 1:
                     ours is faster)
  --rounds N         pairs for each size (default 21)
  --inplace 0|1      default: in place for all_reduce, reduce and broadcast
  --malloc nommap    both sides with a malloc that keeps its memory
Library
  --library PATH     the libnccl to measure (default: FLEXLINK_LIBRARY, or libflexlink.so beside
                     this program)
-x is passed on (ncclConfig_t.CTAPolicy). -G and -D are not measured: only 0 is accepted. -V is
ignored.
)";
}

}  // namespace flexlink::perf
