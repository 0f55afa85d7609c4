// cuBLASLt, opened when first needed: D = x w^T for 16-bit weights and many rows, the algorithm of each shape chosen by timing.
// Owned by CudaStream; engine thread.
#pragma once
#include <cublasLt.h>

#include <map>
#include <tuple>

#include "backend/cuda/cuda_stream.h"

namespace quern::cuda {

struct Gemm {
  const void* x;  // [rows, columns] f16
  const void* w;  // [features, columns] f16
  void* y;        // [rows, features] f16 or f32, rows y_stride values apart
  size_t rows = 0, columns = 0, features = 0, y_stride = 0;
  Format y_format = Format::f32;
  bool adds = false;              // y += instead of y =
  const float* factor = nullptr;  // on the device: a factor, then 0 and 1 (layouts.h); null: 1
};

class Cublaslt {
 public:
  // Null, with a warning in the log, when the library cannot be opened.
  static std::shared_ptr<Cublaslt> open();
  ~Cublaslt();
  Cublaslt(const Cublaslt&) = delete;
  Cublaslt& operator=(const Cublaslt&) = delete;

  // The first call of a shape and bucket of rows outside a recorded step times candidates. `workspace` has kWorkspaceBytes.
  void run(const Gemm& gemm, std::byte* workspace, CudaStream& stream);

  static constexpr size_t kWorkspaceBytes = size_t{32} << 20;

 private:
  struct Functions;
  struct Problem;
  struct Choice {
    cublasLtMatmulAlgo_t algorithm = {};
    bool was_timed = false;
  };
  // bucket of rows, columns, features, stride and format of y, factor on the device
  using Key = std::tuple<size_t, size_t, size_t, size_t, Format, bool>;

  Cublaslt() = default;
  const Choice& choose(const Gemm& gemm, const Problem& problem, std::byte* workspace, CudaStream& stream);

  void* library_ = nullptr;
  std::unique_ptr<Functions> functions_;
  cublasLtHandle_t handle_ = nullptr;
  std::map<Key, Choice> choices_;
};

}  // namespace quern::cuda
