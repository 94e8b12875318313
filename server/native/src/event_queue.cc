#include "event_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace elman {

EventQueue::EventQueue() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
}

EventQueue::~EventQueue() { close(fd_); }

void EventQueue::Push(Event event) {
  bool was_empty;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    was_empty = events_.empty();
    events_.push_back(std::move(event));
  }
  if (was_empty) {
    // It cannot fail: the counter would have to be full, and it is reset with every TakeAll.
    eventfd_write(fd_, 1);
  }
}

std::vector<Event> EventQueue::TakeAll() {
  eventfd_t count;
  eventfd_read(fd_, &count);  // before the events are taken: what comes after wakes the loop anew
  std::vector<Event> taken;
  std::lock_guard<std::mutex> lock(mutex_);
  taken.swap(events_);
  return taken;
}

}  // namespace elman
