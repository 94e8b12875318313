// Whom limits count: what was written to it, and whether it is read any further.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace elman {

class Call;

// Safe on any thread.
class Caller {
 public:
  Caller(int64_t number, int64_t room) : number_(number), room_(room) {}

  int64_t number() const { return number_; }
  // Whether nothing more is read from it.
  bool IsFull();
  // So many rows were read, which Python has not taken in yet.
  void Count(int64_t num_rows);
  // Whether nothing more is read from it now; if so the call reads on when there is room.
  bool PauseIfFull(const std::shared_ptr<Call>& call);
  // Python has taken in so many rows, and has room for so many more; the calls that are to read on.
  std::vector<std::weak_ptr<Call>> SetRoom(int64_t room, int64_t num_taken);

 private:
  const int64_t number_;
  std::mutex mutex_;
  int64_t room_;                             // beside what Python has taken in
  int64_t waiting_ = 0;                      // rows that it has not
  std::vector<std::weak_ptr<Call>> paused_;  // those that are over need not wait
};

// What was written to a caller, or never will be.
struct Sent {
  int64_t caller;
  int64_t num_rows;
  int64_t num_bytes;
};

// The callers that there are, by number, and what was written to them since it was last asked.
class CallerTable {
 public:
  std::shared_ptr<Caller> Add(int64_t room);
  std::shared_ptr<Caller> Find(int64_t number);
  void Remove(int64_t number);
  size_t size();

  void AddSent(int64_t caller, int64_t num_rows, int64_t num_bytes);
  std::vector<Sent> TakeSent();

 private:
  std::mutex mutex_;
  std::unordered_map<int64_t, std::shared_ptr<Caller>> callers_;
  int64_t next_ = 1;
  std::mutex sent_mutex_;
  std::unordered_map<int64_t, Sent> sent_;
};

}  // namespace elman
