#include "door.h"

#include <chrono>
#include <stdexcept>
#include <utility>

namespace elman {

Door::Door(std::map<std::string, int> options, std::string server_instance)
    : options_(std::move(options)), server_instance_(std::move(server_instance)) {}

Door::~Door() { Stop(0); }

void Door::AddPort(const std::string& address) { addresses_.push_back(address); }

std::vector<int> Door::Start() {
  grpc::ServerBuilder builder;
  for (const auto& [name, value] : options_) builder.AddChannelArgument(name, value);
  std::vector<int> ports(addresses_.size(), 0);
  for (size_t i = 0; i < addresses_.size(); ++i) {
    builder.AddListeningPort(addresses_[i], grpc::InsecureServerCredentials(), &ports[i]);
  }
  builder.RegisterCallbackGenericService(this);
  server_ = builder.BuildAndStart();
  if (!server_) throw std::runtime_error("cannot listen");
  return ports;
}

void Door::Stop(double grace_seconds) {
  std::lock_guard<std::mutex> lock(stop_mutex_);
  if (!server_) return;
  const auto grace =
      std::chrono::duration_cast<std::chrono::system_clock::duration>(std::chrono::duration<double>(grace_seconds));
  server_->Shutdown(std::chrono::system_clock::now() + grace);
  server_->Wait();
  server_.reset();
}

grpc::ServerGenericBidiReactor* Door::CreateReactor(grpc::GenericCallbackServerContext* context) {
  const auto call = calls_.Add(context, this);
  if (events_.IsFull()) {
    call->Refuse();
  } else {
    call->Open();
  }
  return call.get();
}

}  // namespace elman
