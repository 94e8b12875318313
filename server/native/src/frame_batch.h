// Frames of one row each that came together, as columns.
#pragma once

#include <grpcpp/support/slice.h>

#include <cstdint>
#include <vector>

#include "step_request.h"

namespace elman {

// Entry i of every column is the i-th frame's; the order is that in which they came.
struct FrameBatch {
  std::vector<uint64_t> call;
  std::vector<int64_t> caller;  // whom the call counts against
  std::vector<uint64_t> frame_id;
  std::vector<uint64_t> handle;
  std::vector<int64_t> length;
  std::vector<int64_t> position;   // -1: where the session is
  std::vector<int64_t> num_bytes;  // of the data
  std::vector<int64_t> message_bytes;
  std::vector<int32_t> dtype;
  std::vector<int32_t> num_dims;
  std::vector<int64_t> dim_0, dim_1;
  std::vector<int32_t> return_output;
  std::vector<uint8_t> return_state;
  std::vector<double> timeout_seconds;  // infinite: none
  std::vector<grpc::Slice> message;     // the bytes as they came
  std::vector<size_t> data_at;          // where the tensor's begin in them

  void Add(uint64_t call_number, int64_t caller_number, const SingleRow& row, grpc::Slice bytes);
  const uint8_t* data(size_t i) const { return message[i].begin() + data_at[i]; }
  size_t size() const { return call.size(); }
};

}  // namespace elman
