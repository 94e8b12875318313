#include "call_table.h"

#include <utility>

namespace elman {

void CallTable::Await(const std::shared_ptr<Call>& call) {
  std::lock_guard<std::mutex> lock(mutex_);
  awaited_.emplace(call.get(), call);
}

uint64_t CallTable::Begin(Call* call) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = awaited_.find(call);
  calls_.emplace(next_, std::move(found->second));
  awaited_.erase(found);
  return next_++;
}

void CallTable::DropAwaited(Call* call) {
  std::lock_guard<std::mutex> lock(mutex_);
  awaited_.erase(call);
  changed_.notify_all();
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
  if (calls_.empty()) changed_.notify_all();
}

size_t CallTable::size() {
  std::lock_guard<std::mutex> lock(mutex_);
  return calls_.size();
}

void CallTable::WaitUntilEmpty() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return calls_.empty() && awaited_.empty(); });
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
