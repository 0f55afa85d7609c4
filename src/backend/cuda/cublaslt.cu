#include <dlfcn.h>

#include <algorithm>

#include "backend/cuda/cublaslt.h"
#include "backend/cuda/cuda_check.h"
#include "base/log.h"

namespace quern::cuda {
namespace {

constexpr int kCandidates = 12, kRuns = 4;

void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS) raise(internal, "cuBLASLt: {}: status {}", what, static_cast<int>(status));
}

}  // namespace

#define QUERN_CUBLASLT_FUNCTIONS(X) \
  X(cublasLtCreate)                 \
  X(cublasLtDestroy)                \
  X(cublasLtMatmul)                 \
  X(cublasLtMatmulAlgoGetHeuristic) \
  X(cublasLtMatmulDescCreate)       \
  X(cublasLtMatmulDescDestroy)      \
  X(cublasLtMatmulDescSetAttribute) \
  X(cublasLtMatrixLayoutCreate)     \
  X(cublasLtMatrixLayoutDestroy)    \
  X(cublasLtMatmulPreferenceCreate) X(cublasLtMatmulPreferenceDestroy) X(cublasLtMatmulPreferenceSetAttribute)

struct Cublaslt::Functions {
#define QUERN_MEMBER(name) decltype(&::name) name = nullptr;
  QUERN_CUBLASLT_FUNCTIONS(QUERN_MEMBER)
#undef QUERN_MEMBER
};

// One product as the library describes it, column-major: y^T [features, rows] = w^T' x^T.
struct Cublaslt::Problem {
  const Functions& f;
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t w = nullptr, x = nullptr, y = nullptr;

  Problem(const Functions& functions, const Gemm& g) : f(functions) {
    check(f.cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "operation");
    const cublasOperation_t transposed = CUBLAS_OP_T;
    check(f.cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof(transposed)), "operation");
    if (g.factor != nullptr) {
      const cublasLtPointerMode_t mode = CUBLASLT_POINTER_MODE_DEVICE;
      check(f.cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_POINTER_MODE, &mode, sizeof(mode)), "operation");
    }
    const cudaDataType_t y_type = g.y_format == Format::f32 ? CUDA_R_32F : CUDA_R_16F;
    check(f.cublasLtMatrixLayoutCreate(&w, CUDA_R_16F, g.columns, g.features, static_cast<int64_t>(g.columns)), "layout");
    check(f.cublasLtMatrixLayoutCreate(&x, CUDA_R_16F, g.columns, g.rows, static_cast<int64_t>(g.columns)), "layout");
    check(f.cublasLtMatrixLayoutCreate(&y, y_type, g.features, g.rows, static_cast<int64_t>(g.y_stride)), "layout");
  }
  ~Problem() {
    f.cublasLtMatmulDescDestroy(operation);
    for (cublasLtMatrixLayout_t layout : {w, x, y}) {
      if (layout != nullptr) f.cublasLtMatrixLayoutDestroy(layout);
    }
  }
};

std::shared_ptr<Cublaslt> Cublaslt::open() {
  std::shared_ptr<Cublaslt> opened(new Cublaslt);
  for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"}) {
    opened->library_ = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (opened->library_ != nullptr) break;
  }
  if (opened->library_ == nullptr) {
    log_warning("cuBLASLt cannot be opened ({}): long prompts will be slower", dlerror());
    return nullptr;
  }
  opened->functions_ = std::make_unique<Functions>();
  Functions& f = *opened->functions_;
