// Events on their way from gRPC's threads to the event loop's.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "event.h"

namespace elman {

class Call;

// Filled from any thread, emptied by one. `fd` is readable from the first event after the queue was emptied until it is
// emptied again, so that an event loop is woken once however many events there are.
class EventQueue {
 public:
  // All that was there, in order, and the calls that are to read on now.
  struct Taken {
    std::vector<Event> events;
    std::vector<std::shared_ptr<Call>> paused;
  };

  EventQueue();
  ~EventQueue();
  EventQueue(const EventQueue&) = delete;
  EventQueue& operator=(const EventQueue&) = delete;

  int fd() const { return fd_; }
  void Push(Event event);
  // A frame of one row; those that stand together are one event.
  void PushFrame(uint64_t call, int64_t caller, const SingleRow& row, grpc::Slice message);
  // Makes `fd` readable although there may be no event.
  void Wake();
  // Whether there are too many bytes already.
  bool IsFull();
  // Whether there are; if so the call reads on once they are taken.
  bool PauseIfFull(const std::shared_ptr<Call>& call);
  Taken TakeAll();
  // Whether there is something that was not taken yet.
  bool HasEvents();

 private:
  static constexpr size_t kMaxBytes = 64 << 20;
  static constexpr size_t kEventBytes = 2048;   // about what one is beside its message
  static constexpr size_t kOpenedBytes = 8192;  // and a call that begins, for which gRPC has as much again and more

  bool Append(Event event);  // with mutex_ held; whether to wake

  const int fd_;
  std::mutex mutex_;
  Taken waiting_;
  size_t num_bytes_ = 0;
};

}  // namespace elman
