// SPDX-License-Identifier: Apache-2.0
#include "meeting.h"

#include <c10/util/Exception.h>

#include <cstring>

namespace flexlink::pytorch {
namespace {

ncclUniqueId agreeOnId(const Library& library, const Meeting& meeting) {
  ncclUniqueId id;
  if (meeting.rank == 0) {
    library.check(library.ncclGetUniqueId(&id), "ncclGetUniqueId");
    const auto* bytes = reinterpret_cast<const uint8_t*>(&id);
    meeting.store->set(meeting.key, std::vector<uint8_t>(bytes, bytes + sizeof id));
    return id;
  }
  std::vector<uint8_t> bytes = meeting.store->get(meeting.key);
  TORCH_CHECK(bytes.size() == sizeof id, "flexlink: the store's ", meeting.key, " has ",
              bytes.size(), " bytes, not ", sizeof id, ": another program uses this store");
  std::memcpy(&id, bytes.data(), sizeof id);
  return id;
}

}  // namespace

std::shared_ptr<Communicator> meet(const Library& library, const Meeting& meeting,
                                   ncclUniqueId* id) {
  *id = agreeOnId(library, meeting);
  auto comm = Communicator::create(library, *id, meeting.rank, meeting.size, meeting.name);
  if (meeting.rank == 0) meeting.store->deleteKey(meeting.key);
  return comm;
}

}  // namespace flexlink::pytorch
