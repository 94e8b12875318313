#include "call_table.h"

#include <utility>

namespace elman {

std::shared_ptr<Call> CallTable::Add(grpc::GenericCallbackServerContext* context, Door* door) {
  std::lock_guard<std::mutex> lock(mutex_);
  const uint64_t number = next_++;
  auto call = std::make_shared<Call>(number, context, door);
  calls_.emplace(number, call);
  return call;
}

std::shared_ptr<Call> CallTable::Find(uint64_t number) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = calls_.find(number);
  return found == calls_.end() ? nullptr : found->second;
}

void CallTable::Remove(uint64_t number) {
  std::shared_ptr<Call> last;  // let go after the mutex
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = calls_.find(number);
  if (found == calls_.end()) return;
  last = std::move(found->second);
  calls_.erase(found);
}

size_t CallTable::size() {
  std::lock_guard<std::mutex> lock(mutex_);
  return calls_.size();
}

std::vector<std::shared_ptr<Call>> CallTable::FindAll(const uint64_t* numbers, size_t count) {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<std::shared_ptr<Call>> found(count);
  for (size_t i = 0; i < count; ++i) {
    const auto one = calls_.find(numbers[i]);
    if (one != calls_.end()) found[i] = one->second;
  }
  return found;
}

}  // namespace elman
