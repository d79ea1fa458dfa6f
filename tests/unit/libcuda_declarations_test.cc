// SPDX-License-Identifier: Apache-2.0
// Our own declarations of the driver's interface against NVIDIA's headers, where they are
// installed: at compile time, so that this file does not compile where they differ.
#include <gtest/gtest.h>

#include "drivers/libcuda.h"

#if __has_include(<cudaTypedefs.h>)
#include <cudaTypedefs.h>

#include <type_traits>
#include <utility>

namespace flexlink::test {
namespace {

#define X(name, theirs, value) static_assert(name == static_cast<int>(theirs), #theirs);
FLEXLINK_CUDA_NUMBERS(X)
#undef X

// Handles and enums have other names here: the same size, and both pointers or both none.
template <typename Ours, typename Theirs>
constexpr bool kAlike =
    sizeof(Ours) == sizeof(Theirs) && alignof(Ours) == alignof(Theirs) &&
    std::is_pointer_v<Ours> == std::is_pointer_v<Theirs>&& std::is_class_v<Ours> ==
        std::is_class_v<Theirs>;

template <typename Ours, typename Theirs>
struct SameForm : std::false_type {};
template <typename... Ours, typename... Theirs>
struct SameForm<flexlink::CUresult(Ours...), ::CUresult (*)(Theirs...)> {
  static constexpr bool value = [] {
    if constexpr (sizeof...(Ours) == sizeof...(Theirs)) {
      return (kAlike<Ours, Theirs> && ...);
    }
    return false;
  }();
};

// "PFN_cuMemAlloc_v3020" is the type of cuMemAlloc in the form that CUDA 3.2 brought.
#define X(member, plain, form, since, parameters) \
  static_assert(SameForm<flexlink::CUresult parameters, PFN_##plain##_v##since>::value, #plain);
FLEXLINK_CUDA_FUNCTIONS(X)
#undef X

static_assert(kAlike<flexlink::CUuuid, ::CUuuid>);
static_assert(kAlike<flexlink::CUipcMemHandle, ::CUipcMemHandle>);

}  // namespace
}  // namespace flexlink::test

TEST(Libcuda, IsDeclaredAsInNvidiasHeaders) { SUCCEED() << "this file has been compiled"; }
#else
TEST(Libcuda, IsDeclaredAsInNvidiasHeaders) { GTEST_SKIP() << "cudaTypedefs.h is not installed"; }
#endif
