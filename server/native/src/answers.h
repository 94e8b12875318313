// A batch's results to frames of one row each, from columns to messages.
#pragma once

#include <cstddef>
#include <cstdint>

#include "door.h"

namespace elman {

// float32 [num_layers, num_finished, size], row-major; no data: not asked for.
struct StateColumns {
  const float* data = nullptr;
  int64_t num_layers = 0;
  int64_t num_finished = 0;
  int64_t size = 0;
};

// Entry i of every column is row i's; rows are longest first.
struct AnswerColumns {
  size_t num_rows = 0;
  const uint64_t* call = nullptr;
  const int64_t* caller = nullptr;
  const uint64_t* frame_id = nullptr;
  const int64_t* start = nullptr;   // the step of its chunk at which the row's part begins
  const int64_t* length = nullptr;  // steps here, non-increasing
  const bool* finished = nullptr;
  const int64_t* position = nullptr;   // the session's, if finished
  const int64_t* num_bytes = nullptr;  // of the row's tensors
  // float32: [sum(length), size] packed, or with `is_last` [finished rows, size]; no data: none was asked for.
  const float* output = nullptr;
  int64_t output_size = 0;
  bool is_last = false;
  StateColumns h_n, c_n;
};

// Sends each row its answer. Needs no lock of the interpreter's.
void SendAnswers(Door* door, const AnswerColumns& columns);

}  // namespace elman
