// elman.v1.StepResponse to a frame of one row, written straight to its bytes.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <vector>

namespace elman {

// float32 vectors of `size` elements each, wherever they lie.
struct Vectors {
  std::vector<const float*> at;
  int64_t size = 0;
};

// One row's part of an engine step.
struct RowResult {
  uint64_t frame_id = 0;
  int64_t start = 0;   // the step of its chunk at which this part begins
  int64_t length = 0;  // steps
  bool is_finished = false;
  uint64_t position = 0;            // the session's, if finished
  const Vectors* output = nullptr;  // [steps, output_size], or none
  const Vectors* h_n = nullptr;     // [num_layers, 1, size], if finished and asked for
  const Vectors* c_n = nullptr;
};

grpc::ByteBuffer WriteResult(const RowResult& result);

}  // namespace elman
