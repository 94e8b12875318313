// The calls that there are, by number.
#pragma once

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
  // Makes a call; it stays until gRPC is done with it.
  std::shared_ptr<Call> Add(grpc::GenericCallbackServerContext* context, Door* door);
  // The call, or nothing if it is over.
  std::shared_ptr<Call> Find(uint64_t number);
  std::vector<std::shared_ptr<Call>> FindAll(const uint64_t* numbers, size_t count);
  void Remove(uint64_t number);
  size_t size();

 private:
  std::mutex mutex_;
  std::unordered_map<uint64_t, std::shared_ptr<Call>> calls_;
  uint64_t next_ = 1;
};

}  // namespace elman
