// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/kernel_image.h"

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

KernelImage kernelImage() {
#if defined(FLEXLINK_KERNELS_FATBIN)
  return {kKernelsBegin, static_cast<size_t>(kKernelsEnd - kKernelsBegin), FLEXLINK_KERNELS_TEXT};
#else
  return {nullptr, 0, FLEXLINK_KERNELS_TEXT};
#endif
}

}  // namespace flexlink
