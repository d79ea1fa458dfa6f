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

  // After a fork the child has no mapping (the file belongs to the parent); this puts private
  // memory in its place, so that a stray write there is harmless. Async-signal-safe.
  void replaceInChild() const;

 private:
  ProbeFile() = default;
  std::byte* bytes_ = nullptr;
  std::string path_;
};

}  // namespace flexlink
