#include "event_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace elman {

EventQueue::EventQueue() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
}

EventQueue::~EventQueue() { close(fd_); }

void EventQueue::Push(Event event) {
  bool is_first;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    num_bytes_ += (event.opening ? kOpenedBytes : kEventBytes) + event.message.Length();
    is_first = Append(std::move(event));
  }
  if (is_first) Wake();
}

void EventQueue::PushFrame(uint64_t call, int64_t caller, const SingleRow& row, grpc::Slice message) {
  bool is_first = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    num_bytes_ += message.size();
    if (waiting_.events.empty() || waiting_.events.back().kind != EventKind::kFrames) {
      Event event{0, EventKind::kFrames};
      event.frames = std::make_shared<FrameBatch>();
      is_first = Append(std::move(event));
    }
    waiting_.events.back().frames->Add(call, caller, row, std::move(message));
  }
  if (is_first) Wake();
}

void EventQueue::Wake() {
  // It cannot fail: the counter would have to be full, and it is reset with every TakeAll.
  eventfd_write(fd_, 1);
}

bool EventQueue::IsFull() {
  std::lock_guard<std::mutex> lock(mutex_);
  return num_bytes_ >= kMaxBytes;
}

bool EventQueue::PauseIfFull(const std::shared_ptr<Call>& call) {
  std::lock_guard<std::mutex> lock(mutex_);
  const bool is_full = num_bytes_ >= kMaxBytes;
  if (is_full) waiting_.paused.push_back(call);
  return is_full;
}

EventQueue::Taken EventQueue::TakeAll() {
  eventfd_t count;
  eventfd_read(fd_, &count);  // before the events are taken: what comes after wakes the loop anew
  Taken taken;
  std::lock_guard<std::mutex> lock(mutex_);
  std::swap(taken, waiting_);
  num_bytes_ = 0;
  return taken;
}

bool EventQueue::HasEvents() {
  std::lock_guard<std::mutex> lock(mutex_);
  return !waiting_.events.empty();
}

bool EventQueue::Append(Event event) {
  waiting_.events.push_back(std::move(event));
  return waiting_.events.size() == 1;
}

}  // namespace elman
