// What Python sees: a door, its events as tuples, and calls by number.
#include <grpc/grpc.h>
#include <grpcpp/support/slice.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "answers.h"
#include "door.h"

namespace py = pybind11;

namespace elman {
namespace {

bool IsBinary(std::string_view key) { return key.size() > 4 && key.substr(key.size() - 4) == "-bin"; }

// Whatever bytes they are: what a caller sends must not fail here.
py::object Text(const std::string& bytes) {
  const auto text = PyUnicode_DecodeLatin1(bytes.data(), static_cast<py::ssize_t>(bytes.size()), nullptr);
  if (!text) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(text);
}

py::object MetadataValue(const std::string& key, const std::string& value) {
  if (IsBinary(key)) return py::bytes(value);
  return Text(value);
}

py::tuple OpeningTuple(const Opening& opening) {
  py::tuple metadata(opening.metadata.size());
  for (size_t i = 0; i < opening.metadata.size(); ++i) {
    const auto& [key, value] = opening.metadata[i];
    metadata[i] = py::make_tuple(Text(key), MetadataValue(key, value));
  }
  return py::make_tuple(py::bytes(opening.method), Text(opening.peer), opening.deadline_seconds, metadata);
}

py::bytes BytesOf(const grpc::Slice& slice) {
  return py::bytes(reinterpret_cast<const char*>(slice.begin()), slice.size());
}

py::bytes BytesOf(const grpc::ByteBuffer& message) {
  grpc::Slice slice;
  if (!message.TrySingleSlice(&slice).ok() && !message.DumpToSingleSlice(&slice).ok()) return py::bytes();
  return BytesOf(slice);
}

grpc::ByteBuffer BufferOf(const py::bytes& message) {
  const std::string_view view = message;
  const grpc::Slice slice(view.data(), view.size());
  return grpc::ByteBuffer(&slice, 1);
}

// ---- frames

// [n] a column that the batch goes on owning.
template <typename T>
py::array_t<T> Column(const std::vector<T>& values, const py::object& owner) {
  return py::array_t<T>({values.size()}, {sizeof(T)}, values.data(), owner);
}

py::dict Columns(const std::shared_ptr<FrameBatch>& batch) {
  const py::object owner = py::cast(batch);
  py::dict columns;
  columns["call"] = Column(batch->call, owner);
  columns["caller"] = Column(batch->caller, owner);
  columns["frame_id"] = Column(batch->frame_id, owner);
  columns["handle"] = Column(batch->handle, owner);
  columns["length"] = Column(batch->length, owner);
  columns["position"] = Column(batch->position, owner);
  columns["num_bytes"] = Column(batch->num_bytes, owner);
  columns["message_bytes"] = Column(batch->message_bytes, owner);
  columns["dtype"] = Column(batch->dtype, owner);
  columns["num_dims"] = Column(batch->num_dims, owner);
  columns["dim_0"] = Column(batch->dim_0, owner);
  columns["dim_1"] = Column(batch->dim_1, owner);
  columns["return_output"] = Column(batch->return_output, owner);
  columns["return_state"] = Column(batch->return_state, owner);
  columns["timeout_seconds"] = Column(batch->timeout_seconds, owner);
  return columns;
}

py::bytes Message(const FrameBatch& batch, size_t i) {
  if (i >= batch.size()) throw py::index_error();
  return BytesOf(batch.message[i]);
}

// Copies the data of frames `rows` [n] into `out` [n, num_bytes].
void Gather(const FrameBatch& batch, py::array_t<int64_t, py::array::c_style> rows, py::array_t<uint8_t> out) {
  const auto from = rows.unchecked<1>();
  auto to = out.mutable_unchecked<2>();
  if (to.shape(0) != from.shape(0) || !(out.flags() & py::array::c_style)) throw py::value_error("out: a wrong shape");
  const auto num_bytes = static_cast<size_t>(to.shape(1));
  for (py::ssize_t i = 0; i < from.shape(0); ++i) {
    const auto row = static_cast<size_t>(from(i));
    if (row >= batch.size() || static_cast<size_t>(batch.num_bytes[row]) != num_bytes) {
      throw py::value_error("rows: a frame that is not there, or of another size");
    }
    std::memcpy(to.mutable_data(i, 0), batch.data(row), num_bytes);
  }
}

// ---- events

py::object Payload(Event& event) {
  switch (event.kind) {
    case EventKind::kOpened:
      return OpeningTuple(*event.opening);
    case EventKind::kReceived:
      return BytesOf(event.message);
    case EventKind::kAhead:
      return py::make_tuple(BytesOf(event.message), event.num_rows);
    case EventKind::kFrames:
      return py::cast(event.frames);
    case EventKind::kReadAll:
    case EventKind::kIdle:
      return py::none();
    default:
      return py::bool_(event.ok);
  }
}

py::list TakeFrom(Door& door, EventQueue* queue) {
  EventQueue::Taken taken;
  {
    py::gil_scoped_release released;
    taken = queue->TakeAll();
    for (const auto& call : taken.paused) call->ReadOn();
    if (!taken.paused.empty()) door.Resume();
  }
  py::list events(taken.events.size());
  for (size_t i = 0; i < taken.events.size(); ++i) {
    Event& event = taken.events[i];
    events[i] = py::make_tuple(event.call, static_cast<int>(event.kind), Payload(event));
  }
  return events;
}

py::tuple TakeStreams(Door& door) {
  {
    py::gil_scoped_release released;
    door.TakeIn();
  }
  const py::list events = TakeFrom(door, &door.stream_events());
  py::list sent;
  for (const auto& one : door.callers().TakeSent()) {
    sent.append(py::make_tuple(one.caller, one.num_rows, one.num_bytes));
  }
  return py::make_tuple(events, sent);
}

// ---- calls

bool HandOver(Door& door, uint64_t number) {
  const auto call = door.calls().Find(number);
  if (call) call->HandOver();
  return call != nullptr;
}

void Receive(Door& door, uint64_t number) {
  if (const auto call = door.calls().Find(number)) call->Receive();
  door.Resume();
}

void BeginFrames(Door& door, uint64_t number, int64_t caller, bool single_rows) {
  const auto call = door.calls().Find(number);
  const auto counted = door.callers().Find(caller);
  if (!counted) throw py::value_error("caller: there is none of that number");
  if (call) call->BeginFrames(counted, single_rows);
  door.Resume();
}

void Send(Door& door, uint64_t number, const py::bytes& message) {
  grpc::ByteBuffer buffer = BufferOf(message);
  py::gil_scoped_release released;  // gRPC writes to the socket on this thread
  if (const auto call = door.calls().Find(number)) call->Send(std::move(buffer));
  door.Resume();
}

// Call, caller, message, rows that end with it, bytes of its tensors.
using FrameAnswer = std::tuple<uint64_t, int64_t, py::bytes, int64_t, int64_t>;

void AnswerFrames(Door& door, const std::vector<FrameAnswer>& answers) {
  std::vector<grpc::ByteBuffer> messages;
  messages.reserve(answers.size());
  for (const auto& answer : answers) messages.push_back(BufferOf(std::get<py::bytes>(answer)));
  py::gil_scoped_release released;
  for (size_t i = 0; i < answers.size(); ++i) {
    const auto& [number, caller, message, num_rows, num_bytes] = answers[i];
    if (const auto call = door.calls().Find(number)) {
      call->Answer({std::move(messages[i]), false, num_rows, num_bytes});
    } else {
      door.callers().AddSent(caller, num_rows, num_bytes);
      door.stream_events().Wake();  // no event of the call's follows
    }
  }
  door.Resume();
}

void UncountFrame(Door& door, uint64_t number) {
  if (const auto call = door.calls().Find(number)) call->Uncount();
}

void TellIdle(Door& door, uint64_t number) {
  if (const auto call = door.calls().Find(number)) call->TellIdle();
}

// gRPC ends the process over a header that HTTP/2 does not allow.
void CheckHeader(const std::string& key, const std::string& value) {
  const grpc::Slice k(key), v(value);
  grpc_slice raw_key = k.c_slice(), raw_value = v.c_slice();
  const bool is_good = grpc_header_key_is_legal(raw_key) &&
                       (grpc_is_binary_header(raw_key) || grpc_header_nonbin_value_is_legal(raw_value));
  grpc_slice_unref(raw_key);
  grpc_slice_unref(raw_value);
  if (!is_good) throw py::value_error("trailing: expected names and values that HTTP/2 allows, got " + key);
}

void Finish(Door& door, uint64_t number, int code, const std::string& details, const Metadata& trailing,
            const py::object& message) {
  for (const auto& [key, value] : trailing) CheckHeader(key, value);
  Ending ending{grpc::Status(static_cast<grpc::StatusCode>(code), details), trailing, std::nullopt};
  if (!message.is_none()) ending.message = BufferOf(message.cast<py::bytes>());
  py::gil_scoped_release released;
  if (const auto call = door.calls().Find(number)) call->End(std::move(ending));
  door.Resume();
}

// ---- answers

template <typename T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

template <typename T>
const T* ColumnData(const Array<T>& column, size_t count, const char* name) {
  if (column.ndim() != 1 || static_cast<size_t>(column.shape(0)) != count) {
    throw py::value_error(std::string(name) + ": expected one entry for each row");
  }
  return column.data();
}

StateColumns StateData(const std::optional<Array<float>>& state, int64_t num_finished, const char* name) {
  if (!state) return {};
  if (state->ndim() != 3 || state->shape(1) != num_finished) {
    throw py::value_error(std::string(name) + ": expected [num_layers, finished rows, size]");
  }
  return {state->data(), state->shape(0), num_finished, state->shape(2)};
}

void CheckOutput(const AnswerColumns& c, const std::optional<Array<float>>& output, int64_t num_finished) {
  if (!output) return;
  int64_t expected = num_finished;
  if (!c.is_last) {
    expected = 0;
    for (size_t i = 0; i < c.num_rows; ++i) {
      if (c.length[i] < 1 || (i && c.length[i] > c.length[i - 1])) throw py::value_error("length: not longest first");
      expected += c.length[i];
    }
  }
  if (output->ndim() != 2 || output->shape(0) != expected) throw py::value_error("output: a wrong number of steps");
}

void Answer(Door& door, const Array<uint64_t>& call, const Array<int64_t>& caller, const Array<uint64_t>& frame_id,
            const Array<int64_t>& start, const Array<int64_t>& length, const Array<bool>& finished,
            const Array<int64_t>& position, const Array<int64_t>& num_bytes, const std::optional<Array<float>>& output,
            bool is_last, const std::optional<Array<float>>& h_n, const std::optional<Array<float>>& c_n) {
  AnswerColumns c;
  const auto count = static_cast<size_t>(call.size());
  c.num_rows = count;
  c.call = ColumnData(call, count, "call");
  c.caller = ColumnData(caller, count, "caller");
  c.frame_id = ColumnData(frame_id, count, "frame_id");
  c.start = ColumnData(start, count, "start");
  c.length = ColumnData(length, count, "length");
  c.finished = ColumnData(finished, count, "finished");
  c.position = ColumnData(position, count, "position");
  c.num_bytes = ColumnData(num_bytes, count, "num_bytes");
  c.is_last = is_last;
  int64_t num_finished = 0;
  for (size_t i = 0; i < count; ++i) num_finished += c.finished[i] ? 1 : 0;
  CheckOutput(c, output, num_finished);
  if (output) {
    c.output = output->data();
    c.output_size = output->shape(1);
  }
  c.h_n = StateData(h_n, num_finished, "h_n");
  c.c_n = StateData(c_n, num_finished, "c_n");
  py::gil_scoped_release released;
  SendAnswers(&door, c);
  door.Resume();
}

void SetRoom(Door& door, int64_t number, int64_t room, int64_t num_taken) {
  const auto caller = door.callers().Find(number);
  if (!caller) return;
  const auto paused = caller->SetRoom(room, num_taken);
  for (const auto& one : paused) {
    if (const auto call = one.lock()) call->ReadOn();
  }
  if (!paused.empty()) door.Resume();
  // What was written before it was full woke nobody, and is perhaps what makes room.
  if (room <= 0) door.stream_events().Wake();
}

}  // namespace
}  // namespace elman

