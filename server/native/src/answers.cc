#include "answers.h"

#include <utility>
#include <vector>

#include "step_response.h"

namespace elman {
namespace {

// Where step t of the packed output begins: after all rows' steps before it.
std::vector<int64_t> StepOffsets(const AnswerColumns& c) {
  const int64_t longest = c.num_rows ? c.length[0] : 0;
  std::vector<int64_t> offsets(static_cast<size_t>(longest));
  size_t rows = c.num_rows;
  int64_t at = 0;
  for (int64_t t = 0; t < longest; ++t) {
    while (rows && c.length[rows - 1] <= t) --rows;
    offsets[static_cast<size_t>(t)] = at;
    at += static_cast<int64_t>(rows);
  }
  return offsets;
}

Vectors OutputOf(const AnswerColumns& c, const std::vector<int64_t>& offsets, size_t row, int64_t finished_before) {
  Vectors vectors{{}, c.output_size};
  if (c.is_last) {
    if (c.finished[row]) vectors.at.push_back(c.output + finished_before * c.output_size);
    return vectors;
  }
  vectors.at.reserve(static_cast<size_t>(c.length[row]));
  for (int64_t t = 0; t < c.length[row]; ++t) {
    const int64_t step = offsets[static_cast<size_t>(t)] + static_cast<int64_t>(row);
    vectors.at.push_back(c.output + step * c.output_size);
  }
  return vectors;
}

Vectors StateOf(const StateColumns& state, int64_t finished_before) {
  Vectors vectors{{}, state.size};
  for (int64_t layer = 0; layer < state.num_layers; ++layer) {
    vectors.at.push_back(state.data + (layer * state.num_finished + finished_before) * state.size);
  }
  return vectors;
}

grpc::ByteBuffer MessageOf(const AnswerColumns& c, const std::vector<int64_t>& offsets, size_t row,
                           int64_t finished_before) {
  RowResult result{c.frame_id[row], c.start[row], c.length[row], c.finished[row], 0};
  Vectors output, h_n, c_n;
  if (c.output) {
    output = OutputOf(c, offsets, row, finished_before);
    result.output = &output;
  }
  if (c.finished[row]) {
    result.position = static_cast<uint64_t>(c.position[row]);
    if (c.h_n.data) {
      h_n = StateOf(c.h_n, finished_before);
      result.h_n = &h_n;
    }
    if (c.c_n.data) {
      c_n = StateOf(c.c_n, finished_before);
      result.c_n = &c_n;
    }
  }
  return WriteResult(result);
}

}  // namespace

void SendAnswers(Door* door, const AnswerColumns& c) {
  const auto calls = door->calls().FindAll(c.call, c.num_rows);
  const auto offsets = c.output && !c.is_last ? StepOffsets(c) : std::vector<int64_t>();
  int64_t finished_before = 0;
  bool wakes = false;
  for (size_t row = 0; row < c.num_rows; ++row) {
    const int64_t ended = c.finished[row] ? 1 : 0;
    if (calls[row]) {
      calls[row]->Answer({MessageOf(c, offsets, row, finished_before), false, ended, c.num_bytes[row]});
    } else {
      door->callers().AddSent(c.caller[row], ended, c.num_bytes[row]);
      wakes = true;
    }
    finished_before += ended;
  }
  if (wakes) door->stream_events().Wake();  // no events of those calls follow
}

}  // namespace elman
