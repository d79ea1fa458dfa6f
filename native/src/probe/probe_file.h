// SPDX-License-Identifier: Apache-2.0
// The probe file of this process: made, reserved and mapped, with its header filled in. What goes
// into the slots is probe_writer's business.
#pragma once

#include <cstddef>
#include <string>

#include "base/status.h"
#include "flexlink/probe.h"

namespace flexlink {

// Owns the mapping, not the file: the file stays when this goes, so that it can be read afterwards.
class ProbeFile {
 public:
  // A new file in the run folder, which is made and cleared of stale files first.
  static Result<ProbeFile> create(const std::string& folder);

  ProbeFile(ProbeFile&& other) noexcept;
  ProbeFile& operator=(ProbeFile&&) = delete;
  ~ProbeFile();

  const std::string& path() const { return path_; }
  FlexlinkProbeHeader& header() const { return *reinterpret_cast<FlexlinkProbeHeader*>(bytes_); }
  FlexlinkProbeSlot& slot(int i) const {
    return reinterpret_cast<FlexlinkProbeSlot*>(bytes_ + FLEXLINK_PROBE_HEADER_BYTES)[i];
  }
  FlexlinkProbeRecord* ring(int i) const {
    return reinterpret_cast<FlexlinkProbeRecord*>(bytes_ + FLEXLINK_PROBE_RINGS_OFFSET) +
           size_t{FLEXLINK_PROBE_RECORDS} * static_cast<size_t>(i);
  }

  FlexlinkProbeLink& link(int i) const {
    return reinterpret_cast<FlexlinkProbeLink*>(bytes_ + FLEXLINK_PROBE_LINKS_OFFSET)[i];
  }

  // In a forked child, before anything else runs there: private memory takes the place of the
  // file, which is the parent's, so that a stray write is harmless. Not MADV_DONTFORK: that leaves
  // a hole, into which the first thing that allocates in the child may be mapped.
  // Async-signal-safe.
  void replaceInChild() const;

 private:
  ProbeFile() = default;
  std::byte* bytes_ = nullptr;
  std::string path_;
};

}  // namespace flexlink
