#include "step_request.h"

#include <algorithm>
#include <cstring>

namespace elman {
namespace {

enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

constexpr uint32_t kHandles = 2;  // packed fixed64

constexpr uint32_t Tag(uint32_t field, WireType type) { return field << 3 | type; }

// Walks over the fields of a message; every read is bounded by its bytes.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  // The next field's tag; 0 at the end, or where there is no good one.
  uint32_t Next() {
    uint64_t tag = 0;
    is_bad_ = is_bad_ || (!AtEnd() && !(Varint(&tag) && tag && tag <= std::numeric_limits<uint32_t>::max()));
    return is_bad_ ? 0 : static_cast<uint32_t>(tag);
  }

  bool AtEnd() const { return rest_.empty() && !is_bad_; }

  bool Varint(uint64_t* value) {
    *value = 0;
    for (size_t i = 0; i < rest_.size() && i < 10; ++i) {
      const auto byte = static_cast<uint8_t>(rest_[i]);
      *value |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
      if (byte >= 0x80) continue;
      rest_.remove_prefix(i + 1);
      return i < 9 || byte <= 1;  // else it has more than 64 bits
    }
    return false;
  }

  bool Fixed64(uint64_t* value) {
    std::string_view bytes;
    if (!Take(sizeof(*value), &bytes)) return false;
    std::memcpy(value, bytes.data(), sizeof(*value));  // little-endian, as the wire
    return true;
  }

  bool Bytes(std::string_view* value) {
    uint64_t size;
    return Varint(&size) && Take(size, value);
  }

  // What comes with a tag; groups are no longer in use.
  bool Skip(uint32_t tag, std::string_view* bytes) {
    uint64_t number;
    switch (tag & 7) {
      case kVarint:
        return Varint(&number);
      case kBytes:
        return Bytes(bytes);
      case kFixed64:
        return Take(8, bytes);
      case kFixed32:
        return Take(4, bytes);
      default:
        return false;
    }
  }

 private:
  bool Take(uint64_t size, std::string_view* value) {
    if (size > rest_.size()) return false;
    *value = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return true;
  }

  std::string_view rest_;
  bool is_bad_ = false;
};

// A packed field of exactly one varint.
bool OneVarint(std::string_view packed, uint64_t* value) {
  Reader reader(packed);
  return reader.Varint(value) && reader.AtEnd();
}

bool OneFixed64(std::string_view packed, uint64_t* value) {
  Reader reader(packed);
  return packed.size() == 8 && reader.Fixed64(value);
}

bool AddDim(uint64_t size, SingleRow* row) {
  if (row->num_dims == 2) return false;
  row->dims[row->num_dims++] = static_cast<int64_t>(size);
  return true;
}

bool ReadShape(std::string_view packed, SingleRow* row) {
  Reader reader(packed);
  while (!reader.AtEnd()) {
    uint64_t size;
    if (!reader.Varint(&size) || !AddDim(size, row)) return false;
  }
  return true;
}

bool ReadTensor(std::string_view message, std::string_view bytes, SingleRow* row) {
  Reader reader(bytes);
  uint64_t number;
  std::string_view packed, data;
  while (const uint32_t tag = reader.Next()) {
    bool is_good = false;
    if (tag == Tag(1, kVarint)) {
      is_good = reader.Varint(&number);
      row->dtype = static_cast<int32_t>(number);
    } else if (tag == Tag(2, kBytes)) {
      is_good = reader.Bytes(&packed) && ReadShape(packed, row);
    } else if (tag == Tag(3, kBytes)) {
      is_good = reader.Bytes(&data);
    }
    if (!is_good) return false;
  }
  row->num_bytes = data.size();
  row->data_at = data.empty() ? 0 : static_cast<size_t>(data.data() - message.data());
  return reader.AtEnd();
}

bool ReadTimeout(std::string_view bytes, SingleRow* row) {
  Reader reader(bytes);
  uint64_t seconds = 0, nanos = 0;
  while (const uint32_t tag = reader.Next()) {
    const bool is_good =
        (tag == Tag(1, kVarint) && reader.Varint(&seconds)) || (tag == Tag(2, kVarint) && reader.Varint(&nanos));
    if (!is_good) return false;
  }
  row->timeout_seconds =
      static_cast<double>(static_cast<int64_t>(seconds)) + static_cast<double>(static_cast<int32_t>(nanos)) / 1e9;
  return reader.AtEnd() && row->timeout_seconds >= 0;
}

// How often each field may stand that must not stand twice.
struct Seen {
  bool handle = false, length = false, position = false, input = false, timeout = false;
};

bool Once(bool* seen) {
  const bool is_first = !*seen;
  *seen = true;
  return is_first;
}

bool ReadField(uint32_t tag, std::string_view message, std::string_view instance, Reader* reader, Seen* seen,
               SingleRow* row) {
  uint64_t number = 0;
  std::string_view bytes;
  switch (tag) {
    case Tag(1, kVarint):
      return reader->Varint(&row->frame_id);
    case Tag(kHandles, kBytes):
      return reader->Bytes(&bytes) && OneFixed64(bytes, &row->handle) && Once(&seen->handle);
    case Tag(3, kBytes):
      if (!reader->Bytes(&bytes) || !OneVarint(bytes, &number) || !Once(&seen->length)) return false;
      row->length = static_cast<int64_t>(static_cast<uint32_t>(number));
      return number > 0 && number <= std::numeric_limits<uint32_t>::max();
    case Tag(4, kBytes):
      if (!reader->Bytes(&bytes) || !OneVarint(bytes, &number) || !Once(&seen->position)) return false;
      row->position = static_cast<int64_t>(number);
      return number < (uint64_t{1} << 62);
    case Tag(5, kBytes):
      return reader->Bytes(&bytes) && Once(&seen->input) && ReadTensor(message, bytes, row);
    case Tag(6, kVarint):
      if (!reader->Varint(&number)) return false;
      row->return_output = static_cast<int32_t>(number);
      return number <= 3;
    case Tag(7, kVarint):
      if (!reader->Varint(&number)) return false;
      row->return_state = number != 0;
      return true;
    case Tag(8, kBytes):
      return reader->Bytes(&bytes) && Once(&seen->timeout) && ReadTimeout(bytes, row);
    case Tag(9, kBytes):
      return reader->Bytes(&bytes) && (bytes.empty() || bytes == instance);
    default:
      return false;
  }
}

}  // namespace

bool ReadSingleRow(std::string_view message, std::string_view server_instance, SingleRow* row) {
  Reader reader(message);
  Seen seen;
  while (const uint32_t tag = reader.Next()) {
    if (!ReadField(tag, message, server_instance, &reader, &seen, row)) return false;
  }
  return reader.AtEnd() && seen.handle && seen.length && seen.input;
}

int64_t CountRows(std::string_view message) {
  Reader reader(message);
  size_t num_handles = 0;
  while (const uint32_t tag = reader.Next()) {
    std::string_view bytes;
    if (!reader.Skip(tag, &bytes)) break;  // no more can be told of it
    if (tag >> 3 == kHandles) num_handles += bytes.size() / sizeof(uint64_t);
  }
  return std::max<int64_t>(1, static_cast<int64_t>(num_handles));
}

}  // namespace elman
