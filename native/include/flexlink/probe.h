/* SPDX-License-Identifier: Apache-2.0
 *
 * The layout of a probe file: what a process writes about its communicators, for readers outside
 * it. Layout only; who writes is native/src/probe/, who reads is flexlink/probe.py, prose is
 * docs/probe.md. A field that changes place or meaning changes FLEXLINK_PROBE_LAYOUT.
 */
#ifndef FLEXLINK_PROBE_H_
#define FLEXLINK_PROBE_H_

#include <stdint.h>

/* "FLXPROBE" as a little-endian word. Written last: a file without it is not finished. */
#define FLEXLINK_PROBE_MAGIC UINT64_C(0x45424f5250584c46)
#define FLEXLINK_PROBE_LAYOUT 2u

#define FLEXLINK_PROBE_HEADER_BYTES 4096u
#define FLEXLINK_PROBE_SLOTS 64u /* communicators of one process that are open at the same time */
#define FLEXLINK_PROBE_LANES 8u  /* live states of one communicator */
#define FLEXLINK_PROBE_RECORDS 256u /* completed operations that are kept for each communicator */
#define FLEXLINK_PROBE_LINKS 1024u  /* links of all communicators of one process */
#define FLEXLINK_PROBE_NAME_BYTES 56u
#define FLEXLINK_PROBE_LINK_NAME_BYTES 32u
#define FLEXLINK_PROBE_LINK_HOST_BYTES 32u
#define FLEXLINK_PROBE_LINK_WHY_BYTES 88u
#define FLEXLINK_PROBE_HOST_BYTES 64u
#define FLEXLINK_PROBE_PROGRAM_BYTES 32u
#define FLEXLINK_PROBE_BOOT_BYTES 16u

#define FLEXLINK_PROBE_NO_RANK UINT32_C(0xffffffff)      /* in 32-bit fields */
#define FLEXLINK_PROBE_RECORD_NO_RANK UINT32_C(0xffffff) /* in the 24 bits of an outcome */

/* What a tick is: a nanosecond of CLOCK_MONOTONIC, or one step of the processor's counter. */
#define FLEXLINK_PROBE_CLOCK_MONOTONIC 0u
#define FLEXLINK_PROBE_CLOCK_COUNTER 1u

/* State of a communicator. */
#define FLEXLINK_PROBE_STATE_FREE 0u       /* the slot was never used */
#define FLEXLINK_PROBE_STATE_CONNECTING 1u /* its ranks are still meeting */
#define FLEXLINK_PROBE_STATE_READY 2u
#define FLEXLINK_PROBE_STATE_FINALIZING 3u /* takes no more calls */
#define FLEXLINK_PROBE_STATE_FAILED 4u     /* every further call returns the first error */
#define FLEXLINK_PROBE_STATE_ABORTED 5u    /* closed by ncclCommAbort */
#define FLEXLINK_PROBE_STATE_CLOSED 6u     /* its records stay until the slot is used again */

/* Phase of the operation that a lane carries. */
#define FLEXLINK_PROBE_PHASE_IDLE 0u    /* carries none; the other fields are those of the last */
#define FLEXLINK_PROBE_PHASE_STARTED 1u /* taken from the queue */
#define FLEXLINK_PROBE_PHASE_MEETING 2u /* waits until the peers have entered it */
#define FLEXLINK_PROBE_PHASE_MOVING 3u  /* copies or reduces */
#define FLEXLINK_PROBE_PHASE_LEAVING 4u /* own work is done, peers still read our memory */

/* State of a link. */
#define FLEXLINK_PROBE_LINK_FREE 0u  /* the place was never used */
#define FLEXLINK_PROBE_LINK_NEVER 1u /* it was not connected: why says the reason */
#define FLEXLINK_PROBE_LINK_USED 2u
#define FLEXLINK_PROBE_LINK_LEFT 3u /* it was used until it failed: why says how */

/* Which lane a live state belongs to; the other numbers have no meaning yet. */
#define FLEXLINK_PROBE_LANE_MEMORY 0u
#define FLEXLINK_PROBE_LANE_MESSAGE 1u
#define FLEXLINK_PROBE_LANE_VENDOR 2u
#define FLEXLINK_PROBE_LANE_HIER 3u

/*
 * Words and versions. Everything that changes after the magic is written is a uint64_t, stored and
 * loaded whole. A structure with a `version` is a sequence lock: odd while its writer changes it;
 * equal and even before and after reading: what was read belongs together. Fields that say "alone"
 * are meaningful without a version.
 */

