// Kernels and weight layouts as rows of tables, fastest first: the first row that supports the arguments runs.
#pragma once
#include <cstdint>
#include <span>
#include <string>

#include "backend/ops/ops.h"

namespace quern {

class ThreadPool;

// What kernels may know of the device they run on. Filled once when it is opened.
struct DeviceInfo {
  Device device;
  std::string name;
  uint64_t memory_bytes = 0, free_bytes = 0;
  // CPU: threads of the pool, the caller included.
  size_t num_threads = 1;
  // CPU: instruction sets that may be used (present, enabled by the system, not forced off).
  bool avx2 = false, avx512 = false, avx512_vnni = false, avx512_bf16 = false, amx = false;
  // CUDA: compute capability as 10*major + minor, multiprocessors.
  int sm = 0, num_sms = 0;
  size_t smem_per_block = 0;  // most that a block may ask for
  // What q, the attention's output and gate * up are kept in: the format that this device's kernels read and write fastest.
  Format activations = Format::f32;
};

// Where a kernel runs. CPU: the pool's threads. CUDA: `native` is the cudaStream_t.
struct Stream {
  const DeviceInfo* info = nullptr;
  ThreadPool* pool = nullptr;
  void* native = nullptr;
  std::byte* workspace = nullptr;  // on the device, free for the running kernel only
  size_t workspace_bytes = 0;
};

template <class Args>
struct KernelRow {
  const char* name;                                  // <op>_<how>; shown by --kernel and by the bench
  bool (*supports)(const Args&, const DeviceInfo&);  // looks at shapes, formats and layouts; never at values or data pointers
  void (*run)(const Args&, Stream&);
  size_t (*workspace_bytes)(const Args&, const DeviceInfo&) = nullptr;  // null: none; grows with the arguments' sizes
};

// The parts of one weight as the engine file holds them, in host memory.
struct WeightSource {
  WeightUse use;
  std::span<const Tensor> parts;
};

// A private arrangement of weights.
struct WeightLayout {
  const char* name;
  LayoutId id;  // never kCanonical
  bool (*supports)(const WeightSource&, const DeviceInfo&);
  size_t (*bytes)(const WeightSource&);                                               // on the device
  void (*pack)(const WeightSource&, Weight& into, std::byte* device_bytes, Stream&);  // sets into.packed or the parts' data
};

// All that a device offers. The last row of each kernel table takes everything.
struct DeviceTables {
  std::span<const KernelRow<EmbedArgs>> embed;
  std::span<const KernelRow<QkvArgs>> qkv;
  std::span<const KernelRow<AttentionArgs>> attention;
  std::span<const KernelRow<LinearArgs>> linear;
  std::span<const KernelRow<GateUpArgs>> gate_up;
  std::span<const KernelRow<HeadArgs>> head;
  std::span<const KernelRow<SampleArgs>> sample;
  std::span<const WeightLayout> layouts;
};

}  // namespace quern
