// Memory, copies, recorded steps and errors of the device.
#include <algorithm>
#include <chrono>
#include <numeric>

#include "backend/cuda/conformance_test.h"
#include "backend/cuda/launch.h"
#include "backend/cuda/ptx.cuh"

namespace quern::cuda_test {
namespace {

constexpr double kUploadShare = 0.6;  // of the host-to-device rate, from pageable memory

// Uploads of what loading uploads, beside plain copies from pinned memory.
void check_upload_rate(DeviceRuntime& runtime) {
  constexpr size_t kBytes = size_t{1} << 30, kPinned = size_t{64} << 20;
  const Storage storage = runtime.allocate(kBytes);
  const std::vector<uint8_t> source(kBytes, 7);
  const auto seconds = [&](const std::function<void()>& work) {
    double best = 1e9;
    for (int i = 0; i < 4; ++i) {
      runtime.synchronize();
      const auto start = std::chrono::steady_clock::now();
      work();
      runtime.synchronize();
      best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return best;
  };
  void* pinned = nullptr;
  expect(cudaMallocHost(&pinned, kPinned) == cudaSuccess, "pinned memory");
  cudaStream_t stream = cuda::cuda_stream(runtime.stream()).handle;
  const double limit = seconds([&] {
    for (size_t at = 0; at < kBytes; at += kPinned) cudaMemcpyAsync(storage.data() + at, pinned, kPinned, cudaMemcpyHostToDevice, stream);
  });
  cudaFreeHost(pinned);
  const double upload = seconds([&] { runtime.upload(storage.data(), source.data(), kBytes); });
  std::printf("upload %.1f GB/s of %.1f GB/s from pinned memory: %.0f %%\n", kBytes / upload / 1e9, kBytes / limit / 1e9,
              100 * limit / upload);
  expect(limit / upload >= kUploadShare, "uploads reach 60 % of the host-to-device rate");
}

__global__ void die() { cuda::trap(); }

}  // namespace

// A kernel that dies takes the GPU away from the program for good: every later call says so, at once, and nothing hangs.
void test_lost(TestDevice& device) {
  if (device.is_emulated()) return;
  DeviceRuntime& runtime = device.runtime();
  const Storage storage = runtime.allocate(1000);
  std::vector<std::byte> host(1000);
  runtime.upload(storage.data(), host.data(), host.size());
  cuda::launch("die", &die, {1, 1}, cuda::cuda_stream(runtime.stream()));
  const std::pair<const char*, std::function<void()>> calls[] = {
      {"synchronize", [&] { runtime.synchronize(); }},
      {"download", [&] { runtime.download(host.data(), storage.data(), host.size()); }},
      {"upload", [&] { runtime.upload(storage.data(), host.data(), host.size()), runtime.synchronize(); }},
      {"clear", [&] { runtime.clear(storage.data(), host.size()), runtime.synchronize(); }},
      {"step", [&] { runtime.step(1, [] {}), runtime.synchronize(); }},
      {"allocate", [&] { (void)runtime.allocate(1000); }}};
  for (const auto& [name, call] : calls) {
    try {
      call();
      expect(false, fmt::format("{} on a lost GPU is refused", name));
    } catch (const Error& error) {
      std::printf("%-12s %s\n", name, error.what());
      expect(error.code() == internal && error.message().find("GPU") != std::string::npos, error.message());
    }
  }
}

void test_runtime(TestDevice& device) {
  DeviceRuntime& runtime = device.runtime();
  const size_t count = device.is_small() ? 1000 : (size_t{70} << 20);  // larger than all pinned buffers together
  std::vector<uint8_t> sent(count), back(count);
  Rng rng(7);
  for (size_t i = 0; i < count; i += 1 + i / 64) sent[i] = static_cast<uint8_t>(rng.bits());
  const Storage storage = runtime.allocate(count);
  runtime.upload(storage.data(), sent.data(), count);
  const std::vector<uint8_t> kept = sent;
  std::fill(sent.begin(), sent.end(), uint8_t{0});  // upload has read its source
  runtime.download(back.data(), storage.data(), count);
  expect(back == kept, "what is uploaded comes back");
  runtime.clear(storage.data(), count);
  runtime.download(back.data(), storage.data(), count);
  expect(back == std::vector<uint8_t>(count), "clear clears");

  if (!device.is_small()) check_upload_rate(runtime);

  // A step gives the same whether it runs as it is or as a recorded graph, and reads what was uploaded before it.
  std::vector<HostTensor> parts = {random_tensor({64, 128}, Format::f16, rng)};
  const Weight* w = device.load(WeightUse::down, parts, true);
  const Tensor x = device.allocate({1, 128}, Format::f16), y = device.allocate({1, 64}, Format::f32);
  const LinearArgs args = {.x = x, .w = w, .y = y};
  device.backend().require(args);
  for (int i = 0; i < 4; ++i) {
    HostTensor values = random_tensor({1, 128}, Format::f16, rng);
    runtime.upload(x.data, values.bytes.data(), values.bytes.size());
    device.backend().linear(args);
    const std::vector<float> plain = device.download(y);
    device.poison(y);
    runtime.step(5, [&] { device.backend().linear(args); });
    expect(device.download(y) == plain, "a step is its launches");
  }
  size_t last = 0;
  for (size_t rows = 1; rows <= 300; ++rows) {
    const size_t padded = runtime.padded_rows(rows);
    expect(padded >= rows && padded >= last && runtime.padded_rows(padded) == padded, fmt::format("padded rows of {}", rows));
    last = padded;
  }
  if (device.is_emulated()) return;
  try {
    (void)runtime.allocate(size_t{1} << 50);
    expect(false, "a petabyte is refused");
  } catch (const Error& error) {
    expect(error.code() == resource && error.message().find("1125899906842624") != std::string::npos, error.message());
  }
  try {
    (void)open_cuda({.device = {Device::Kind::cuda, 99}});
    expect(false, "a GPU that is not there is refused");
  } catch (const Error& error) {
    expect(error.code() == incompatible, error.message());
  }
}

}  // namespace quern::cuda_test
