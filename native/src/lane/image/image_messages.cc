// SPDX-License-Identifier: Apache-2.0
#include "lane/image/image_messages.h"

#include <algorithm>

#include "lane/call_text.h"

namespace flexlink {

ImageMessages::ImageMessages(int ranks, ImageMemory* memory, Lane* below)
    : memory_(*memory), below_(*below), ways_(2 * static_cast<size_t>(ranks)) {
  for (Way& way : ways_) {
    for (Piece& piece : way.pieces) piece.batch.single.resize(1);
  }
}

void ImageMessages::start(const Batch& batch, uint64_t since) {
  sheets_.push_back(std::make_unique<Sheet>(Sheet{&batch, since, batch.single.size(), {}}));
  for (const Call& call : batch.single) {
    Way& way = ways_[wayOf(call)];
    if (way.letters.empty()) busy_.push_back(wayOf(call));
    way.letters.push_back(
        {&call, sheets_.back().get(), {messageSignature(call), countOf(call)}, 0, 0, false});
  }
}

bool ImageMessages::poll() {
  bool moved = false;
  for (size_t index : busy_) moved = pollWay(index) || moved;
  std::erase_if(busy_, [this](size_t index) { return ways_[index].letters.empty(); });
  return moved;
}

// Pieces that were begun first are handed on first, also where the copy of a later one ends while
// this looks: the lane below keeps their order.
bool ImageMessages::pollWay(size_t index) {
  Way& way = ways_[index];
  bool moved = false;
  for (size_t i = 0; i < way.pieces.size(); ++i) {
    Piece& piece = way.pieces[(way.begun + i) % way.pieces.size()];
    if (piece.state == State::kComing) {
      if (!memory_.in().reached(piece.mark)) break;
      hand(&piece);
      moved = true;
    } else if (piece.state == State::kGoing && memory_.out().reached(piece.mark)) {
      end(index, &piece);
      moved = true;
    }
  }
  while (begin(index)) moved = true;
  if (moved) ++way.moves;
  return moved;
}

// The next piece of the first message that has one left; an empty message is one piece.
bool ImageMessages::begin(size_t index) {
  Way& way = ways_[index];
  Piece& piece = way.pieces[way.begun % way.pieces.size()];
  if (piece.state != State::kFree || way.open == way.letters.size()) return false;
  Letter& letter = way.letters[way.open];
  const Call& call = *letter.call;
  const size_t element = typeSize(call.type);
  uint8_t* image = memory_.piece(index, way.begun++);
  Call& part = piece.batch.single.front();
  part = call;
  part.count = std::min(memory_.pieceBytes() / element, call.count - letter.begun);
  part.whole = &letter.whole;
  piece.letter = &letter;
  piece.begin = letter.begun * element;
  letter.begun += part.count;
  ++letter.pieces;
  letter.whollyBegun = letter.begun == call.count;
  if (letter.whollyBegun) ++way.open;
  if (call.kind == Collective::kSend) {
    part.send = image;
    memory_.in().copy(image, static_cast<const uint8_t*>(call.send) + piece.begin, bytesOf(part));
    piece.mark = memory_.in().mark();
    piece.state = State::kComing;
  } else {
    part.recv = image;
    hand(&piece);
  }
  return true;
}

void ImageMessages::hand(Piece* piece) {
  piece->state = State::kCarried;
  below_.start(piece->batch);
}

bool ImageMessages::carried(const Batch* part, const Status& outcome) {
  for (size_t index : busy_) {
    for (Piece& piece : ways_[index].pieces) {
      if (&piece.batch != part || piece.state != State::kCarried) continue;
      ++ways_[index].moves;
      if (!outcome.ok()) {
        lose(index, &piece, outcome);
        return true;
      }
      piece.letter->call->kind == Collective::kRecv ? bring(&piece) : end(index, &piece);
      return true;
    }
  }
  return false;
}

// No further piece of this message will come either.
void ImageMessages::lose(size_t index, Piece* piece, const Status& why) {
  Letter& letter = *piece->letter;
  letter.sheet->outcome = why;
  if (!letter.whollyBegun) ++ways_[index].open;
  letter.whollyBegun = true;
  end(index, piece);
}

void ImageMessages::bring(Piece* piece) {
  const Call& part = piece->batch.single.front();
  auto* to = static_cast<uint8_t*>(piece->letter->call->recv) + piece->begin;
  memory_.out().copy(to, part.recv, bytesOf(part));
  piece->mark = memory_.out().mark();
  piece->state = State::kGoing;
}

void ImageMessages::end(size_t index, Piece* piece) {
  Way& way = ways_[index];
  piece->state = State::kFree;
  if (--piece->letter->pieces == 0 && piece->letter->whollyBegun) --piece->letter->sheet->left;
  auto over = [](const Letter& letter) { return letter.whollyBegun && letter.pieces == 0; };
  while (!way.letters.empty() && over(way.letters.front())) {
    way.letters.pop_front();
    --way.open;
  }
}

std::optional<ImageMessages::Sheet> ImageMessages::finished() {
  auto over = std::find_if(sheets_.begin(), sheets_.end(),
                           [](const auto& sheet) { return sheet->left == 0; });
  if (over == sheets_.end()) return std::nullopt;
  const Sheet sheet = **over;
  sheets_.erase(over);
  return sheet;
}

}  // namespace flexlink
