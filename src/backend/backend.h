// One device: its memory, its stream, and the first kernel row that supports an operation.
// Made by cli/ or the public API, outlives the Transformer; used on the engine thread (loading included).
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend/device_runtime.h"

namespace quern {

struct LoadedWeight {
  Weight weight;
  Storage storage;  // empty when the weight is used in place (a mapped file on the CPU: the file must outlive it)
};

class Backend {
 public:
  explicit Backend(const BackendOptions& options = {});
  ~Backend();

  const DeviceInfo& info() const { return runtime_->info(); }
  DeviceRuntime& runtime() { return *runtime_; }

  // Brings a weight to the device in the fastest layout that it has for it.
  LoadedWeight load_weight(const WeightSource& source);
  // What load_weight() would make of weights of these shapes and formats (without data), and the bytes that it would take, in place or not.
  struct PlannedWeight {
    Weight weight;
    uint64_t bytes = 0;
  };
  PlannedWeight plan_weight(const WeightSource& source) const;

  // Operations. Each runs the first row that supports the arguments; incompatible, naming op, formats and shapes, when none does.
  void embed(const EmbedArgs& args);
  void qkv(const QkvArgs& args);
  void attention(const AttentionArgs& args);
  void linear(const LinearArgs& args);
  void gate_up(const GateUpArgs& args);
  void head(const HeadArgs& args);
  void sample(const SampleArgs& args);

  // Finds the row for arguments of the largest size that will occur, so that a gap fails while loading, and grows the workspace to
  // what the row needs. Call for every operation of a model before its first step. Returns the row's name.
  template <class Args>
  const char* require(const Args& args);
  size_t workspace_bytes() const { return workspace_.bytes(); }

  // Called after every operation that runs from now on with what it was (the op, for a linear the weight's use), the row that ran, and
  // its seconds; on the CPU only, where an operation is done when its call returns. Empty: nothing is timed.
  using Observer = std::function<void(const char* operation, const char* row, double seconds)>;
  void observe(Observer observer) { observer_ = std::move(observer); }

  // The workspace that require() would want for these arguments.
  template <class Args>
  size_t planned_workspace(const Args& args) const;

 private:
  const WeightLayout* layout_for(const WeightSource& source) const;
  template <class Args>
  const KernelRow<Args>& row_for(const Args& args) const;
  template <class Args>
  void run(const Args& args);

  std::unique_ptr<DeviceRuntime> runtime_;
  std::vector<std::pair<std::string, std::string>> forced_;  // op, row
  Storage workspace_;
  Observer observer_;
};

}  // namespace quern
