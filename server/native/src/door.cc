#include "door.h"

#include <sched.h>

#include <chrono>
#include <stdexcept>
#include <utility>

namespace elman {
namespace {

constexpr int kAwaitedCalls = 64;  // that can begin in one read

bool HasOneCore() {
  cpu_set_t cores;
  return sched_getaffinity(0, sizeof(cores), &cores) == 0 && CPU_COUNT(&cores) == 1;
}

}  // namespace

Door::Door(std::map<std::string, int> options, std::string server_instance)
    : options_(std::move(options)), server_instance_(std::move(server_instance)) {}

Door::~Door() { Stop(0); }

void Door::AddPort(const std::string& address) { ports_.push_back({address, grpc::InsecureServerCredentials()}); }

void Door::AddSecurePort(const std::string& address, const CertificateFiles& files) {
  ports_.push_back({address, CredentialsOf(files)});
}

std::vector<int> Door::Start() {
  grpc::ServerBuilder builder;
  for (const auto& [name, value] : options_) builder.AddChannelArgument(name, value);
  std::vector<int> ports(ports_.size(), 0);
  for (size_t i = 0; i < ports_.size(); ++i) {
    builder.AddListeningPort(ports_[i].address, ports_[i].credentials, &ports[i]);
  }
  builder.RegisterAsyncGenericService(&service_);
  poller_ = std::make_unique<Poller>(builder.AddCompletionQueue(), &stream_events_, HasOneCore());
  server_ = builder.BuildAndStart();
  if (!server_) throw std::runtime_error("cannot listen");
  for (int i = 0; i < kAwaitedCalls; ++i) AwaitCall();
  poller_->Start();
  return ports;
}

void Door::Stop(double grace_seconds) {
  std::lock_guard<std::mutex> lock(stop_mutex_);
  if (!server_) return;
  const auto grace =
      std::chrono::duration_cast<std::chrono::system_clock::duration>(std::chrono::duration<double>(grace_seconds));
  server_->Shutdown(std::chrono::system_clock::now() + grace);
  calls_.WaitUntilEmpty();  // gRPC takes no operation on a queue that is shut down
  poller_->Stop();
  server_.reset();
}

void Door::TakeIn() {
  if (poller_) poller_->TakeIn();
}

void Door::Resume() {
  if (poller_) poller_->Resume();
}

void Door::AwaitCall() {
  const auto call = std::make_shared<Call>(this);
  calls_.Await(call);
  call->Await(&service_, poller_->queue());
}

}  // namespace elman
