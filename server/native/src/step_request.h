// elman.v1.StepRequest as far as a frame of one row goes, read straight from its bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>

namespace elman {

// A frame of one row: proto/elman/v1/inference.proto says what each field means.
struct SingleRow {
  uint64_t frame_id = 0;
  uint64_t handle = 0;
  int64_t length = 0;
  int64_t position = -1;  // -1: where the session is
  int32_t dtype = 0;
  int32_t num_dims = 0;
  int64_t dims[2] = {0, 0};  // of the tensor; those that it has
  int32_t return_output = 0;
  bool return_state = false;
  double timeout_seconds = std::numeric_limits<double>::infinity();
  size_t data_at = 0;    // where the tensor's data begins in the message
  size_t num_bytes = 0;  // of the data
};

// Reads `message`. False for whatever is not plainly a frame of one row for this `server_instance`: Python looks at it
// then, be it to say what is wrong. No policy is decided here.
bool ReadSingleRow(std::string_view message, std::string_view server_instance, SingleRow* row);

// As how many rows any other message counts, by its handles; at least 1, whatever it is.
int64_t CountRows(std::string_view message);

}  // namespace elman
