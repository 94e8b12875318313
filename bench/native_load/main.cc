// Sends steps of sessions to a server, each session on a stream of its own, one frame in flight; see Usage().
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>

#include "elman/v1/sessions.grpc.pb.h"
#include "stream.h"

namespace load {
namespace {

constexpr char kUsage[] =
    "usage: native_load --address HOST:PORT --model NAME --input-size N [--streams 64] [--connections 1] [--length 1]\n"
    "                   [--warm-up 0.5] [--seconds 2] [--server-pid PID]\n"
    "Prints one line of JSON; `server_cpu_seconds` is 0 without a pid.\n";

struct Options {
  std::map<std::string, std::string> given = {{"streams", "64"},  {"connections", "1"}, {"length", "1"},
                                              {"warm-up", "0.5"}, {"seconds", "2"},     {"server-pid", "0"}};

  Options(int count, char** words) {
    for (int i = 1; i < count; i += 2) {
      const std::string name = words[i];
      if (name.rfind("--", 0) != 0 || i + 1 == count) throw std::invalid_argument("expected --NAME VALUE, got " + name);
      given[name.substr(2)] = words[i + 1];
    }
  }
  const std::string& Text(const std::string& name) const {
    const auto found = given.find(name);
    if (found == given.end()) throw std::invalid_argument("expected --" + name);
    return found->second;
  }
  int Int(const std::string& name) const { return std::stoi(Text(name)); }
  double Double(const std::string& name) const { return std::stod(Text(name)); }
};

std::vector<std::shared_ptr<grpc::Channel>> Connect(const std::string& address, int count) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // else they would share a connection
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetMaxReceiveMessageSize(64 << 20);
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  for (int i = 0; i < count; ++i) {
    channels.push_back(grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
  }
  return channels;
}

void Check(const grpc::Status& status) {
  if (!status.ok()) throw std::runtime_error(status.error_message());
}

// Sessions of their own, which are closed at the end.
class Sessions {
 public:
  Sessions(const std::shared_ptr<grpc::Channel>& channel, const std::string& model, int count)
      : stub_(channel), model_(model) {
    elman::v1::OpenSessionsRequest request;
    request.set_model(model);
    request.set_count(static_cast<uint32_t>(count));
    grpc::ClientContext context;
    Check(stub_.OpenSessions(&context, request, &opened_));
  }
  ~Sessions() {
    elman::v1::CloseSessionsRequest request;
    request.set_model(model_);
    *request.mutable_session_ids() = opened_.session_ids();
    elman::v1::CloseSessionsResponse response;
    grpc::ClientContext context;
    stub_.CloseSessions(&context, request, &response);
  }
  Sessions(const Sessions&) = delete;
  Sessions& operator=(const Sessions&) = delete;

  uint64_t handle(int i) const { return opened_.handles(i); }

 private:
  elman::v1::Sessions::Stub stub_;
  const std::string model_;
  elman::v1::OpenSessionsResponse opened_;
};

grpc::ByteBuffer Frame(uint64_t handle, int length, int input_size) {
  elman::v1::StepRequest request;
  request.set_frame_id(1);
  request.add_handles(handle);
  request.add_lengths(static_cast<uint32_t>(length));
  auto& input = *request.mutable_input();
  input.set_dtype(elman::v1::DATA_TYPE_F32);
  input.add_shape(length);
  input.add_shape(input_size);
  std::vector<float> values(static_cast<size_t>(length) * static_cast<size_t>(input_size));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 17) / 17 - 0.5F;
  input.set_data(values.data(), values.size() * sizeof(float));
  return Serialised(request);
}

// Of a process, all threads, user and system.
double CpuSeconds(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::istringstream rest(text.substr(text.rfind(')') + 1));
  const std::vector<std::string> words((std::istream_iterator<std::string>(rest)), {});
  if (words.size() < 13) throw std::runtime_error("no such process as the server's");
  return (std::stod(words[11]) + std::stod(words[12])) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

double OwnCpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) { return static_cast<double>(time.tv_sec) + time.tv_usec / 1e6; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void RunFor(grpc::CompletionQueue* queue, double seconds) {
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  const auto deadline = std::chrono::system_clock::now() +
                        std::chrono::duration_cast<std::chrono::system_clock::duration>(end - Clock::now());
  void* tag;
  bool ok;
  while (Clock::now() < end && queue->AsyncNext(&tag, &ok, deadline) == grpc::CompletionQueue::GOT_EVENT) {
    const auto& of = *static_cast<Stream::Tag*>(tag);
    of.stream->Happened(of.happening, ok);
  }
}

double Percentile(Latencies* latencies, double share) {
  if (latencies->empty()) return 0;
  const auto at = latencies->begin() + static_cast<std::ptrdiff_t>(static_cast<double>(latencies->size() - 1) * share);
  std::nth_element(latencies->begin(), at, latencies->end());
  return *at;
}

void Run(const Options& options) {
  const int count = options.Int("streams"), length = options.Int("length"), pid = options.Int("server-pid");
  const auto channels = Connect(options.Text("address"), options.Int("connections"));
  const Sessions sessions(channels[0], options.Text("model"), count);
  grpc::CompletionQueue queue;
  Latencies latencies;
  std::vector<std::unique_ptr<Stream>> streams;
  for (int i = 0; i < count; ++i) {
    const auto& channel = channels[static_cast<size_t>(i) % channels.size()];
    auto frame = Frame(sessions.handle(i), length, options.Int("input-size"));
    streams.push_back(std::make_unique<Stream>(channel, &queue, std::move(frame), &latencies));
  }
  RunFor(&queue, options.Double("warm-up"));
  latencies.clear();
  const auto began = Clock::now();
  const double own = OwnCpuSeconds(), servers = pid ? CpuSeconds(pid) : 0;
  RunFor(&queue, options.Double("seconds"));
  const double own_used = OwnCpuSeconds() - own, server_used = pid ? CpuSeconds(pid) - servers : 0;
  const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
  const double steps = static_cast<double>(latencies.size()) * length;
  for (const auto& stream : streams) stream->Stop();
  queue.Shutdown();
  void* tag;
  bool ok;
  while (queue.Next(&tag, &ok)) {
  }
  std::printf(
      "{\"steps\": %.0f, \"seconds\": %.6f, \"steps_per_second\": %.1f, \"p50_seconds\": %.7f, \"p99_seconds\": %.7f, "
      "\"server_cpu_seconds\": %.3f, \"client_cpu_seconds\": %.3f}\n",
      steps, seconds, steps / seconds, Percentile(&latencies, 0.5), Percentile(&latencies, 0.99), server_used,
      own_used);
}

}  // namespace
}  // namespace load

int main(int count, char** words) {
  try {
    load::Run(load::Options(count, words));
  } catch (const std::exception& error) {
    std::cerr << "native_load: " << error.what() << "\n" << load::kUsage;
    return 1;
  }
}
