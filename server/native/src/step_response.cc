#include "step_response.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/slice.h>

#include <cstring>

namespace elman {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedOutputStream;

constexpr int kF32 = 1;  // DATA_TYPE_F32

size_t VarintSize(uint64_t value) { return CodedOutputStream::VarintSize64(value); }

uint8_t* PutTag(int field, WireFormatLite::WireType type, uint8_t* to) {
  return CodedOutputStream::WriteTagToArray(WireFormatLite::MakeTag(field, type), to);
}

// A packed field of one varint. Fields below 16 have tags of one byte.
size_t PackedSize(uint64_t value) { return 2 + VarintSize(value); }

uint8_t* PutPacked(int field, uint64_t value, uint8_t* to) {
  to = PutTag(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED, to);
  to = CodedOutputStream::WriteVarint32ToArray(static_cast<uint32_t>(VarintSize(value)), to);
  return CodedOutputStream::WriteVarint64ToArray(value, to);
}

// A tensor's shape: [vectors, size], and for a state [vectors, 1, size].
struct Shape {
  uint64_t dims[3];
  int count;

  Shape(const Vectors& vectors, bool is_state) : dims{vectors.at.size(), 1, 0}, count(is_state ? 3 : 2) {
    dims[count - 1] = static_cast<uint64_t>(vectors.size);
  }
  size_t Size() const {
    size_t size = 0;
    for (int i = 0; i < count; ++i) size += VarintSize(dims[i]);
    return size;
  }
};

size_t DataBytes(const Vectors& vectors) {
  return vectors.at.size() * static_cast<size_t>(vectors.size) * sizeof(float);
}

size_t TensorSize(const Vectors& vectors, bool is_state) {
  const size_t data = DataBytes(vectors), shape = Shape(vectors, is_state).Size();
  return 2 + 1 + VarintSize(shape) + shape + (data ? 1 + VarintSize(data) + data : 0);
}

uint8_t* PutTensor(int field, const Vectors& vectors, bool is_state, uint8_t* to) {
  const Shape shape(vectors, is_state);
  const size_t data = DataBytes(vectors);
  to = PutTag(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED, to);
  to = CodedOutputStream::WriteVarint64ToArray(TensorSize(vectors, is_state), to);
  to = PutTag(1, WireFormatLite::WIRETYPE_VARINT, to);
  to = CodedOutputStream::WriteVarint32ToArray(kF32, to);
  to = PutTag(2, WireFormatLite::WIRETYPE_LENGTH_DELIMITED, to);
  to = CodedOutputStream::WriteVarint64ToArray(shape.Size(), to);
  for (int i = 0; i < shape.count; ++i) to = CodedOutputStream::WriteVarint64ToArray(shape.dims[i], to);
  if (!data) return to;
  to = PutTag(3, WireFormatLite::WIRETYPE_LENGTH_DELIMITED, to);
  to = CodedOutputStream::WriteVarint64ToArray(data, to);
  const size_t vector_bytes = static_cast<size_t>(vectors.size) * sizeof(float);
  for (const float* at : vectors.at) {
    std::memcpy(to, at, vector_bytes);
    to += vector_bytes;
  }
  return to;
}

size_t FieldSize(const Vectors* vectors, bool is_state) {
  if (!vectors) return 0;
  const size_t size = TensorSize(*vectors, is_state);
  return 1 + VarintSize(size) + size;
}

size_t ResultSize(const RowResult& r) {
  size_t size = 1 + VarintSize(r.frame_id) + PackedSize(static_cast<uint64_t>(r.length));
  if (r.start) size += PackedSize(static_cast<uint64_t>(r.start));
  if (r.is_finished) size += PackedSize(0) + PackedSize(r.position);
  return size + FieldSize(r.output, false) + FieldSize(r.h_n, true) + FieldSize(r.c_n, true);
}

}  // namespace

grpc::ByteBuffer WriteResult(const RowResult& r) {
  grpc_slice raw = grpc_slice_malloc(ResultSize(r));
  uint8_t* to = GRPC_SLICE_START_PTR(raw);
  to = PutTag(2, WireFormatLite::WIRETYPE_VARINT, to);
  to = CodedOutputStream::WriteVarint64ToArray(r.frame_id, to);
  if (r.start) to = PutPacked(4, static_cast<uint64_t>(r.start), to);
  to = PutPacked(5, static_cast<uint64_t>(r.length), to);
  if (r.output) to = PutTensor(6, *r.output, false, to);
  if (r.is_finished) {
    to = PutPacked(7, 0, to);
    to = PutPacked(8, r.position, to);
  }
  if (r.h_n) to = PutTensor(9, *r.h_n, true, to);
  if (r.c_n) PutTensor(10, *r.c_n, true, to);
  const grpc::Slice slice(raw, grpc::Slice::STEAL_REF);
  return grpc::ByteBuffer(&slice, 1);
}

}  // namespace elman
