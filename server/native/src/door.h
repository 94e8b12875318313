// The listening port, and every call that comes to it.
#pragma once

#include <grpcpp/grpcpp.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "call_table.h"
#include "caller.h"
#include "credentials.h"
#include "event_queue.h"
#include "poller.h"

namespace elman {

// gRPC's C++ server with one generic service: it knows no method.
class Door {
 public:
  // `options`: gRPC's channel arguments. `server_instance`: frames for another one are no frames of one row.
  Door(std::map<std::string, int> options, std::string server_instance);
  ~Door();

  // Listens at HOST:PORT or unix:PATH once started; throws std::runtime_error from Start where it cannot.
  void AddPort(const std::string& address);
  // The same by TLS.
  void AddSecurePort(const std::string& address, const CertificateFiles& files);
  // Begins to serve; the port of each address, 0 for a socket in the file system.
  std::vector<int> Start();
  // Takes no more calls, and cancels those that have not ended by then. Blocks until all are over.
  void Stop(double grace_seconds);

  // Of calls that were not handed over, and the ends of all.
  EventQueue& events() { return events_; }
  // Of calls that were: Python takes them on a thread of their own.
  EventQueue& stream_events() { return stream_events_; }
  CallTable& calls() { return calls_; }
  CallerTable& callers() { return callers_; }
  const std::string& server_instance() const { return server_instance_; }
  // What has come by now is among the events after this; does nothing where another core sees to it.
  void TakeIn();
  // Something was asked for, and gRPC has to see to it.
  void Resume();

  // Makes one that will be a call that comes.
  void AwaitCall();

 private:
  const std::map<std::string, int> options_;
  const std::string server_instance_;
  struct Port {
    std::string address;
    std::shared_ptr<grpc::ServerCredentials> credentials;
  };
  std::vector<Port> ports_;
  EventQueue events_;
  EventQueue stream_events_;
  CallTable calls_;
  CallerTable callers_;
  std::mutex stop_mutex_;
  grpc::AsyncGenericService service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Poller> poller_;
};

}  // namespace elman
