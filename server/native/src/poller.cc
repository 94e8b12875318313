#include "poller.h"

#include <chrono>
#include <utility>

#include "call.h"
#include "event_queue.h"

namespace elman {
namespace {

constexpr auto kRest = std::chrono::milliseconds(1);
constexpr int kMaxTakenIn =
    4096;  // at a time, so that the engine's thread is never kept by those who send without a pause

}  // namespace

Poller::Poller(std::unique_ptr<grpc::ServerCompletionQueue> queue, EventQueue* events, bool has_one_core)
    : queue_(std::move(queue)), events_(events), has_one_core_(has_one_core) {}

Poller::~Poller() { Stop(); }

void Poller::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Poller::Stop() {
  if (is_stopped_) return;
  is_stopped_ = true;
  queue_->Shutdown();
  if (thread_.joinable()) {
    thread_.join();
  } else {
    Run();
  }
}

void Poller::TakeIn() {
  if (!has_one_core_) return;
  for (int i = 0; i < kMaxTakenIn && TellNext(gpr_inf_past(GPR_CLOCK_MONOTONIC)); ++i) {
  }
}

void Poller::Resume() {
  if (!has_one_core_) return;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    is_resumed_ = true;
  }
  changed_.notify_one();
}

bool Poller::TellNext(gpr_timespec deadline) {
  void* tag;
  bool ok;
  if (queue_->AsyncNext(&tag, &ok, deadline) != grpc::CompletionQueue::GOT_EVENT) return false;
  const auto* operation = static_cast<Operation*>(tag);
  (operation->call->*operation->is_over)(ok);
  return true;
}

void Poller::Run() {
  while (TellNext(gpr_inf_future(GPR_CLOCK_MONOTONIC))) {
    if (has_one_core_) Rest();
  }
}

void Poller::Rest() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    is_resumed_ = false;
  }
  TakeIn();
  if (!events_->HasEvents()) return;
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait_for(lock, kRest, [this] { return is_resumed_; });
}

}  // namespace elman
