// One NVIDIA GPU: memory, copies through pinned buffers, steps as CUDA graphs. Nothing here needs a driver before a GPU is opened.
#include <algorithm>
#include <unordered_map>
#include <vector>

#include "backend/cuda/cublaslt.h"
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_stream.h"
#include "backend/cuda/kernels.h"
#include "backend/cuda/measure.h"
#include "backend/cuda/pinned_copy.h"
#include "base/thread_pool.h"

namespace quern {
namespace cuda {
namespace {

constexpr int kOldestSm = 80;
constexpr size_t kMaxGraphs = 256;

std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

// Number of GPUs. Without a driver, or with one that is too old, 0 and why in `reason`.
int count_devices(std::string* reason) {
  int driver = 0, runtime = 0, count = 0;
  cudaRuntimeGetVersion(&runtime);
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    *reason = "no NVIDIA driver on this machine";
    cudaGetLastError();
    return 0;
  }
  const cudaError_t error = cudaGetDeviceCount(&count);
  cudaGetLastError();  // an error here is an answer
  if (error == cudaSuccess && count > 0) return count;
  if (error == cudaErrorInsufficientDriver) {
    *reason = fmt::format("driver: want one for CUDA {}, found one for CUDA {}", version_text(runtime), version_text(driver));
  } else {
    *reason = error == cudaSuccess || error == cudaErrorNoDevice ? "no GPU on this machine" : cudaGetErrorString(error);
  }
  return 0;
}

class CudaRuntime final : public DeviceRuntime {
 public:
  explicit CudaRuntime(const BackendOptions& options) : host_threads_(options.num_threads) {
    std::string reason;
    const int count = count_devices(&reason), index = options.device.index;
    if (count == 0) raise(incompatible, "--device cuda: {}", reason);
    if (index >= count) raise(incompatible, "--device cuda:{}: this machine has {} GPU{}", index, count, count == 1 ? "" : "s");
    cuda_check(cudaSetDevice(index), "opening the GPU");
    cudaDeviceProp properties;
    cuda_check(cudaGetDeviceProperties(&properties, index), "opening the GPU");
    info_.device = options.device;
    info_.name = properties.name;
    info_.sm = properties.major * 10 + properties.minor;
    info_.num_sms = properties.multiProcessorCount;
    info_.smem_per_block = properties.sharedMemPerBlockOptin;
    info_.activations = Format::f16;
    if (info_.sm < kOldestSm) {
      raise(incompatible, "--device cuda:{}: {}: want compute capability 8.0 or newer, found {}.{}", index, info_.name, properties.major,
            properties.minor);
    }
    read_memory();
    cuda_check(cudaStreamCreateWithFlags(&handle_, cudaStreamNonBlocking), "opening the GPU");
    stream_.info = &info_;
    stream_.native = handle_;
    stream_.pool = &host_threads_;
    stream_.handle = handle_;
    stream_.runtime = this;
    stream_.overlaps_launches = info_.sm >= 90;
    counters_ = allocate(CudaStream::kNumCounters * sizeof(int32_t));
    clear(counters_.data(), counters_.bytes());
    stream_.counters = reinterpret_cast<int32_t*>(counters_.data());
    copies_ = std::make_unique<PinnedCopy>(handle_);
  }

  ~CudaRuntime() override {
    cudaStreamSynchronize(handle_);
    forget_graphs();
    copies_.reset();
    stream_.cublaslt_library.reset();
    stream_.staging = Storage();
    counters_ = Storage();
    cudaStreamDestroy(handle_);
  }

  const DeviceInfo& info() const override { return info_; }
  const DeviceTables& tables() const override { return cuda::tables(); }
  Stream& stream() override { return stream_; }

  Storage allocate(size_t bytes) override {
    void* data = nullptr;
    const cudaError_t error = cudaMalloc(&data, std::max<size_t>(bytes, 256));
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      read_memory();
      raise(resource, "GPU memory of {}: want {} bytes, {} of {} are free", info_.name, bytes, info_.free_bytes, info_.memory_bytes);
    }
    cuda_check(error, "GPU memory");
    read_memory();
    return Storage(static_cast<std::byte*>(data), bytes, info_.device, [](std::byte* p) { cudaFree(p); });
  }

