#include "answer_writer.h"

#include <iterator>
#include <utility>

namespace elman {
namespace {

constexpr size_t kFew = 4;

void WriteAll(std::vector<Addressed> answers) {
  for (auto& one : answers) one.call->Answer(std::move(one.answer));
}

}  // namespace

void AnswerWriter::Start() {
  is_running_ = true;
  thread_ = std::thread([this] { Run(); });
}

void AnswerWriter::Stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    is_running_ = false;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void AnswerWriter::Write(std::vector<Addressed> answers) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (is_running_ && (answers.size() > kFew || !IsIdle())) {
      waiting_.insert(waiting_.end(), std::make_move_iterator(answers.begin()), std::make_move_iterator(answers.end()));
      answers.clear();
    }
  }
  if (answers.empty()) {
    changed_.notify_all();
  } else {
    WriteAll(std::move(answers));
  }
}

void AnswerWriter::Flush() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return IsIdle(); });
}

void AnswerWriter::Run() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (is_running_ || !waiting_.empty()) {
    changed_.wait(lock, [this] { return !is_running_ || !waiting_.empty(); });
    std::vector<Addressed> answers = std::exchange(waiting_, {});
    is_writing_ = true;
    lock.unlock();
    WriteAll(std::move(answers));
    lock.lock();
    is_writing_ = false;
    changed_.notify_all();
  }
}

}  // namespace elman
