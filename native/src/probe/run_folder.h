// SPDX-License-Identifier: Apache-2.0
// The folder of this user's probe files: which one it is, that nobody else can put anything there,
// and which files of dead processes leave it. Knows nothing of communicators.
#pragma once

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/status.h"
#include "probe/process_id.h"

namespace flexlink {

// What the choice depends on.
struct RunFolderWish {
  std::string setting;        // FLEXLINK_RUN_DIR
  std::string xdgRuntimeDir;  // XDG_RUNTIME_DIR
  bool xdgIsOurs = false;     // it is a folder of this user
  uint32_t uid = 0;
};

// Pure. Without trailing slashes, as these make the kernel follow a link.
std::string chooseRunFolder(const RunFolderWish& wish);

// chooseRunFolder for this process.
std::string runFolder(const std::string& setting);

// Makes the folder (one level) where it is missing, and opens it. An error where it belongs to
// somebody else, is a link, or others may enter it.
Result<Fd> openRunFolder(const std::string& path);

// A probe file as the clearing sees it. Times are CLOCK_REALTIME in ns.
struct FoundFile {
  std::string name;
  Liveness owner = Liveness::kUnknown;
  uint64_t goneSince = 0;  // when the owner was first found dead; for kUnknown: last sign of life
  uint64_t bytes = 0;      // that it really takes
};

struct KeepLimits {
  uint64_t now = 0;
  uint64_t bytes = 0;  // of all dead processes' files together
};

// Pure. Names of the files to remove: those of dead processes that are gone for an hour, or that
// are the oldest beyond the limit; those of unknown ones after a week of silence. Never one of a
// living one.
std::vector<std::string> staleFiles(std::vector<FoundFile> files, const KeepLimits& limits);

// Looks through the folder and removes what staleFiles says; with `all`, every dead process's file
// (the file system is full). The first time that a process is found dead its file gets a note of
// when that was, and shrinks to the pages that it used.
void clearRunFolder(int folder, const ProcessId& self, bool all);

}  // namespace flexlink
