// What Python sees: a door, its events as tuples, and calls by number.
#include <grpcpp/support/slice.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <string_view>

#include "door.h"

namespace py = pybind11;

namespace elman {
namespace {

bool IsBinary(std::string_view key) { return key.size() > 4 && key.substr(key.size() - 4) == "-bin"; }

py::object MetadataValue(const std::string& key, const std::string& value) {
  if (IsBinary(key)) return py::bytes(value);
  return py::reinterpret_steal<py::str>(PyUnicode_DecodeLatin1(value.data(), value.size(), nullptr));
}

py::tuple OpeningTuple(const Opening& opening) {
  py::tuple metadata(opening.metadata.size());
  for (size_t i = 0; i < opening.metadata.size(); ++i) {
    const auto& [key, value] = opening.metadata[i];
    metadata[i] = py::make_tuple(py::str(key), MetadataValue(key, value));
  }
  return py::make_tuple(py::bytes(opening.method), py::str(opening.peer), opening.deadline_seconds, metadata);
}

py::bytes Bytes(const grpc::ByteBuffer& message) {
  grpc::Slice slice;
  if (message.TrySingleSlice(&slice).ok()) {
    return py::bytes(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  std::vector<grpc::Slice> slices;
  if (!message.Dump(&slices).ok()) return py::bytes();
  PyObject* bytes = PyBytes_FromStringAndSize(nullptr, message.Length());
  if (!bytes) throw py::error_already_set();
  char* at = PyBytes_AS_STRING(bytes);
  for (const auto& one : slices) at = std::copy(one.begin(), one.end(), at);
  return py::reinterpret_steal<py::bytes>(bytes);
}

grpc::ByteBuffer Buffer(const py::bytes& message) {
  const std::string_view view = message;
  const grpc::Slice slice(view.data(), view.size());
  return grpc::ByteBuffer(&slice, 1);
}

py::object Payload(const Event& event) {
  switch (event.kind) {
    case EventKind::kOpened:
      return OpeningTuple(*event.opening);
    case EventKind::kReceived:
      return Bytes(event.message);
    case EventKind::kReadAll:
      return py::none();
    default:
      return py::bool_(event.ok);
  }
}

py::list TakeAll(Door& door) {
  const auto events = door.events().TakeAll();
  py::list taken(events.size());
  for (size_t i = 0; i < events.size(); ++i) {
    taken[i] = py::make_tuple(events[i].call, static_cast<int>(events[i].kind), Payload(events[i]));
  }
  return taken;
}

Ending MakeEnding(int code, const std::string& details, const Metadata& trailing, const py::object& message) {
  Ending ending{grpc::Status(static_cast<grpc::StatusCode>(code), details), trailing, std::nullopt};
  if (!message.is_none()) ending.message = Buffer(message.cast<py::bytes>());
  return ending;
}

void Receive(Door& door, uint64_t number) {
  if (const auto call = door.calls().Find(number)) call->Receive();
}

void Send(Door& door, uint64_t number, const py::bytes& message) {
  if (const auto call = door.calls().Find(number)) call->Send(Buffer(message));
}

void Finish(Door& door, uint64_t number, int code, const std::string& details, const Metadata& trailing,
            const py::object& message) {
  if (const auto call = door.calls().Find(number)) call->End(MakeEnding(code, details, trailing, message));
}

void Cancel(Door& door, uint64_t number) {
  if (const auto call = door.calls().Find(number)) call->Cancel();
}

}  // namespace
}  // namespace elman

PYBIND11_MODULE(_native, module) {
  using elman::Door;
  module.doc() = "gRPC's C++ server inside the Python process.";
  py::class_<Door>(module, "Door")
      .def(py::init<std::map<std::string, int>>(), py::arg("options"))
      .def("add_port", &Door::AddPort, py::arg("address"))
      .def("start", &Door::Start, py::call_guard<py::gil_scoped_release>())
      .def("stop", &Door::Stop, py::arg("grace_seconds"), py::call_guard<py::gil_scoped_release>())
      .def("fileno", [](Door& door) { return door.events().fd(); })
      .def("take_all", &elman::TakeAll)
      .def("receive", &elman::Receive, py::arg("call"))
      .def("send", &elman::Send, py::arg("call"), py::arg("message"))
      .def("finish", &elman::Finish, py::arg("call"), py::arg("code"), py::arg("details"), py::arg("trailing"),
           py::arg("message"))
      .def("cancel", &elman::Cancel, py::arg("call"));
}
