// SPDX-License-Identifier: Apache-2.0
// Messages of a GPU's memory as messages of images: piece by piece, two at a time for each
// direction of each pair, so that a message that nobody takes holds up no other.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "lane/image/image_memory.h"
#include "lane/lane.h"

namespace flexlink {

class ImageMessages {
 public:
  // Both outlive it. `below` overlaps batches of messages.
  ImageMessages(int ranks, ImageMemory* memory, Lane* below);

  struct Sheet {  // a batch
    const Batch* batch;
    uint64_t since;  // ticks of the probe
    size_t left;     // messages that are not through
    Status outcome;  // why one of them will never come
  };

  // Takes up the messages of a batch, which stays as it is until finished() has given it back.
  void start(const Batch& batch, uint64_t since);

  bool empty() const { return sheets_.empty(); }

  // Of those at hand, the one that was started first.
  const Batch& oldest() const { return *sheets_.front()->batch; }

  // True: something moved.
  bool poll();

  // The lane below is done with a batch, with this outcome. False: it was none of these.
  bool carried(const Batch* part, const Status& outcome);

  // One whose messages are all through, if there is one; it is forgotten.
  std::optional<Sheet> finished();

  uint64_t moves(size_t way) const { return ways_[way].moves; }

 private:
  struct Letter {  // a message
    const Call* call;
    Sheet* sheet;
    Whole whole;
    size_t begun = 0;   // elements
    size_t pieces = 0;  // begun and not over
    bool whollyBegun = false;
  };
  enum class State : uint8_t { kFree, kComing, kCarried, kGoing };
  struct Piece {
    State state = State::kFree;
    Letter* letter = nullptr;
    size_t begin = 0;   // bytes into the message
    uint64_t mark = 0;  // of the copy under way
    Batch batch;        // for the lane below
  };
  struct Way {
    std::deque<Letter> letters;  // a Letter stays where it is
    size_t open = 0;             // the first one that is not wholly begun
    size_t begun = 0;            // pieces so far: where the next one goes
    std::array<Piece, ImageMemory::kPieces> pieces;
    uint64_t moves = 0;
  };

  bool pollWay(size_t index);
  bool begin(size_t index);
  void hand(Piece* piece);
  void bring(Piece* piece);
  void lose(size_t index, Piece* piece, const Status& why);
  void end(size_t index, Piece* piece);

  ImageMemory& memory_;
  Lane& below_;
  std::vector<Way> ways_;
  std::vector<size_t> busy_;  // ways that have letters
  std::vector<std::unique_ptr<Sheet>> sheets_;
};

}  // namespace flexlink
