// Tensor: a shaped, formatted view that owns nothing. Storage: the owner of bytes on one device. No arithmetic here.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>

#include "base/error.h"
#include "formats/list.h"

namespace quern {

// Where bytes live. `index` is the GPU's number; 0 for the CPU.
struct Device {
  enum class Kind : uint8_t { cpu, cuda };
  Kind kind = Kind::cpu;
  uint8_t index = 0;
  bool operator==(const Device&) const = default;
};

// Up to four dimensions, slowest first. The last one is a row in the tensor's format.
class Shape {
 public:
  static constexpr size_t kMaxRank = 4;

  Shape() = default;
  Shape(std::initializer_list<size_t> dims) {
    CHECK(dims.size() <= kMaxRank, "rank {}", dims.size());
    for (const size_t dim : dims) dims_[rank_++] = dim;
  }
  explicit Shape(std::span<const size_t> dims) {
    CHECK(dims.size() <= kMaxRank, "rank {}", dims.size());
    for (const size_t dim : dims) dims_[rank_++] = dim;
  }

  size_t rank() const { return rank_; }
  size_t operator[](size_t i) const { return dims_[i]; }
  size_t columns() const { return rank_ == 0 ? 1 : dims_[rank_ - 1]; }
  size_t rows() const {  // product of all dimensions but the last
    size_t rows = 1;
    for (size_t i = 0; i + 1 < rank_; ++i) rows *= dims_[i];
    return rows;
  }
  bool operator==(const Shape&) const = default;
  std::string text() const {  // "[2048,1024]"
    std::string text = "[";
    for (size_t i = 0; i < rank_; ++i) text += fmt::format("{}{}", i == 0 ? "" : ",", dims_[i]);
    return text + "]";
  }

 private:
  std::array<size_t, kMaxRank> dims_{};
  uint8_t rank_ = 0;
};

// How the bytes of a tensor are arranged. 0 is the canonical layout of the engine file: rows one after the other, each as its format
// says. Other values are a backend's private layouts (see WeightLayout in backend/kernel_row.h) and mean nothing outside it.
using LayoutId = uint16_t;
inline constexpr LayoutId kCanonical = 0;

struct Tensor {
  std::byte* data = nullptr;
  Shape shape;
  Format format = Format::f32;
  Device device;
  LayoutId layout = kCanonical;

  explicit operator bool() const { return data != nullptr; }
  size_t rows() const { return shape.rows(); }
  size_t columns() const { return shape.columns(); }
  size_t row_bytes() const { return quern::row_bytes(format, columns()); }
  size_t bytes() const { return rows() * row_bytes(); }  // in the canonical layout

  // First value of row `i`, for the plain formats and the canonical layout.
  template <class T>
  T* row(size_t i) const {
    return reinterpret_cast<T*>(data + i * row_bytes());
  }
  float* f32(size_t i = 0) const {
    CHECK(format == Format::f32 && device.kind == Device::Kind::cpu, "want f32 on the CPU, found {}", format_name(format));
    return row<float>(i);
  }
};

// Owns `bytes` bytes on `device`; frees them with the function that its maker gave.
class Storage {
 public:
  Storage() = default;
  Storage(std::byte* data, size_t bytes, Device device, std::function<void(std::byte*)> free)
      : data_(data, std::move(free)), bytes_(bytes), device_(device) {}

  std::byte* data() const { return data_.get(); }
  size_t bytes() const { return bytes_; }
  Device device() const { return device_; }

  // The view that starts `offset` bytes in.
  Tensor view(Shape shape, Format format, size_t offset = 0) const {
    Tensor t{data_.get() + offset, shape, format, device_, kCanonical};
    CHECK(offset <= bytes_ && t.bytes() <= bytes_ - offset, "{} {} at {} of {} bytes", shape.text(), format_name(format), offset, bytes_);
    return t;
  }

 private:
  std::unique_ptr<std::byte, std::function<void(std::byte*)>> data_{nullptr, [](std::byte*) {}};
  size_t bytes_ = 0;
  Device device_;
};

}  // namespace quern
