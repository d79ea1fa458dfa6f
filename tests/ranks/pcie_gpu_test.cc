// SPDX-License-Identifier: Apache-2.0
// The link through pinned host memory between two processes whose payload lies on GPUs: each side's
// copy engine moves its own bytes. scripts/gpu-check measures it so.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <sstream>
#include <string>

#include "base/socket.h"
#include "device/cuda/devices.h"
#include "device/host/region.h"
#include "link/pcie/pcie_link.h"
#include "support/check.h"
#include "support/gpu.h"
#include "support/numbers.h"
#include "support/rank_run.h"
#include "support/sanitized.h"

namespace ranktest {
namespace {

using flexlink::Fd;
using flexlink::FrameHeader;
using flexlink::kMaxFrameBytes;
using flexlink::PcieChannel;
using flexlink::PcieLink;
using flexlink::PcieSegment;
using flexlink::RegionTable;

template <typename T>
T must(flexlink::Result<T> result) {
  RANK_TRUE_MSG(result.ok(), result.status().text());
  return std::move(result.value());
}

// Asks again while there is nothing yet.
template <typename Ask>
auto patiently(Ask&& ask) {
  for (;;) {
    auto answer = ask();
    if (answer.status().code() != flexlink::Code::kInProgress) return must(std::move(answer));
  }
}

// A connected socket between the ranks 0 and 1 of a run.
Fd meet(RankContext& ctx) {
  const std::string name = "flexlink-pcie-gpu-" + std::to_string(getppid());
  if (ctx.rank == 1) {
    ctx.barrier();
    return must(flexlink::connectUnix(name));
  }
  const Fd listener = must(flexlink::listenUnix(name));
  ctx.barrier();
  return patiently([&] { return flexlink::acceptConnection(listener.get()); });
}

// One end of the link: sends memory of its GPU, and has places there for what comes.
class End {
 public:
  explicit End(RankContext& ctx, size_t ring = flexlink::kPcieRingBytes) {
    Fd socket = meet(ctx);
    std::shared_ptr<flexlink::Device> device =
        must(flexlink::cudaDevice(ctx.rank % Gpu::use(ctx.rank)->count()));
    if (ctx.rank == 0) {
      segment_ = must(PcieSegment::make(*device, ring));
      RegionTable& regions = RegionTable::instance();
      auto [file, bytes] = must(regions.share(regions.find(segment_.base(), 1).id));
      const int fds[] = {file.get()};
      must(flexlink::sendWithFds(socket.get(), &bytes, sizeof bytes, fds));
    } else {
      size_t bytes = 0;
      std::vector<Fd> files;
      patiently([&] { return flexlink::recvWithFds(socket.get(), &bytes, sizeof bytes, &files); });
      auto mapped = must(flexlink::ForeignRegion::map(files.at(0).get(), bytes));
      segment_ = must(PcieSegment::view(mapped, mapped->base(), mapped->bytes()));
    }
    link_ = std::make_unique<PcieLink>(
        "pcie", must(PcieChannel::open(device, segment_, ctx.rank)), std::move(socket),
        flexlink::LinkEvents{
            [this](const FrameHeader& header) { return place(header); },
            [this](const FrameHeader& header) { RANK_EQ(header.chunk, arrived_++); }});
  }

  void post(void* payload, size_t bytes) {
    FrameHeader header;
    header.kind = flexlink::FrameKind::kChunk;
    header.chunk = posted_++;
    header.length = static_cast<uint32_t>(bytes);
    link_->post(header, payload);
  }

  // The place for the frame of this number, counted from the start.
  std::deque<Numbers>& places() { return places_; }

  // Until so many frames have come, and all of its own have left.
  void run(uint32_t frames) {
    while (arrived_ < frames || !link_->flushed()) {
      const flexlink::Status status = link_->poll();
      RANK_TRUE_MSG(status.ok() || status.code() == flexlink::Code::kInProgress, status.text());
    }
  }

  // The peer has all that it waits for.
  void end(const RankContext& ctx) {
    ctx.barrier();
    link_->quiesce();
  }

