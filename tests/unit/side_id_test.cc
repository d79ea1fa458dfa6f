// SPDX-License-Identifier: Apache-2.0
// What lies behind the vendor's bytes of a unique id.
#include "comm/side_id.h"

#include <gtest/gtest.h>
#include <string.h>

#include <algorithm>

namespace flexlink {
namespace {

const Cookie kFresh = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

SocketAddress door() { return SocketAddress::loopback(AF_INET6, 4711); }

// NVIDIA's fills 40 bytes; the rest is zero.
ncclUniqueId vendors() {
  ncclUniqueId id{};
  for (int i = 0; i < 40; ++i) id.internal[i] = static_cast<char>(i + 1);
  return id;
}

TEST(SideId, ComesBackFromBehindTheVendorsBytes) {
  ncclUniqueId id = vendors();
  EXPECT_EQ(addSide(door(), kFresh, &id), kFresh);
  EXPECT_EQ(memcmp(id.internal, vendors().internal, 40), 0);
  const std::optional<UniqueId> side = findSide(id);
  ASSERT_TRUE(side.has_value());
  EXPECT_EQ(side->cookie, kFresh);
  EXPECT_EQ(side->address, door());
}

TEST(SideId, ComesBackFromBehindTheBytesOfACopyWithACookieThatFollowsFromThem) {
  const ncclUniqueId copys = packUniqueId({SocketAddress::loopback(AF_INET, 9), kFresh});
  ncclUniqueId id = copys;
  const std::optional<Cookie> cookie = addSide(door(), {}, &id);
  ASSERT_TRUE(cookie.has_value());
  EXPECT_NE(*cookie, kFresh);
  EXPECT_EQ(memcmp(id.internal, copys.internal, 96), 0);
  EXPECT_EQ(unpackUniqueId(id).value().cookie, kFresh);
  const std::optional<UniqueId> side = findSide(id);
  ASSERT_TRUE(side.has_value());
  EXPECT_EQ(side->cookie, *cookie);
  EXPECT_EQ(side->address, door());
  ncclUniqueId other = packUniqueId({SocketAddress::loopback(AF_INET, 9), {7}});
  EXPECT_NE(addSide(door(), {}, &other), cookie);
}

TEST(SideId, IsNotFoundWhereItIsNot) {
  EXPECT_FALSE(findSide(vendors()).has_value());
  EXPECT_FALSE(findSide(packUniqueId({door(), kFresh})).has_value());
  EXPECT_FALSE(findSide(ncclUniqueId{}).has_value());
  ncclUniqueId full;
  std::fill(std::begin(full.internal), std::end(full.internal), 'x');
  EXPECT_FALSE(addSide(door(), kFresh, &full).has_value());
  EXPECT_FALSE(findSide(full).has_value());
}

}  // namespace
}  // namespace flexlink
