// SPDX-License-Identifier: Apache-2.0
// A second, independent reader of probe files for the writer's tests, and a folder of their own.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include "flexlink/probe.h"
#include "probe/probe_writer.h"

namespace flexlink::probetest {

// mkdtemp has mode 0700, as the writer wants it.
class Folder {
 public:
  Folder() {
    char name[] = "/dev/shm/flexlink-test-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }
  size_t files() const {
    size_t n = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(path_)) ++n;
    return n;
  }

 private:
  std::string path_;
};

// Sees the file as another process does: its own mapping, acquire loads.
class Reader {
 public:
  explicit Reader(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void* bytes =
        ::mmap(nullptr, FLEXLINK_PROBE_FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ::close(fd);
    if (bytes != MAP_FAILED) bytes_ = static_cast<std::byte*>(bytes);
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() {
    if (bytes_ != nullptr) ::munmap(bytes_, FLEXLINK_PROBE_FILE_BYTES);
  }

  static uint64_t load(const uint64_t& word) {
    return std::atomic_ref<uint64_t>(const_cast<uint64_t&>(word)).load(std::memory_order_acquire);
  }

  // False when the writer was at it.
  template <typename T>
  static bool tryRead(const T& from, T* to) {
    const auto* source = reinterpret_cast<const uint64_t*>(&from);
    auto* target = reinterpret_cast<uint64_t*>(to);
    for (size_t i = 0; i < sizeof(T) / sizeof(uint64_t); ++i) target[i] = load(source[i]);
    return to->version % 2 == 0 && load(from.version) == to->version;
  }
  template <typename T>
  static T read(const T& from) {
    T to;
    while (!tryRead(from, &to)) {
    }
    return to;
  }

  FlexlinkProbeHeader& header() const { return *reinterpret_cast<FlexlinkProbeHeader*>(bytes_); }
  FlexlinkProbeSlot& slot(int i) const {
    return reinterpret_cast<FlexlinkProbeSlot*>(bytes_ + header().slotsOffset)[i];
  }
  FlexlinkProbeRecord& record(int slot, uint64_t number) const {
    auto* rings = reinterpret_cast<FlexlinkProbeRecord*>(bytes_ + header().ringsOffset);
    return rings[static_cast<uint64_t>(slot) * FLEXLINK_PROBE_RECORDS +
                 number % FLEXLINK_PROBE_RECORDS];
  }

  FlexlinkProbeLink& link(int place) const {
    return reinterpret_cast<FlexlinkProbeLink*>(bytes_ + header().linksOffset)[place];
  }

 private:
  std::byte* bytes_ = nullptr;
};

// A writer with a file in a folder of its own, and a reader of that file.
class Probe {
 public:
  Probe() : writer_(make(folder_.path())), reader(writer_->path()) {}
  ProbeWriter* operator->() { return writer_.get(); }
  const std::string& folder() const { return folder_.path(); }

 private:
  static std::unique_ptr<ProbeWriter> make(const std::string& folder) {
    auto made = ProbeWriter::create(folder);
    EXPECT_TRUE(made.ok()) << made.status().text();
    return std::move(made.value());
  }
  Folder folder_;
  std::unique_ptr<ProbeWriter> writer_;

 public:
  const Reader reader;
};

// A process that has made a writer, has done `work` with it and was killed; the path of its file.
inline std::string killedWriter(const std::string& folder, void (*work)(ProbeWriter&)) {
  int says[2];
  EXPECT_EQ(::pipe(says), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    auto made = ProbeWriter::create(folder);
    if (!made.ok()) ::_exit(1);
    work(*made.value());
    const std::string path = made.value()->path();
    if (::write(says[1], path.data(), path.size()) < 0) ::_exit(1);
    while (true) ::pause();
  }
  char path[256] = "";
  const ssize_t got = ::read(says[0], path, sizeof(path) - 1);
  ::close(says[0]);
  ::close(says[1]);
  EXPECT_GT(got, 0);
  ::kill(child, SIGKILL);
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
  return path;
}

}  // namespace flexlink::probetest
