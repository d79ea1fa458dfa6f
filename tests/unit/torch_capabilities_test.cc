// SPDX-License-Identifier: Apache-2.0
// Announced<> over stand-ins for the c10d::Backend of three ages: asked through the base, as torch
// does, it says the same.
#include <gtest/gtest.h>

#include <bitset>
#include <initializer_list>

#include "../../plugins/torch/capabilities.h"

namespace flexlink::pytorch {
namespace {

struct WithoutShrinking {
  explicit WithoutShrinking(int given) : rank(given) {}
  virtual ~WithoutShrinking() = default;
  virtual bool supportsSplitting() const { return false; }
  virtual bool supportsCoalescing() const { return false; }
  int rank;
};

struct WithVirtuals : WithoutShrinking {
  using WithoutShrinking::WithoutShrinking;
  virtual bool supportsShrinking() const { return false; }
};

struct Capability {
  enum Name { SPLITTING, COALESCING, SHRINKING, COUNT };  // NOLINT(readability-identifier-naming)
};

class Capabilities {
 public:
  Capabilities(std::initializer_list<Capability::Name> all) {
    for (Capability::Name each : all) bits_.set(each);
  }
  bool has(Capability::Name one) const { return bits_.test(one); }

 private:
  std::bitset<Capability::COUNT> bits_;
};

struct WithASet {
  explicit WithASet(int given) : rank(given) {}
  virtual ~WithASet() = default;
  virtual Capabilities capabilities() const { return {}; }
  bool supportsSplitting() const { return capabilities().has(Capability::SPLITTING); }
  bool supportsCoalescing() const { return capabilities().has(Capability::COALESCING); }
  bool supportsShrinking() const { return capabilities().has(Capability::SHRINKING); }
  int rank;
};

TEST(TorchCapabilities, AreVirtualsWhereTheBaseHasThem) {
  const Announced<WithVirtuals> backend(3);
  const WithVirtuals& asked = backend;
  EXPECT_EQ(asked.rank, 3);
  EXPECT_TRUE(asked.supportsSplitting());
  EXPECT_TRUE(asked.supportsCoalescing());
  EXPECT_TRUE(asked.supportsShrinking());
}

TEST(TorchCapabilities, NeedNoVirtualForEach) {
  const Announced<WithoutShrinking> backend(3);
  const WithoutShrinking& asked = backend;
  EXPECT_TRUE(asked.supportsCoalescing());
}

TEST(TorchCapabilities, AreASetWhereTheBaseAsksForOne) {
  const Announced<WithASet, Capability> backend(3);
  const WithASet& asked = backend;
  EXPECT_EQ(asked.rank, 3);
  EXPECT_TRUE(asked.supportsSplitting());
  EXPECT_TRUE(asked.supportsCoalescing());
  EXPECT_TRUE(asked.supportsShrinking());
}

}  // namespace
}  // namespace flexlink::pytorch
