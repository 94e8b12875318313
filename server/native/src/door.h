// The listening port, and every call that comes to it.
#pragma once

#include <grpcpp/grpcpp.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "call_table.h"
#include "event_queue.h"

namespace elman {

// gRPC's C++ server with one generic service: it knows no method.
class Door final : public grpc::CallbackGenericService {
 public:
  // `options`: gRPC's channel arguments.
  explicit Door(std::map<std::string, int> options);
  ~Door() override;

  // Listens at HOST:PORT or unix:PATH once started; throws std::runtime_error from Start where it cannot.
  void AddPort(const std::string& address);
  // Begins to serve; the port of each address, 0 for a socket in the file system.
  std::vector<int> Start();
  // Takes no more calls, and cancels those that have not ended by then. Blocks until all are over.
  void Stop(double grace_seconds);

  EventQueue& events() { return events_; }
  CallTable& calls() { return calls_; }

  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override;

 private:
  const std::map<std::string, int> options_;
  std::vector<std::string> addresses_;
  EventQueue events_;
  CallTable calls_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace elman
