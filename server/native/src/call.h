// One RPC: messages in and out as bytes, and a status.
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "caller.h"
#include "event_queue.h"

namespace elman {

class Door;

using Metadata = std::vector<std::pair<std::string, std::string>>;

// How a call ends.
struct Ending {
  grpc::Status status;
  Metadata trailing;
  std::optional<grpc::ByteBuffer> message;  // a last one
};

// A message that is to be written.
struct Outgoing {
  grpc::ByteBuffer message;
  bool is_told = false;   // kSent follows; else the caller's books are told
  int64_t num_rows = 0;   // rows that end with it
  int64_t num_bytes = 0;  // of its tensors
};

class Call;

// What the completion queue gives back once it is over.
struct Operation {
  Call* call;
  void (Call::*is_over)(bool ok);
};

// Every method is safe on any thread, and does nothing once the call has its status.
class Call final : public std::enable_shared_from_this<Call> {
 public:
  explicit Call(Door* door);

  // Becomes the next call that comes. Whoever holds it holds it until then.
  void Await(grpc::AsyncGenericService* service, grpc::ServerCompletionQueue* queue);
  // From now on its events are `Door::stream_events`.
  void HandOver();
  // Reads one message, if none is being read: kReceived or kReadAll follows.
  void Receive();
  // From now on messages are read as they come: kAhead; with `takes_rows`, frames of one row into the queue's batch.
  void BeginFrames(std::shared_ptr<Caller> caller, bool takes_rows);
  // Reads the next of them, now or after a pause.
  void ReadOn();
  // Writes a message: kSent follows.
  void Send(grpc::ByteBuffer message);
  // Writes an answer to a frame of one row, which may end it.
  void Answer(Outgoing answer);
  // A frame of one row is answered in another way: by Send.
  void Uncount();
  // kIdle follows once no frame of one row is open and all is written.
  void TellIdle();
  // Ends the call, after what is being written.
  void End(Ending ending);

 private:
  // What the completion queue tells.
  void HasBegun(bool ok);
  void HasRead(bool ok);
  void HasWritten(bool ok);
  void HasStatus(bool ok);
  void HasClosed(bool ok);

  // Tells how the call began.
  void Open();
  // Ends it without telling that it ever was: more has come than is taken.
  void Refuse();
  // One operation less is under way; after the last one the call is over.
  void Release();

  // With mutex_ held:
  void Put(Outgoing outgoing);
  void WriteNext();
  void DropUnwritten();
  void Finish(Ending ending);
  void FinishWhenWritten(Ending ending);
  bool IsIdle() const { return num_open_ == 0 && !is_writing_ && outbox_.empty(); }
  void TellIfIdle();

  void Settle(const Outgoing& outgoing, bool ok);
  void PushAhead(grpc::ByteBuffer message);
  void PushFrame(const SingleRow& row, grpc::Slice message);

  Door* const door_;
  std::atomic<EventQueue*> events_;  // where its events go
  grpc::GenericServerContext context_;
  grpc::GenericServerAsyncReaderWriter stream_{&context_};
  Operation begun_{this, &Call::HasBegun}, read_{this, &Call::HasRead}, written_{this, &Call::HasWritten},
      status_{this, &Call::HasStatus}, closed_{this, &Call::HasClosed};
  uint64_t number_ = 0;   // once it has begun
  bool is_told_ = false;  // that it began

  std::mutex mutex_;
  grpc::ByteBuffer incoming_;
  int num_under_way_ = 2;  // operations; the first are that it begins, and that it closes
  bool is_reading_ = false;
  std::shared_ptr<Caller> caller_;  // once BeginFrames was called
  bool takes_rows_ = false;
  std::deque<Outgoing> outbox_;
  Outgoing writing_;
  bool is_writing_ = false;
  int64_t num_open_ = 0;  // frames of one row without an answer
  bool tells_idle_ = false;
  bool has_status_ = false;        // no operation may be begun any more
  bool is_ours_ = false;           // the status, and not a cancellation's
  std::optional<Ending> pending_;  // once all is written
};

}  // namespace elman