#define QUERN_LOAD(name)                                                        \
  f.name = reinterpret_cast<decltype(&::name)>(dlsym(opened->library_, #name)); \
  if (f.name == nullptr) {                                                      \
    log_warning("cuBLASLt has no {}: long prompts will be slower", #name);      \
    return nullptr;                                                             \
  }
  QUERN_CUBLASLT_FUNCTIONS(QUERN_LOAD)
#undef QUERN_LOAD
  if (const cublasStatus_t status = f.cublasLtCreate(&opened->handle_); status != CUBLAS_STATUS_SUCCESS) {
    log_warning("cuBLASLt does not start (status {}): long prompts will be slower", static_cast<int>(status));
    return nullptr;
  }
  return opened;
}

Cublaslt::~Cublaslt() {
  if (handle_ != nullptr) functions_->cublasLtDestroy(handle_);
  if (library_ != nullptr) dlclose(library_);
}

Cublaslt* CudaStream::cublaslt() {
  if (!looked_for_cublaslt) {
    looked_for_cublaslt = true;
    cublaslt_library = Cublaslt::open();
  }
  return cublaslt_library.get();
}

namespace {

// Row counts that share a choice of algorithm: 16, 32, .. 256, 384, .. 1024, 1536, ..
size_t row_bucket(size_t rows) {
  const size_t step = rows <= 256 ? 16 : rows <= 1024 ? 128 : 512;
  return (rows + step - 1) / step * step;
}

// Milliseconds of work() on the stream, the best of kRuns after one more; infinite when it is refused.
template <class Work>
float fastest_ms(cudaStream_t stream, cudaEvent_t begin, cudaEvent_t end, const Work& work) {
  float fastest = INFINITY;
  for (int run = 0; run <= kRuns; ++run) {
    cuda_check(cudaEventRecord(begin, stream), "cuBLASLt");
    if (work() != CUBLAS_STATUS_SUCCESS) return INFINITY;
    cuda_check(cudaEventRecord(end, stream), "cuBLASLt");
    cuda_check(cudaEventSynchronize(end), "cuBLASLt");
    float ms = 0;
    cuda_check(cudaEventElapsedTime(&ms, begin, end), "cuBLASLt");
    if (run > 0) fastest = std::min(fastest, ms);
  }
  return fastest;
}

}  // namespace

const Cublaslt::Choice& Cublaslt::choose(const Gemm& g, const Problem& p, std::byte* workspace, CudaStream& stream) {
  const Functions& f = *functions_;
  cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
  cuda_check(cudaStreamIsCapturing(stream.handle, &capturing), "cuBLASLt");
  const bool is_recording = capturing != cudaStreamCaptureStatusNone;
  const auto [at, is_new] = choices_.try_emplace({row_bucket(g.rows), g.columns, g.features, g.y_stride, g.y_format, g.factor != nullptr});
  Choice& choice = at->second;
  if (!is_new && (choice.was_timed || is_recording)) return choice;

  cublasLtMatmulPreference_t preference = nullptr;
  check(f.cublasLtMatmulPreferenceCreate(&preference), "preference");
  const size_t workspace_bytes = kWorkspaceBytes;
  f.cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_bytes, sizeof(workspace_bytes));
  cublasLtMatmulHeuristicResult_t results[kCandidates];
  int found = 0;
  const cublasStatus_t status =
      f.cublasLtMatmulAlgoGetHeuristic(handle_, p.operation, p.w, p.x, p.y, p.y, preference, kCandidates, results, &found);
  f.cublasLtMatmulPreferenceDestroy(preference);
  if (status != CUBLAS_STATUS_SUCCESS || found == 0) {
    choices_.erase(at);
    raise(internal, "cuBLASLt: no algorithm for [{},{}] x [{},{}]: status {}", g.rows, g.columns, g.features, g.columns,
          static_cast<int>(status));
  }
  choice.algorithm = results[0].algo;
  if (is_recording) return choice;

  const Storage scratch = stream.runtime->allocate(g.rows * g.y_stride * (g.y_format == Format::f32 ? 4 : 2));
  cudaEvent_t begin = nullptr, end = nullptr;
  cuda_check(cudaEventCreate(&begin), "cuBLASLt");
  cuda_check(cudaEventCreate(&end), "cuBLASLt");
  const float one = 1, zero = 0;
  const float* const alpha = g.factor == nullptr ? &one : g.factor;
  const float* const beta = g.factor == nullptr ? &zero : g.factor + 1;
  float best = INFINITY;
  for (int i = 0; i < found; ++i) {
    const float ms = fastest_ms(stream.handle, begin, end, [&] {
      return f.cublasLtMatmul(handle_, p.operation, alpha, g.w, p.w, g.x, p.x, beta, scratch.data(), p.y, scratch.data(), p.y,
                              &results[i].algo, workspace, kWorkspaceBytes, stream.handle);
    });
    if (ms < best) {
      best = ms;
      choice.algorithm = results[i].algo;
    }
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  choice.was_timed = true;
  return choice;
}

void Cublaslt::run(const Gemm& g, std::byte* workspace, CudaStream& stream) {
  const Problem p(*functions_, g);
  const Choice& choice = choose(g, p, workspace, stream);
  const float one = 1, zero = 0;
  const float* const alpha = g.factor == nullptr ? &one : g.factor;
  const float* const beta = g.factor == nullptr ? (g.adds ? &one : &zero) : g.factor + (g.adds ? 2 : 1);
  check(functions_->cublasLtMatmul(handle_, p.operation, alpha, g.w, p.w, g.x, p.x, beta, g.y, p.y, g.y, p.y, &choice.algorithm, workspace,
                                   kWorkspaceBytes, stream.handle),
        "product");
}

}  // namespace quern::cuda
