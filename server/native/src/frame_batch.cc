#include "frame_batch.h"

#include <utility>

namespace elman {

void FrameBatch::Add(uint64_t call_number, int64_t caller_number, const SingleRow& row, grpc::Slice bytes) {
  call.push_back(call_number);
  caller.push_back(caller_number);
  frame_id.push_back(row.frame_id);
  handle.push_back(row.handle);
  length.push_back(row.length);
  position.push_back(row.position);
  num_bytes.push_back(static_cast<int64_t>(row.num_bytes));
  message_bytes.push_back(static_cast<int64_t>(bytes.size()));
  dtype.push_back(row.dtype);
  num_dims.push_back(row.num_dims);
  dim_0.push_back(row.dims[0]);
  dim_1.push_back(row.dims[1]);
  return_output.push_back(row.return_output);
  return_state.push_back(row.return_state ? 1 : 0);
  timeout_seconds.push_back(row.timeout_seconds);
  data_at.push_back(row.data_at);  // not an address: a short slice holds its bytes itself, and moves
  message.push_back(std::move(bytes));
}

}  // namespace elman
