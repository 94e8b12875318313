// Events on their way from gRPC's threads to the event loop's.
#pragma once

#include <mutex>
#include <vector>

#include "event.h"

namespace elman {

// Filled from any thread, emptied by one. `fd` is readable from the first event after the queue was emptied until it is
// emptied again, so that an event loop is woken once however many events there are.
class EventQueue {
 public:
  EventQueue();
  ~EventQueue();
  EventQueue(const EventQueue&) = delete;
  EventQueue& operator=(const EventQueue&) = delete;

  int fd() const { return fd_; }
  void Push(Event event);
  // All that is there, in order.
  std::vector<Event> TakeAll();

 private:
  const int fd_;
  std::mutex mutex_;
  std::vector<Event> events_;
};

}  // namespace elman
