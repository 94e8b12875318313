// Answers on their way to their calls, written on a thread of their own where a core is there for it.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "call.h"

namespace elman {

// An answer, and the call that it goes to.
struct Addressed {
  std::shared_ptr<Call> call;
  Outgoing answer;
};

// gRPC writes to the socket on the thread that asks for it, a dozen microseconds a message: where there is a core more
// the engine goes on meanwhile, unless these are so few that handing them over takes as long. Answers are written in
// the order in which they are given. How many wait is bounded by what callers may have outstanding, which counts
// answers until they are written.
class AnswerWriter {
 public:
  ~AnswerWriter() { Stop(); }

  // Without it answers are written where they are given.
  void Start();
  // Returns once all is written.
  void Stop();
  void Write(std::vector<Addressed> answers);
  // Returns once all that was given is written: what is to follow it may be.
  void Flush();

 private:
  void Run();
  bool IsIdle() const { return waiting_.empty() && !is_writing_; }

  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Addressed> waiting_;
  bool is_writing_ = false;
  bool is_running_ = false;
};

}  // namespace elman
