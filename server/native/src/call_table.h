// The calls that there are, by number.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "call.h"

namespace elman {

// A call is known by its number alone outside, so that whoever names one that is over does no harm.
class CallTable {
 public:
  // One that will be a call that comes.
  void Await(const std::shared_ptr<Call>& call);
  // It has begun, and stays until gRPC is done with it; its number.
  uint64_t Begin(Call* call);
  // No call comes any more: lets go of one that was awaited.
  void DropAwaited(Call* call);
  // The call, or nothing if it is over.
  std::shared_ptr<Call> Find(uint64_t number);
  std::vector<std::shared_ptr<Call>> FindAll(const uint64_t* numbers, size_t count);
  void Remove(uint64_t number);
  // How many have begun and are not over.
  size_t size();
  // Returns once all are over and none is awaited.
  void WaitUntilEmpty();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::unordered_map<Call*, std::shared_ptr<Call>> awaited_;
  std::unordered_map<uint64_t, std::shared_ptr<Call>> calls_;
  uint64_t next_ = 1;
};

}  // namespace elman
