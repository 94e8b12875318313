#include "call.h"

#include <chrono>
#include <limits>

#include "door.h"

namespace elman {
namespace {

std::string Text(const grpc::string_ref& text) { return std::string(text.data(), text.size()); }

double SecondsSinceEpoch(std::chrono::system_clock::time_point time) {
  if (time == std::chrono::system_clock::time_point::max()) return std::numeric_limits<double>::infinity();
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

}  // namespace

Call::Call(Door* door) : door_(door), events_(&door->events()) {}

void Call::Await(grpc::AsyncGenericService* service, grpc::ServerCompletionQueue* queue) {
  context_.AsyncNotifyWhenDone(&closed_);
  service->RequestCall(&context_, &stream_, queue, queue, &begun_);
}

void Call::HasBegun(bool ok) {
  if (!ok) {                           // the door stops
    door_->calls().DropAwaited(this);  // and so this
    return;
  }
  number_ = door_->calls().Begin(this);
  door_->AwaitCall();
  if (door_->events().IsFull()) {
    Refuse();
  } else {
    Open();
  }
  Release();
}

void Call::Open() {
  auto opening = std::make_unique<Opening>();
  opening->method = context_.method();
  opening->peer = context_.peer();
  opening->deadline_seconds = SecondsSinceEpoch(context_.deadline());
  for (const auto& [key, value] : context_.client_metadata()) opening->metadata.emplace_back(Text(key), Text(value));
  is_told_ = true;
  Event event{number_, EventKind::kOpened};
  event.opening = std::move(opening);
  door_->events().Push(std::move(event));
}

void Call::Refuse() {
  End({{grpc::StatusCode::RESOURCE_EXHAUSTED, "more calls come than the server takes in; try again later"}, {}, {}});
}

void Call::HandOver() { events_ = &door_->stream_events(); }

void Call::Receive() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (has_status_ || is_reading_) return;
  is_reading_ = true;
  ++num_under_way_;
  stream_.Read(&incoming_, &read_);
}

void Call::BeginFrames(std::shared_ptr<Caller> caller, bool takes_rows) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (caller_) return;
    caller_ = std::move(caller);
    takes_rows_ = takes_rows;
  }
  ReadOn();
}

void Call::ReadOn() {
  const auto self = shared_from_this();
  if (!caller_->PauseIfFull(self) && !events_.load()->PauseIfFull(self)) Receive();
}

void Call::Send(grpc::ByteBuffer message) {
  std::lock_guard<std::mutex> lock(mutex_);
  Put({std::move(message), true});
}

void Call::Answer(Outgoing answer) {
  std::lock_guard<std::mutex> lock(mutex_);
  num_open_ -= answer.num_rows;
  Put(std::move(answer));
}

void Call::Uncount() {
  std::lock_guard<std::mutex> lock(mutex_);
  --num_open_;
  TellIfIdle();
}

void Call::TellIdle() {
  std::lock_guard<std::mutex> lock(mutex_);
  tells_idle_ = true;
  TellIfIdle();
}

void Call::End(Ending ending) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (has_status_ || pending_) return;
  is_ours_ = true;
  FinishWhenWritten(std::move(ending));
}

void Call::HasRead(bool ok) {
  grpc::ByteBuffer message;
  bool reads_on;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    message.Swap(&incoming_);
    is_reading_ = false;
    reads_on = caller_ != nullptr;
  }
  if (!ok) {
    events_.load()->Push({number_, EventKind::kReadAll});
    Release();
    return;
  }
  if (reads_on) {
    PushAhead(std::move(message));
    ReadOn();
  } else {
    Event event{number_, EventKind::kReceived};
    event.message = std::move(message);
    events_.load()->Push(std::move(event));
  }
  Release();
}

void Call::HasWritten(bool ok) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    Settle(writing_, ok);
    writing_ = {};
    is_writing_ = false;
    if (!ok) DropUnwritten();
    WriteNext();
    if (pending_ && !is_writing_ && !has_status_) Finish(std::move(*pending_));
    TellIfIdle();
  }
  Release();
}

void Call::HasStatus(bool) { Release(); }

void Call::HasClosed(bool) {
  if (context_.IsCancelled()) {
    // The caller went away, or its deadline passed. gRPC waits for a status all the same.
    std::lock_guard<std::mutex> lock(mutex_);
    if (!has_status_) {
      is_ours_ = false;
      DropUnwritten();
      FinishWhenWritten({grpc::Status::CANCELLED, {}, std::nullopt});
    }
  }
  Release();
}

void Call::Release() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (--num_under_way_) return;
    DropUnwritten();
  }
  const auto self = shared_from_this();  // until the end of this
  door_->calls().Remove(number_);
  EventQueue* const events = events_;
  if (is_told_) door_->events().Push({number_, EventKind::kOver, is_ours_});
  if (events != &door_->events()) events->Push({number_, EventKind::kOver, is_ours_});
}

void Call::Put(Outgoing outgoing) {
  if (has_status_ || pending_) {
    Settle(outgoing, false);
    return;
  }
  outbox_.push_back(std::move(outgoing));
  if (!is_writing_) WriteNext();
}

void Call::WriteNext() {
  if (outbox_.empty() || has_status_) return;
  writing_ = std::move(outbox_.front());
  outbox_.pop_front();
  is_writing_ = true;
  ++num_under_way_;
  stream_.Write(writing_.message, &written_);
}

void Call::DropUnwritten() {
  for (const auto& outgoing : outbox_) Settle(outgoing, false);
  outbox_.clear();
}

void Call::FinishWhenWritten(Ending ending) {
  if (is_writing_) {
    pending_ = std::move(ending);
  } else {
    Finish(std::move(ending));
  }
}

void Call::Finish(Ending ending) {
  has_status_ = true;
  ++num_under_way_;
  for (const auto& [key, value] : ending.trailing) context_.AddTrailingMetadata(key, value);
  if (ending.message) {
    stream_.WriteAndFinish(*ending.message, grpc::WriteOptions(), ending.status, &status_);
  } else {
    stream_.Finish(ending.status, &status_);
  }
}

void Call::TellIfIdle() {
  if (!tells_idle_ || !IsIdle()) return;
  tells_idle_ = false;
  events_.load()->Push({number_, EventKind::kIdle});
}

void Call::Settle(const Outgoing& outgoing, bool ok) {
  if (outgoing.is_told) {
    events_.load()->Push({number_, EventKind::kSent, ok});
  } else if (caller_) {
    door_->callers().AddSent(caller_->number(), outgoing.num_rows, outgoing.num_bytes);
    if (caller_->IsFull()) door_->stream_events().Wake();  // it may have room now
  }
}

// What comes is counted before Python can have taken it in.

void Call::PushFrame(const SingleRow& row, grpc::Slice message) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    ++num_open_;
  }
  caller_->Count(1);
  events_.load()->PushFrame(number_, caller_->number(), row, std::move(message));
}

void Call::PushAhead(grpc::ByteBuffer message) {
  Event event{number_, EventKind::kAhead};
  event.num_rows = 1;
  grpc::Slice slice;
  if (takes_rows_ && (message.TrySingleSlice(&slice).ok() || message.DumpToSingleSlice(&slice).ok())) {
    SingleRow row;
    const std::string_view bytes(reinterpret_cast<const char*>(slice.begin()), slice.size());
    if (ReadSingleRow(bytes, door_->server_instance(), &row)) {
      PushFrame(row, std::move(slice));
      return;
    }
    event.num_rows = CountRows(bytes);
  }
  caller_->Count(event.num_rows);
  event.message = std::move(message);
  events_.load()->Push(std::move(event));
}

}  // namespace elman
