/* SPDX-License-Identifier: Apache-2.0
 * A program for any libnccl whose buffers are in host memory: the ranks are threads of one process.
 *
 *   cc -o all_reduce examples/all_reduce.c -I native/include "$(flexlink lib)" -lpthread
 *   LD_PRELOAD="$(flexlink lib)" ./all_reduce      (or a libnccl.so.2 in the loader's path)
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "flexlink/nccl.h"

enum { kRanks = 4, kCount = 1 << 18 };

static ncclUniqueId id;

#define CHECK(call)                                               \
  do {                                                            \
    ncclResult_t result = (call);                                 \
    if (result != ncclSuccess) {                                  \
      fprintf(stderr, "%s: %s\n", #call, ncclGetLastError(NULL)); \
      exit(1);                                                    \
    }                                                             \
  } while (0)

static void* runRank(void* argument) {
  int rank = *(int*)argument;
  float* data = malloc(kCount * sizeof *data);
  ncclComm_t comm;
  CHECK(ncclCommInitRank(&comm, kRanks, id, rank));
  for (int i = 0; i < kCount; ++i) data[i] = (float)(rank + 1);
  CHECK(ncclAllReduce(data, data, kCount, ncclFloat32, ncclSum, comm, NULL));
  for (int i = 0; i < kCount; ++i) {
    if (data[i] != kRanks * (kRanks + 1) / 2) exit(2);
  }
  printf("rank %d of %d: every element is %g\n", rank, kRanks, data[0]);
  CHECK(ncclCommDestroy(comm));
  free(data);
  return NULL;
}

int main(void) {
  pthread_t threads[kRanks];
  int ranks[kRanks];
  CHECK(ncclGetUniqueId(&id));
  for (int rank = 0; rank < kRanks; ++rank) {
    ranks[rank] = rank;
    pthread_create(&threads[rank], NULL, runRank, &ranks[rank]);
  }
  for (int rank = 0; rank < kRanks; ++rank) pthread_join(threads[rank], NULL);
  return 0;
}