/* A call: collective | type << 8 | op << 16 | lane << 24 | (uint32_t)root << 32. Collective counts
 * as in base/types.h; type and op have NCCL's numbers. Root is -1 where a collective has none; for
 * send and receive it is the peer. */
#define FLEXLINK_PROBE_CALL(collective, type, op, lane, root)         \
  ((uint64_t)(uint8_t)(collective) | (uint64_t)(uint8_t)(type) << 8 | \
   (uint64_t)(uint8_t)(op) << 16 | (uint64_t)(uint8_t)(lane) << 24 |  \
   (uint64_t)(uint32_t)(root) << 32)

/* One completed operation of one lane: 64 bytes, one cache line. */
typedef struct {
  uint64_t version; /* 2n + 1 while record n is written, 2n + 2 when it is; n counts from 0 */
  uint64_t seq;     /* number of the operation in its communicator */
  uint64_t call;    /* FLEXLINK_PROBE_CALL */
  uint64_t count;   /* elements, as in the call */
  uint64_t bytes;   /* what this lane carried of it on this rank */
  uint64_t startTicks;
  uint64_t endTicks;
  uint64_t
      outcome; /* ncclResult_t | rank of the longest wait << 8 | that wait / 1024 ticks << 32 */
} FlexlinkProbeRecord;

/* What one lane of one communicator does now: 128 bytes. */
typedef struct {
  uint64_t version;
  uint64_t seq;
  uint64_t call;
  uint64_t count;
  uint64_t bytes; /* what the operation will have moved at its end */
  uint64_t startTicks;
  uint64_t phase;       /* FLEXLINK_PROBE_PHASE_* */
  uint64_t bytesDone;   /* how far it is */
  uint64_t waitRanks;   /* rank it waits for now | rank of its longest wait << 32 */
  uint64_t waitSince;   /* ticks; since when it waits for the rank it waits for now */
  uint64_t longestWait; /* ticks; the longest wait that has ended, within this operation */
  uint64_t operations;  /* completed on this lane, alone */
  uint64_t totalBytes;  /* of completed operations, alone */
  uint64_t busyTicks;   /* sum of end - start, also of what overlaps, alone */
  uint64_t waitedTicks; /* sum of all waits that have ended, alone */
  uint64_t reserved;
} FlexlinkProbeLane;

/* One communicator of this process (one rank of it): 256 bytes, then its lanes. */
typedef struct {
  uint64_t version;      /* of the fields up to `name` */
  uint64_t generation;   /* how often this slot was opened; its records belong to the last time */
  uint64_t id;           /* equal on all ranks of the communicator */
  uint64_t parent;       /* id of the communicator that it was split from, or 0 */
  uint64_t rankAndRanks; /* rank | number of ranks << 32 */
  uint64_t hostAndHosts; /* this rank's host number | number of hosts << 32 */
  uint64_t openedTicks;
  uint64_t closedTicks;                 /* 0: open; alone */
  char name[FLEXLINK_PROBE_NAME_BYTES]; /* UTF-8, filled up with zeros */
  uint64_t reserved0;
  /* Each alone, and on cache lines of their own. */
  uint64_t state;      /* FLEXLINK_PROBE_STATE_* */
  uint64_t entered;    /* highest operation number that the program has called for, + 1 */
  uint64_t completed;  /* highest completed operation number + 1 */
  uint64_t operations; /* completed operations; one that is split over lanes counts once */
  uint64_t failures;   /* records with a result other than ncclSuccess */
  uint64_t records;    /* records written; the ring holds the last FLEXLINK_PROBE_RECORDS */
  uint64_t reserved1[10];
} FlexlinkProbeComm;

typedef struct {
  FlexlinkProbeComm comm;
  FlexlinkProbeLane lanes[FLEXLINK_PROBE_LANES];
} FlexlinkProbeSlot;

/* One link of one communicator to one peer: 256 bytes, written some hundred times a second at most.
 * Its numbers are those of the connection, which all communicators between the two processes
 * share. */
