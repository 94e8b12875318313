// What happens to a call, as Python is told it.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "frame_batch.h"

namespace elman {

enum class EventKind : int {
  kOpened = 0,    // a caller has begun a call: `opening`
  kReceived = 1,  // the message that was asked for: `message`
  kReadAll = 2,   // no message comes any more: the caller has said so, or is gone
  kSent = 3,      // a message was written, or (`ok` false) will never be
  kOver = 4,      // nothing travels any more; `ok`: the status was the server's own
  kIdle = 5,      // as asked for: every frame is answered, and every answer written
  kFrames = 6,    // frames of one row, of any calls: `frames`
  kAhead = 7,     // a message that was read by itself: `message`, and as how many rows it counts: `num_rows`
};

// How a call began.
struct Opening {
  std::string method;  // "/package.Service/Method", as bytes: it may be no text
  std::string peer;
  double deadline_seconds;  // since the epoch; infinite without a deadline
  std::vector<std::pair<std::string, std::string>> metadata;
};

struct Event {
  uint64_t call;
  EventKind kind;
  bool ok = true;
  grpc::ByteBuffer message = {};
  std::unique_ptr<Opening> opening = nullptr;
  std::shared_ptr<FrameBatch> frames = nullptr;
  int64_t num_rows = 0;
};

}  // namespace elman
