// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/kernel_image.h"

#include <string>

#include "base/settings.h"
#include "base/small_file.h"

#if defined(FLEXLINK_KERNELS_FATBIN)
// native/cuda/kernels.cmake made the file; the assembler puts it here.
asm(".pushsection .rodata\n"
    ".balign 16\n"
    "kKernelsBegin:\n"
    ".incbin \"" FLEXLINK_KERNELS_FATBIN
    "\"\n"
    "kKernelsEnd:\n"
    ".byte 0\n"
    ".popsection\n");
extern "C" const unsigned char kKernelsBegin[];
extern "C" const unsigned char kKernelsEnd[];
#endif

namespace flexlink {
namespace {

KernelImage imageInside() {
#if defined(FLEXLINK_KERNELS_FATBIN)
  return {kKernelsBegin, static_cast<size_t>(kKernelsEnd - kKernelsBegin), FLEXLINK_KERNELS_TEXT};
#else
  return {nullptr, 0, FLEXLINK_KERNELS_TEXT};
#endif
}

struct ImageFile {
  std::string path = settings().cudaKernels;
  std::string bytes = wholeFile(path);
  std::string text = path + (bytes.empty() ? ": cannot be read, or is empty" : "");
};

}  // namespace

KernelImage kernelImage() {
  if (settings().cudaKernels.empty()) return imageInside();
  static const auto* file = new ImageFile;
  const void* fatbin = file->bytes.empty() ? nullptr : file->bytes.data();
  return {fatbin, file->bytes.size(), file->text.c_str()};
}

}  // namespace flexlink
