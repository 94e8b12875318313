#include "caller.h"

#include <utility>

namespace elman {

bool Caller::IsHeld() {
  std::lock_guard<std::mutex> lock(mutex_);
  return is_held_;
}

bool Caller::PauseIfHeld(const std::shared_ptr<Call>& call) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (is_held_) paused_.push_back(call);
  return is_held_;
}

void Caller::Hold() {
  std::lock_guard<std::mutex> lock(mutex_);
  is_held_ = true;
}

std::vector<std::shared_ptr<Call>> Caller::Release() {
  std::lock_guard<std::mutex> lock(mutex_);
  is_held_ = false;
  std::vector<std::shared_ptr<Call>> paused;
  paused.swap(paused_);
  return paused;
}

std::shared_ptr<Caller> CallerTable::Add() {
  std::lock_guard<std::mutex> lock(mutex_);
  const int64_t number = next_++;
  return callers_.emplace(number, std::make_shared<Caller>(number)).first->second;
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