 private:
  uint8_t* place(const FrameHeader& header) {
    Numbers& one = places_[header.chunk % places_.size()];
    RANK_TRUE(header.length <= one.bytes());
    return static_cast<uint8_t*>(one.at());
  }

  PcieSegment segment_;
  std::deque<Numbers> places_;
  uint32_t posted_ = 0;
  uint32_t arrived_ = 0;
  std::unique_ptr<PcieLink> link_;
};

int32_t valueAt(int rank, size_t frame, size_t i) {
  return static_cast<int32_t>(i % 9973 + frame * 10'000) + rank * 1'000'000;
}

// Frames of all sizes, both ways at once.
RANK_BODY(PcieBetweenGpus) {
  End end(ctx);
  constexpr size_t kCounts[] = {1, 1'048'576, 16, 0, 70'001, 1'000'000, 2, 999'999};
  std::deque<Numbers> sent;
  for (size_t count : kCounts) {
    Numbers& one = sent.emplace_back(count);
    for (size_t i = 0; i < count; ++i) one.host[i] = valueAt(ctx.rank, sent.size(), i);
    one.upload();
    end.places().emplace_back(count);
  }
  for (Numbers& one : sent) end.post(one.at(), one.bytes());
  end.run(std::size(kCounts));
  end.end(ctx);
  for (size_t frame = 0; frame < sent.size(); ++frame) {
    Numbers& one = end.places()[frame];
    one.download();
    for (size_t i = 0; i < one.count(); ++i) {
      RANK_EQ(one.host[i], valueAt(1 - ctx.rank, frame + 1, i));
    }
  }
}

// Arguments: frames of 4 MiB, bytes of the memory for each direction. Publishes what came one way,
// and then each way with both at work, in MB/s.
RANK_BODY(PcieRatesBetweenGpus) {
  size_t frames = 0, ring = 0;
  std::istringstream(ctx.args) >> frames >> ring;
  End end(ctx, ring);
  Numbers out(kMaxFrameBytes / 4, ctx.rank);
  for (int i = 0; i < 2; ++i) end.places().emplace_back(out.count());
  uint32_t came = 0;
  const auto measured = [&](bool sends, bool receives) {
    ctx.barrier();
    const double seconds = timed([&] {
      for (size_t i = 0; i < frames && sends; ++i) end.post(out.at(), out.bytes());
      end.run(came += receives ? static_cast<uint32_t>(frames) : 0);
    });
    ctx.publish(static_cast<uint64_t>(static_cast<double>(frames) * 4.194304 / seconds));
  };
  measured(true, true);  // the first copies are slower
  measured(ctx.rank == 0, ctx.rank == 1);
  measured(true, true);
  end.end(ctx);
  for (Numbers& one : end.places()) one.checkAll(1 - ctx.rank);
}

RunOptions twoGpus(int gpus) {
  RunOptions o;
  o.env = gpuEnv(gpus);
  return o;
}

TEST(GpuPcie, FramesOfAllSizesComeExactlyBothWays) {
  for (int gpus : {1, 2}) expectRanksPass("PcieBetweenGpus", twoGpus(gpus));
}

// Of GPUs that are threads this says nothing; scripts/gpu-check reads the lines.
TEST(GpuPcie, ItsRatesAreMeasured) {
  const char* which = getenv("FLEXLINK_TEST_GPU");
  const bool real = which != nullptr && std::string(which) == "real";
  for (const int ring : {2, 8, 32}) {
    RunOptions o = twoGpus(1);
    o.args = std::to_string(real ? 512 : inReach(8)) + " " + std::to_string(ring << 20);
    const Outcome outcome = expectRanksPass("PcieRatesBetweenGpus", o);
    ASSERT_EQ(outcome.values[1].size(), 3u);
    const auto figure = [&](const char* what, uint64_t megabytes) {
      printf("figure: PCIe link with %d MiB, %s GB/s = %.2f\n", ring, what,
             static_cast<double>(megabytes) / 1e3);
    };
    figure("one way", outcome.values[1][1]);
    figure("both ways, each", std::min(outcome.values[0][2], outcome.values[1][2]));
  }
}

}  // namespace
}  // namespace ranktest