  void upload(std::byte* device, const void* host, size_t bytes) override { copies_->upload(device, host, bytes); }
  void download(void* host, const std::byte* device, size_t bytes) override { copies_->download(host, device, bytes); }
  void clear(std::byte* device, size_t bytes) override { cuda_check(cudaMemsetAsync(device, 0, bytes, handle_), "clearing GPU memory"); }
  void synchronize() override { cuda_check(cudaStreamSynchronize(handle_), "waiting for the GPU"); }

  // The first step of a key runs as it is: libraries choose their algorithms and load their code then. The second is captured.
  void step(uint64_t key, const std::function<void()>& body) override {
    if (stream_.staging.bytes() != 0) stream_.staging = Storage();
    const auto [at, is_new] = graphs_.try_emplace(key, nullptr);
    if (is_new) {
      body();
      cuda_check(cudaGetLastError(), "a step");
      return;
    }
    if (at->second == nullptr) {
      if (graphs_.size() > kMaxGraphs) {
        forget_graphs();
        graphs_.emplace(key, capture(body));
      } else {
        at->second = capture(body);
      }
    }
    cuda_check(cudaGraphLaunch(graphs_.at(key), handle_), "a step");
  }

  double measure_read_bandwidth() override { return measure_reads(stream_); }
  UnitRate measure_operations(Format) override { return {"f16", measure_products(stream_)}; }

  void forget_steps() override { forget_graphs(); }

  size_t padded_rows(size_t rows) const override {
    if (rows <= 2) return std::max<size_t>(rows, 1);
    if (rows <= 4) return 4;
    if (rows <= 32) return (rows + 7) / 8 * 8;
    if (rows <= 64) return (rows + 15) / 16 * 16;
    return (rows + 31) / 32 * 32;
  }

 private:
  void read_memory() {
    size_t free = 0, total = 0;
    cuda_check(cudaMemGetInfo(&free, &total), "reading the GPU's memory");
    info_.free_bytes = free;
    info_.memory_bytes = total;
  }

  cudaGraphExec_t capture(const std::function<void()>& body) {
    cuda_check(cudaStreamBeginCapture(handle_, cudaStreamCaptureModeThreadLocal), "recording a step");
    cudaGraph_t graph = nullptr;
    try {
      body();
    } catch (...) {
      cudaStreamEndCapture(handle_, &graph);
      if (graph != nullptr) cudaGraphDestroy(graph);
      cudaGetLastError();
      throw;
    }
    cuda_check(cudaStreamEndCapture(handle_, &graph), "recording a step");
    cudaGraphExec_t executable = nullptr;
    const cudaError_t error = cudaGraphInstantiate(&executable, graph, 0);
    cudaGraphDestroy(graph);
    cuda_check(error, "recording a step");
    return executable;
  }

  void forget_graphs() {
    cudaStreamSynchronize(handle_);
    for (const auto& [key, graph] : graphs_) {
      if (graph != nullptr) cudaGraphExecDestroy(graph);
    }
    graphs_.clear();
  }

  ThreadPool host_threads_;
  DeviceInfo info_;
  cudaStream_t handle_ = nullptr;
  CudaStream stream_;
  Storage counters_;
  std::unique_ptr<PinnedCopy> copies_;
  std::unordered_map<uint64_t, cudaGraphExec_t> graphs_;
};

}  // namespace

void raise_cuda(cudaError_t error, const char* what) {
  cudaGetLastError();
  switch (error) {
    case cudaErrorMemoryAllocation: raise(resource, "{}: GPU memory is used up", what);
    case cudaErrorInsufficientDriver:
    case cudaErrorNoDevice:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorUnsupportedPtxVersion: raise(incompatible, "{}: {}", what, cudaGetErrorString(error));
    default: raise(internal, "{}: GPU: {} ({})", what, cudaGetErrorString(error), cudaGetErrorName(error));
  }
}

}  // namespace cuda

std::unique_ptr<DeviceRuntime> open_cuda(const BackendOptions& options) { return std::make_unique<cuda::CudaRuntime>(options); }

size_t num_cuda_devices() {
  std::string reason;
  return static_cast<size_t>(cuda::count_devices(&reason));
}

}  // namespace quern