PYBIND11_MODULE(_native, module) {
  using elman::Door;
  using elman::FrameBatch;
  const auto release = py::call_guard<py::gil_scoped_release>();
  module.doc() = "gRPC's C++ server inside the Python process.";
  py::class_<FrameBatch, std::shared_ptr<FrameBatch>>(module, "FrameBatch")
      .def("__len__", &FrameBatch::size)
      .def("columns", &elman::Columns)
      .def("message", &elman::Message, py::arg("row"))
      .def("gather", &elman::Gather, py::arg("rows"), py::arg("out"));
  py::class_<Door>(module, "Door")
      .def(py::init<std::map<std::string, int>, std::string>(), py::arg("options"), py::arg("server_instance"))
      .def("add_port", &Door::AddPort, py::arg("address"))
      .def(
          "add_secure_port",
          [](Door& door, const std::string& address, const std::string& private_key,
             const std::string& certificate_chain, const std::string& client_ca, unsigned refresh_seconds) {
            door.AddSecurePort(address, {private_key, certificate_chain, client_ca, refresh_seconds});
          },
          py::arg("address"), py::arg("private_key"), py::arg("certificate_chain"), py::arg("client_ca"),
          py::arg("refresh_seconds"))
      .def("start", &Door::Start, release)
      .def("stop", &Door::Stop, py::arg("grace_seconds"), release)
      .def_property_readonly("num_calls", [](Door& door) { return door.calls().size(); })
      .def_property_readonly("num_callers", [](Door& door) { return door.callers().size(); })
      .def("fileno", [](Door& door) { return door.events().fd(); })
      .def("take_all", [](Door& door) { return elman::TakeFrom(door, &door.events()); })
      .def("streams_fileno", [](Door& door) { return door.stream_events().fd(); })
      .def("take_streams", &elman::TakeStreams)
      .def("hand_over", &elman::HandOver, py::arg("call"))
      .def("receive", &elman::Receive, py::arg("call"))
      .def("send", &elman::Send, py::arg("call"), py::arg("message"))
      .def("finish", &elman::Finish, py::arg("call"), py::arg("code"), py::arg("details"), py::arg("trailing"),
           py::arg("message"))
      .def("begin_frames", &elman::BeginFrames, py::arg("call"), py::arg("caller"), py::arg("single_rows") = true)
      .def("answer_frames", &elman::AnswerFrames, py::arg("answers"))
      .def("answer", &elman::Answer, py::kw_only(), py::arg("call"), py::arg("caller"), py::arg("frame_id"),
           py::arg("start"), py::arg("length"), py::arg("finished"), py::arg("position"), py::arg("num_bytes"),
           py::arg("output"), py::arg("is_last"), py::arg("h_n"), py::arg("c_n"))
      .def("uncount_frame", &elman::UncountFrame, py::arg("call"))
      .def("tell_idle", &elman::TellIdle, py::arg("call"))
      .def(
          "add_caller", [](Door& door, int64_t room) { return door.callers().Add(room)->number(); }, py::arg("room"))
      .def(
          "remove_caller", [](Door& door, int64_t number) { door.callers().Remove(number); }, py::arg("caller"))
      .def("set_room", &elman::SetRoom, py::arg("caller"), py::arg("room"), py::arg("num_taken"), release);
}
