// SPDX-License-Identifier: Apache-2.0
// Says what the backend can in the way that the torch at hand asks for: by a virtual for each
// capability, or by one set of them (pytorch#193023), beside which those are no virtuals any more.
// The compiler looks which of the two is there; no version decides.
#pragma once

#include <utility>

struct BackendCapability;  // found below only where c10d has none
namespace c10d::flexlink {
using Capability = BackendCapability;
}

namespace flexlink::pytorch {

template <typename Base>
concept AsksForASet = requires(const Base& base) {
  base.capabilities();
};

// c10d::Backend with what this one can: splitting, coalescing and shrinking.
template <typename Base, typename Capability = c10d::flexlink::Capability>
class Announced : public Base {
 public:
  using Base::Base;
  // Without `override`: shrinking is a virtual from torch 2.10 on.
  virtual bool supportsSplitting() const { return true; }
  virtual bool supportsCoalescing() const { return true; }
  virtual bool supportsShrinking() const { return true; }
};

template <AsksForASet Base, typename Capability>
class Announced<Base, Capability> : public Base {
 public:
  using Base::Base;
  using Set = decltype(std::declval<const Base&>().capabilities());
  Set capabilities() const override {
    return {Capability::SPLITTING, Capability::COALESCING, Capability::SHRINKING};
  }
};

}  // namespace flexlink::pytorch
