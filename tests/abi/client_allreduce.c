/* SPDX-License-Identifier: Apache-2.0
 *
 * A plain NCCL program on host memory: two processes add 1000 floats. It is built against the
 * vendor's header and library and then run on ours. Prints "done" when every element is right.
 */
#include <nccl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT 1000

#define CHECK(call)                                                                             \
  do {                                                                                          \
    ncclResult_t code = (call);                                                                 \
    if (code != ncclSuccess) {                                                                  \
      fprintf(stderr, "%s: %s: %s\n", #call, ncclGetErrorString(code), ncclGetLastError(NULL)); \
      return 1;                                                                                 \
    }                                                                                           \
  } while (0)

static int runRank(int rank, ncclUniqueId id) {
  static float values[COUNT];
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  ncclComm_t comm = NULL;
  int count = 0;
  for (int i = 0; i < COUNT; ++i) values[i] = (float)(i * (rank + 1));
  config.commName = "client";
  CHECK(ncclCommInitRankConfig(&comm, 2, id, rank, &config));
  CHECK(ncclCommCount(comm, &count));
  CHECK(ncclAllReduce(values, values, COUNT, ncclFloat, ncclSum, comm, NULL));
  CHECK(ncclCommFinalize(comm));
  CHECK(ncclCommDestroy(comm));
  for (int i = 0; i < COUNT; ++i) {
    if (count != 2 || values[i] != (float)(3 * i)) {
      fprintf(stderr, "rank %d of %d: element %d is %g\n", rank, count, i, (double)values[i]);
      return 2;
    }
  }
  return 0;
}

int main(void) {
  int channel[2];
  int status = 0;
  ncclUniqueId id;
  if (pipe(channel) != 0) return 3;
  pid_t other = fork(); /* before any call: a child may not use its parent's library state */
  if (other == 0) {
    close(channel[1]); /* so that the read ends when the parent does */
    if (read(channel[0], &id, sizeof id) != (ssize_t)sizeof id) return 4;
    return runRank(1, id);
  }
  CHECK(ncclGetUniqueId(&id));
  if (write(channel[1], &id, sizeof id) != (ssize_t)sizeof id) return 5;
  int mine = runRank(0, id);
  waitpid(other, &status, 0);
  if (mine != 0 || status != 0) return 6;
  puts("done");
  return 0;
}
