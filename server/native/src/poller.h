// The thread that gRPC does its work on.
#pragma once

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

namespace elman {

class EventQueue;

// Takes from a completion queue what is over, and tells the calls. On one core it rests from when it has handed
// something over to the engine until that asks for something, a millisecond at most: else every message that comes
// while a batch is computed would cost two switches of threads. What comes meanwhile is taken in one go, by the
// engine's thread itself.
class Poller {
 public:
  Poller(std::unique_ptr<grpc::ServerCompletionQueue> queue, EventQueue* events, bool has_one_core);
  ~Poller();

  grpc::ServerCompletionQueue* queue() { return queue_.get(); }
  void Start();
  // Shuts the queue down, and returns once it is empty.
  void Stop();
  // On one core: tells what has come by now, on this thread.
  void TakeIn();
  // Something was asked for: there is no more rest.
  void Resume();

 private:
  bool TellNext(gpr_timespec deadline);
  void Run();
  void Rest();

  const std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  EventQueue* const events_;
  const bool has_one_core_;
  std::thread thread_;
  bool is_stopped_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_resumed_ = false;
};

}  // namespace elman
