#include "call.h"

#include <chrono>
#include <limits>
#include <memory>

#include "call_table.h"

namespace elman {
namespace {

std::string Text(const grpc::string_ref& text) { return std::string(text.data(), text.size()); }

double SecondsSinceEpoch(std::chrono::system_clock::time_point time) {
  if (time == std::chrono::system_clock::time_point::max()) return std::numeric_limits<double>::infinity();
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

}  // namespace

Call::Call(uint64_t number, grpc::GenericCallbackServerContext* context, CallTable* calls, EventQueue* events)
    : number_(number), context_(context), calls_(calls), events_(events) {}

void Call::Open() {
  auto opening = std::make_unique<Opening>();
  opening->method = context_->method();
  opening->peer = context_->peer();
  opening->deadline_seconds = SecondsSinceEpoch(context_->deadline());
  for (const auto& [key, value] : context_->client_metadata()) opening->metadata.emplace_back(Text(key), Text(value));
  events_->Push({number_, EventKind::kOpened, true, {}, std::move(opening)});
}

void Call::Receive() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!has_status_) StartRead(&incoming_);
}

void Call::Send(grpc::ByteBuffer message) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (has_status_ || is_writing_) return;
  outgoing_ = std::move(message);
  is_writing_ = true;
  StartWrite(&outgoing_);
}

void Call::End(Ending ending) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (has_status_ || pending_) return;
  is_ours_ = true;
  if (is_writing_) {
    pending_ = std::move(ending);
  } else {
    Finish(std::move(ending));
  }
}

void Call::Cancel() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!has_status_) context_->TryCancel();
}

void Call::OnReadDone(bool ok) {
  grpc::ByteBuffer message;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    message.Swap(&incoming_);
  }
  events_->Push({number_, ok ? EventKind::kReceived : EventKind::kReadAll, ok, std::move(message), nullptr});
}

void Call::OnWriteDone(bool ok) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    is_writing_ = false;
    outgoing_.Clear();
    if (pending_ && !has_status_) Finish(std::move(*pending_));
    pending_.reset();
  }
  events_->Push({number_, EventKind::kSent, ok, {}, nullptr});
}

void Call::OnCancel() {
  // The caller went away, or its deadline passed. gRPC waits for a status all the same.
  std::lock_guard<std::mutex> lock(mutex_);
  if (has_status_) return;
  is_ours_ = false;
  Ending ending{grpc::Status::CANCELLED, {}, std::nullopt};
  if (is_writing_) {
    pending_ = std::move(ending);
  } else {
    Finish(std::move(ending));
  }
}

void Call::OnDone() {
  bool is_ours;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    has_status_ = true;
    is_ours = is_ours_;
  }
  events_->Push({number_, EventKind::kOver, is_ours, {}, nullptr});
  calls_->Remove(number_);  // perhaps the last reference: nothing may follow
}

void Call::Finish(Ending ending) {
  has_status_ = true;
  for (const auto& [key, value] : ending.trailing) context_->AddTrailingMetadata(key, value);
  if (ending.message) {
    outgoing_ = std::move(*ending.message);
    StartWriteAndFinish(&outgoing_, grpc::WriteOptions(), ending.status);
  } else {
    grpc::ServerGenericBidiReactor::Finish(ending.status);
  }
}

}  // namespace elman