typedef struct {
  uint64_t version;
  uint64_t owner;    /* slot of its communicator | low half of that slot's generation << 32 */
  uint64_t peer;     /* rank | host number << 32; FLEXLINK_PROBE_NO_RANK: of no peer (a NIC that is
                        out) */
  uint64_t index;    /* which of its communicator's links */
  uint64_t state;    /* FLEXLINK_PROBE_LINK_* */
  uint64_t bytesOut; /* payload, what was sent again included */
  uint64_t bytesIn;
  uint64_t replays;        /* frames that other links had to send again for it */
  uint64_t bytesPerSecond; /* as fitted while other links were at work, too */
  uint64_t latencyNanos;   /* as fitted: from the last byte's leaving to its acknowledgement */
  uint64_t sinceTicks;     /* when it came to be in its state */
  uint64_t writtenTicks;   /* when all this was so */
  uint64_t reserved;
  char name[FLEXLINK_PROBE_LINK_NAME_BYTES]; /* "tcp:eth0"; UTF-8 as all text, filled with zeros */
  char host[FLEXLINK_PROBE_LINK_HOST_BYTES]; /* the peer's host */
  char why[FLEXLINK_PROBE_LINK_WHY_BYTES];   /* one phrase */
} FlexlinkProbeLink;

/* Two readings of both clocks. A tick is (lastNs - firstNs) / (lastTicks - firstTicks) ns. */
typedef struct {
  uint64_t version;
  uint64_t firstTicks;
  uint64_t firstNs; /* CLOCK_MONOTONIC at firstTicks */
  uint64_t lastTicks;
  uint64_t lastNs; /* CLOCK_MONOTONIC at lastTicks */
  uint64_t reserved[3];
} FlexlinkProbeClock;

/* The first bytes of the file. */
typedef struct {
  uint64_t magic;
  uint32_t layout;
  uint32_t headerBytes;
  uint64_t fileBytes;
  uint32_t pid; /* as the process sees itself, in its own pid namespace */
  uint32_t uid;
  uint64_t startTime;    /* field 22 of /proc/<pid>/stat: with pid and boot it names the process */
  uint64_t pidNamespace; /* inode of /proc/self/ns/pid, or 0 */
  uint8_t bootId[FLEXLINK_PROBE_BOOT_BYTES];
  uint64_t createdUnixNs; /* CLOCK_REALTIME */
  uint32_t clockKind;     /* FLEXLINK_PROBE_CLOCK_* */
  uint32_t slotsOffset;   /* from here on: where things are, from the start of the file */
  uint32_t slotBytes;
  uint32_t slotCount;
  uint32_t lanesOffset; /* from the start of a slot */
  uint32_t laneBytes;
  uint32_t laneCount;
  uint32_t ringsOffset; /* ring i belongs to slot i */
  uint32_t recordBytes;
  uint32_t recordCount;    /* of one ring */
  uint32_t libraryVersion; /* FlexLink's: major * 10000 + minor * 100 + patch */
  uint32_t linksOffset;
  char program[FLEXLINK_PROBE_PROGRAM_BYTES]; /* /proc/self/comm */
  char host[FLEXLINK_PROBE_HOST_BYTES];       /* gethostname */
  uint64_t opened;                            /* communicators that were ever opened, alone */
  uint64_t unrecorded; /* of these: had no slot and are not seen here, alone */
  uint64_t goneUnixNs; /* CLOCK_REALTIME when its process was first found dead, or 0 */
  uint32_t linkBytes;
  uint32_t linkCount;
  uint64_t linksTaken;      /* places that were ever given to a link, alone */
  uint64_t unrecordedLinks; /* links that found no place and are not seen here, alone */
  uint64_t reserved1[7];
  FlexlinkProbeClock clock;
} FlexlinkProbeHeader;

#define FLEXLINK_PROBE_RINGS_OFFSET \
  (FLEXLINK_PROBE_HEADER_BYTES + FLEXLINK_PROBE_SLOTS * (uint32_t)sizeof(FlexlinkProbeSlot))
#define FLEXLINK_PROBE_LINKS_OFFSET \
  (FLEXLINK_PROBE_RINGS_OFFSET +    \
   FLEXLINK_PROBE_SLOTS * FLEXLINK_PROBE_RECORDS * (uint32_t)sizeof(FlexlinkProbeRecord))
#define FLEXLINK_PROBE_FILE_BYTES \
  (FLEXLINK_PROBE_LINKS_OFFSET + FLEXLINK_PROBE_LINKS * (uint32_t)sizeof(FlexlinkProbeLink))

#endif /* FLEXLINK_PROBE_H_ */
