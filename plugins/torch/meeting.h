// SPDX-License-Identifier: Apache-2.0
// How the ranks of a communicator find each other: over the group's store.
#pragma once

#include <memory>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

#include "communicator.h"

namespace flexlink::pytorch {

struct Meeting {
  c10::intrusive_ptr<c10d::Store> store;
  std::string key;  // of this meeting alone
  int rank = 0;
  int size = 1;
  std::string name;          // in logs
  std::vector<int> members;  // their numbers in the group; empty: it is the group
};

// All ranks of the meeting call this; on a GPU it is the calling thread's. The key goes once all
// have it, so that a later meeting finds none of ours.
std::shared_ptr<Communicator> meet(const Library& library, const Meeting& meeting,
                                   ncclUniqueId* id);

}  // namespace flexlink::pytorch
