#include "caller.h"

#include <utility>

namespace elman {

bool Caller::IsFull() {
  std::lock_guard<std::mutex> lock(mutex_);
  return waiting_ >= room_;
}

void Caller::Count(int64_t num_rows) {
  std::lock_guard<std::mutex> lock(mutex_);
  waiting_ += num_rows;
}

bool Caller::PauseIfFull(const std::shared_ptr<Call>& call) {
  std::lock_guard<std::mutex> lock(mutex_);
  const bool is_full = waiting_ >= room_;
  if (is_full) paused_.push_back(call);
  return is_full;
}

std::vector<std::weak_ptr<Call>> Caller::SetRoom(int64_t room, int64_t num_taken) {
  std::lock_guard<std::mutex> lock(mutex_);
  room_ = room;
  waiting_ -= num_taken;
  std::vector<std::weak_ptr<Call>> paused;
  if (waiting_ < room_) paused.swap(paused_);
  return paused;
}

std::shared_ptr<Caller> CallerTable::Add(int64_t room) {
  std::lock_guard<std::mutex> lock(mutex_);
  const int64_t number = next_++;
  return callers_.emplace(number, std::make_shared<Caller>(number, room)).first->second;
}

std::shared_ptr<Caller> CallerTable::Find(int64_t number) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = callers_.find(number);
  return found == callers_.end() ? nullptr : found->second;
}

void CallerTable::Remove(int64_t number) {
  std::lock_guard<std::mutex> lock(mutex_);
  callers_.erase(number);
}

size_t CallerTable::size() {
  std::lock_guard<std::mutex> lock(mutex_);
  return callers_.size();
}

void CallerTable::AddSent(int64_t caller, int64_t num_rows, int64_t num_bytes) {
  std::lock_guard<std::mutex> lock(sent_mutex_);
  Sent& sent = sent_.emplace(caller, Sent{caller, 0, 0}).first->second;
  sent.num_rows += num_rows;
  sent.num_bytes += num_bytes;
}

std::vector<Sent> CallerTable::TakeSent() {
  std::unordered_map<int64_t, Sent> taken;
  {
    std::lock_guard<std::mutex> lock(sent_mutex_);
    taken.swap(sent_);
  }
  std::vector<Sent> sent;
  sent.reserve(taken.size());
  for (const auto& [number, one] : taken) sent.push_back(one);
  return sent;
}

}  // namespace elman
