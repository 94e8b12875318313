// One stream of one session: a closed loop with one frame in flight.
#pragma once

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <vector>

#include "elman/v1/inference.pb.h"

namespace load {

using Clock = std::chrono::steady_clock;
using Latencies = std::vector<float>;  // seconds

// A frame, serialised ahead; on the wire it is the same each time, since one is in flight.
grpc::ByteBuffer Serialised(const elman::v1::StepRequest& request);

class Stream {
 public:
  // What of a stream's has happened, for the completion queue.
  enum class Happening { kBegun, kWritten, kRead };
  struct Tag {
    Stream* stream;
    Happening happening;
  };

  Stream(const std::shared_ptr<grpc::Channel>& channel, grpc::CompletionQueue* queue, grpc::ByteBuffer frame,
         Latencies* latencies);

  // Takes in that an operation is over; throws std::runtime_error where the server answers anything but one step's end.
  void Happened(Happening happening, bool ok);
  // Sends no more, and cancels what is under way.
  void Stop();

 private:
  void Send();
  void Read();
  void TakeIn();
  [[noreturn]] void Fail();

  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
  const grpc::ByteBuffer frame_;
  Latencies* const latencies_;
  Tag begun_, written_, read_;
  grpc::ByteBuffer incoming_;
  elman::v1::StepResponse response_;
  Clock::time_point sent_at_;
  bool is_greeted_ = false;
  bool is_writing_ = false;
  bool is_answered_ = false;
  bool is_stopped_ = false;
};

}  // namespace load
