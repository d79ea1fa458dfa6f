// SPDX-License-Identifier: Apache-2.0
// What nvcc made of the kernels: the fatbin inside the library, and the PTX that it came from.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <string_view>

#include "device/cuda/kernel_image.h"
#include "fake_cuda/cuda_cpu_kernels.h"

namespace flexlink::test {
namespace {

// The container that the driver reads: a header, then entries, each with a header of its own.
struct FatbinHeader {
  uint32_t magic;
  uint16_t version;
  uint16_t headerBytes;
  uint64_t bytes;  // behind the header
};
struct EntryHeader {
  uint16_t kind;  // 1: PTX, 2: machine code in an ELF file
  uint16_t version;
  uint32_t headerBytes;
  uint64_t bytes;  // behind the header
  uint32_t unused[3];
  uint32_t gpu;  // 80 for sm_80
};
constexpr uint32_t kFatbinMagic = 0xba55ed50;

class CudaKernelImage : public ::testing::Test {
 protected:
  void SetUp() override {
    if (image_.fatbin == nullptr) GTEST_SKIP() << "CUDA kernels: " << image_.text;
    header_ = read<FatbinHeader>(0);
  }

  template <typename T>
  T read(size_t at) const {
    T value{};
    if (at + sizeof(T) <= image_.bytes) {
      memcpy(&value, static_cast<const char*>(image_.fatbin) + at, sizeof(T));
    }
    return value;
  }

  // Calls visit(header, bytes) for every entry.
  template <typename Visit>
  void entries(const Visit& visit) const {
    size_t at = header_.headerBytes;
    while (at < image_.bytes) {
      const auto entry = read<EntryHeader>(at);
      ASSERT_GE(entry.headerBytes, sizeof(EntryHeader)) << "entry at " << at;
      ASSERT_LE(at + entry.headerBytes + entry.bytes, image_.bytes) << "entry at " << at;
      visit(entry,
            std::string_view(static_cast<const char*>(image_.fatbin) + at + entry.headerBytes,
                             entry.bytes));
      at += entry.headerBytes + entry.bytes;
    }
  }

  KernelImage image_ = kernelImage();
  FatbinHeader header_{};
};

TEST_F(CudaKernelImage, IsAWholeFatbinForTheGpusThatItsTextNames) {
  EXPECT_EQ(header_.magic, kFatbinMagic);
  EXPECT_EQ(header_.headerBytes + header_.bytes, image_.bytes);
  std::string text;
  uint32_t ptx = 0;
  entries([&](const EntryHeader& entry, std::string_view) {
    const std::string gpu = std::to_string(entry.gpu);
    if (entry.kind == 1) {
      ptx = entry.gpu;
    } else {
      text += (text.empty() ? "sm_" : ", sm_") + gpu;
    }
  });
  text += " and PTX for compute_" + std::to_string(ptx) + ", by nvcc ";
  EXPECT_EQ(std::string(image_.text).substr(0, text.size()), text);
  EXPECT_NE(text.find("sm_80, sm_90"), std::string::npos);
}

TEST_F(CudaKernelImage, EveryGpuHasEveryKernel) {
  int gpus = 0;
  entries([&](const EntryHeader& entry, std::string_view bytes) {
    if (entry.kind != 2) return;
    ++gpus;
    EXPECT_EQ(bytes.substr(0, 4),
              "\x7f"
              "ELF");
    for (const std::string& name : cpuKernelNames()) {
      const std::string section = ".text." + name + std::string(1, '\0');
      EXPECT_NE(bytes.find(section), std::string_view::npos) << name << " for sm_" << entry.gpu;
    }
  });
  EXPECT_GE(gpus, 2);
}

// A fused multiply-add rounds once where the host rounds twice, and a flushed denormal is lost.
TEST_F(CudaKernelImage, NoKernelFusesAddsOrFlushesDenormals) {
  int files = 0;
  for (const auto& file : std::filesystem::directory_iterator(FLEXLINK_KERNELS_FOLDER)) {
    if (file.path().extension() != ".ptx") continue;
    ++files;
    std::ifstream stream(file.path());
    const std::string ptx{std::istreambuf_iterator<char>(stream), {}};
    EXPECT_NE(ptx.find(".entry flexlink_float32_premulsum("), std::string::npos) << file.path();
    for (const char* sound : {"\tmul.rn.f32", "\tadd.rn.f32", "\tmul.rn.f64", "\tadd.rn.f64"}) {
      EXPECT_NE(ptx.find(sound), std::string::npos) << sound << " in " << file.path();
    }
    for (const char* wrong : {"fma.", "mad.rn", "mul.f32", "add.f32", "mul.f64", "add.f64", ".ftz",
                              ".approx", "div.full"}) {
      EXPECT_EQ(ptx.find(wrong), std::string::npos) << wrong << " in " << file.path();
    }
  }
  EXPECT_GE(files, 1);
}

}  // namespace
}  // namespace flexlink::test
