// One RPC: messages in and out as bytes, and a status.
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "event_queue.h"

namespace elman {

class CallTable;

using Metadata = std::vector<std::pair<std::string, std::string>>;

// How a call ends.
struct Ending {
  grpc::Status status;
  Metadata trailing;
  std::optional<grpc::ByteBuffer> message;  // a last one
};

// At most one Receive and one Send are under way at a time. Every method is safe on any thread, and does nothing once
// the call has its status.
class Call final : public grpc::ServerGenericBidiReactor {
 public:
  Call(uint64_t number, grpc::GenericCallbackServerContext* context, CallTable* calls, EventQueue* events);

  // Tells how the call began.
  void Open();
  // Reads one message: kReceived or kReadAll follows.
  void Receive();
  // Writes a message: kSent follows.
  void Send(grpc::ByteBuffer message);
  // Ends the call, after what is being written.
  void End(Ending ending);
  // Ends it as gRPC cancels calls.
  void Cancel();

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  void Finish(Ending ending);  // with mutex_ held

  const uint64_t number_;
  grpc::GenericCallbackServerContext* const context_;  // gRPC's, until OnDone
  CallTable* const calls_;
  EventQueue* const events_;

  std::mutex mutex_;
  grpc::ByteBuffer incoming_;
  grpc::ByteBuffer outgoing_;
  bool is_writing_ = false;
  bool has_status_ = false;        // no operation may be begun any more
  bool is_ours_ = false;           // the status, and not a cancellation's
  std::optional<Ending> pending_;  // once what is being written is written
};

}  // namespace elman
