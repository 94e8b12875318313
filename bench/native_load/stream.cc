#include "stream.h"

#include <grpcpp/support/proto_buffer_reader.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace load {

grpc::ByteBuffer Serialised(const elman::v1::StepRequest& request) {
  const grpc::Slice slice(request.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

Stream::Stream(const std::shared_ptr<grpc::Channel>& channel, grpc::CompletionQueue* queue, grpc::ByteBuffer frame,
               Latencies* latencies)
    : stub_(channel),
      frame_(std::move(frame)),
      latencies_(latencies),
      begun_{this, Happening::kBegun},
      written_{this, Happening::kWritten},
      read_{this, Happening::kRead} {
  call_ = stub_.PrepareCall(&context_, "/elman.v1.Inference/Step", queue);
  call_->StartCall(&begun_);
}

void Stream::Happened(Happening happening, bool ok) {
  if (is_stopped_) return;
  if (!ok) Fail();
  if (happening == Happening::kBegun) {
    Read();
  } else if (happening == Happening::kWritten) {
    is_writing_ = false;
  } else if (!is_greeted_) {
    is_greeted_ = is_answered_ = true;
  } else {
    TakeIn();
  }
  if (is_answered_ && !is_writing_) Send();
}

void Stream::Stop() {
  is_stopped_ = true;
  context_.TryCancel();
}

void Stream::Send() {
  is_answered_ = false;
  is_writing_ = true;
  sent_at_ = Clock::now();
  call_->Write(frame_, &written_);
  Read();
}

void Stream::Read() { call_->Read(&incoming_, &read_); }

void Stream::TakeIn() {
  grpc::ProtoBufferReader reader(&incoming_);
  if (!response_.ParseFromZeroCopyStream(&reader)) throw std::runtime_error("an answer that does not parse");
  if (response_.errors_size() || response_.has_frame_error()) {
    throw std::runtime_error("refused: " + response_.ShortDebugString());
  }
  incoming_.Clear();
  if (!response_.finished_size()) {  // a part of a longer chunk's
    Read();
    return;
  }
  latencies_->push_back(std::chrono::duration<float>(Clock::now() - sent_at_).count());
  is_answered_ = true;
}

void Stream::Fail() { throw std::runtime_error("a stream has ended"); }

}  // namespace load
