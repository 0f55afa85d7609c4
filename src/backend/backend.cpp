#include "backend/backend.h"

#include <algorithm>

#include "base/clock.h"

namespace quern {
namespace {

template <class Args>
struct Op;
template <>
struct Op<EmbedArgs> {
  static constexpr const char* kName = "embed";
  static auto rows(const DeviceTables& t) { return t.embed; }
  static std::string text(const EmbedArgs& a) {
    return fmt::format("{} {}", a.table->parts[0].shape.text(), format_name(a.table->parts[0].format));
  }
};
template <>
struct Op<QkvArgs> {
  static constexpr const char* kName = "qkv";
  static auto rows(const DeviceTables& t) { return t.qkv; }
  static std::string text(const QkvArgs& a) { return fmt::format("x {}, w {}", a.h.shape.text(), format_name(a.w->parts[0].format)); }
};
template <>
struct Op<AttentionArgs> {
  static constexpr const char* kName = "attention";
  static auto rows(const DeviceTables& t) { return t.attention; }
  static std::string text(const AttentionArgs& a) {
    return fmt::format("q {}, kv {} head_dim {}", a.q.shape.text(), format_name(a.kv.format), a.kv.head_dim);
  }
};
template <>
struct Op<LinearArgs> {
  static constexpr const char* kName = "linear";
  static auto rows(const DeviceTables& t) { return t.linear; }
  static std::string text(const LinearArgs& a) {
    return fmt::format("x {}, w {} {}", a.x.shape.text(), a.w->parts[0].shape.text(), format_name(a.w->parts[0].format));
  }
};
template <>
struct Op<GateUpArgs> {
  static constexpr const char* kName = "gate_up";
  static auto rows(const DeviceTables& t) { return t.gate_up; }
  static std::string text(const GateUpArgs& a) { return fmt::format("x {}, w {}", a.h.shape.text(), format_name(a.w->parts[0].format)); }
};
template <>
struct Op<HeadArgs> {
  static constexpr const char* kName = "head";
  static auto rows(const DeviceTables& t) { return t.head; }
  static std::string text(const HeadArgs& a) {
    return fmt::format("w {} {}", a.w->parts[0].shape.text(), format_name(a.w->parts[0].format));
  }
};
template <>
struct Op<SampleArgs> {
  static constexpr const char* kName = "sample";
  static auto rows(const DeviceTables& t) { return t.sample; }
  static std::string text(const SampleArgs& a) { return fmt::format("logits {}", a.logits.shape.text()); }
};

template <class Args>
const char* name_of(const Args&) {
  return Op<Args>::kName;
}
const char* name_of(const LinearArgs& a) { return a.w->use == WeightUse::attention_out ? "attention_out" : "down"; }

constexpr std::string_view kOps[] = {"embed", "qkv", "attention", "linear", "gate_up", "head", "sample"};

std::vector<std::pair<std::string, std::string>> parse_kernels(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> forced;
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    const size_t equals = item.find('=');
    if (equals == item.npos || std::ranges::find(kOps, item.substr(0, equals)) == std::end(kOps)) {
      raise(usage, "--kernel: want op=row with op one of {}, found {}", fmt::join(kOps, ", "), escaped(item));
    }
    forced.emplace_back(item.substr(0, equals), item.substr(equals + 1));
  }
  return forced;
}

size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }

std::unique_ptr<DeviceRuntime> open(const BackendOptions& options) {
  return options.device.kind == Device::Kind::cuda ? open_cuda(options) : open_cpu(options);
}

}  // namespace

Backend::Backend(const BackendOptions& options) : runtime_(open(options)), forced_(parse_kernels(options.kernels)) {}
Backend::~Backend() = default;

const WeightLayout* Backend::layout_for(const WeightSource& source) const {
  for (const WeightLayout& layout : runtime_->tables().layouts) {
    if (layout.supports(source, info())) return &layout;
  }
  return nullptr;
}

Backend::PlannedWeight Backend::plan_weight(const WeightSource& source) const {
  PlannedWeight planned;
  planned.weight.use = source.use;
  planned.weight.parts.assign(source.parts.begin(), source.parts.end());
  if (const WeightLayout* layout = layout_for(source)) {
    planned.weight.layout = layout->id;
    planned.bytes = layout->bytes(source);
    return planned;
  }
  const bool in_place = info().device.kind == Device::Kind::cpu;
  for (const Tensor& part : source.parts) planned.bytes += in_place ? part.bytes() : aligned(part.bytes());
  return planned;
}

LoadedWeight Backend::load_weight(const WeightSource& source) {
  LoadedWeight loaded;
  loaded.weight.use = source.use;
  loaded.weight.parts.assign(source.parts.begin(), source.parts.end());
  if (const WeightLayout* layout = layout_for(source)) {
    loaded.storage = runtime_->allocate(layout->bytes(source));
    loaded.weight.layout = layout->id;
    layout->pack(source, loaded.weight, loaded.storage.data(), runtime_->stream());
    return loaded;
  }
  if (info().device.kind == Device::Kind::cpu) return loaded;  // canonical, in place
  size_t bytes = 0;
  for (const Tensor& part : source.parts) bytes += aligned(part.bytes());
  loaded.storage = runtime_->allocate(bytes);
  size_t offset = 0;
  for (Tensor& part : loaded.weight.parts) {
    const Tensor host = part;
    part.data = loaded.storage.data() + offset;
    part.device = info().device;
    runtime_->upload(part.data, host.data, host.bytes());
    offset += aligned(host.bytes());
  }
  return loaded;
}

template <class Args>
const KernelRow<Args>& Backend::row_for(const Args& args) const {
  const auto forced = std::ranges::find(forced_, Op<Args>::kName, [](const auto& pair) { return std::string_view(pair.first); });
  for (const KernelRow<Args>& row : Op<Args>::rows(runtime_->tables())) {
    if (forced != forced_.end() && forced->second != row.name) continue;
    if (row.supports(args, info())) return row;
  }
  if (forced != forced_.end())
    raise(usage, "--kernel {}={}: no such row, or it does not support {}", forced->first, escaped(forced->second), Op<Args>::text(args));
  raise(incompatible, "{}: no kernel of {} supports {}", Op<Args>::kName, info().name, Op<Args>::text(args));
}

template <class Args>
void Backend::run(const Args& args) {
  const KernelRow<Args>& row = row_for(args);
  if (!observer_) return row.run(args, runtime_->stream());
  const double start = monotonic_seconds();
  row.run(args, runtime_->stream());
  observer_(name_of(args), row.name, monotonic_seconds() - start);
}

template <class Args>
size_t Backend::planned_workspace(const Args& args) const {
  size_t needed = 0;
  for (const KernelRow<Args>& row : Op<Args>::rows(runtime_->tables())) {  // smaller steps may take another row
    if (row.workspace_bytes != nullptr && row.supports(args, info())) needed = std::max(needed, row.workspace_bytes(args, info()));
  }
  return needed;
}

template <class Args>
const char* Backend::require(const Args& args) {
  const char* name = row_for(args).name;
  const size_t needed = planned_workspace(args);
  if (needed > workspace_.bytes()) {
    workspace_ = Storage();
    workspace_ = runtime_->allocate(needed);
    runtime_->stream().workspace = workspace_.data();
    runtime_->stream().workspace_bytes = needed;
  }
  return name;
}

void Backend::embed(const EmbedArgs& args) { run(args); }
void Backend::qkv(const QkvArgs& args) { run(args); }
void Backend::attention(const AttentionArgs& args) { run(args); }
void Backend::linear(const LinearArgs& args) { run(args); }
void Backend::gate_up(const GateUpArgs& args) { run(args); }
void Backend::head(const HeadArgs& args) { run(args); }
void Backend::sample(const SampleArgs& args) { run(args); }

template const char* Backend::require(const EmbedArgs&);
template const char* Backend::require(const QkvArgs&);
template const char* Backend::require(const AttentionArgs&);
template const char* Backend::require(const LinearArgs&);
template const char* Backend::require(const GateUpArgs&);
template const char* Backend::require(const HeadArgs&);
template const char* Backend::require(const SampleArgs&);
template size_t Backend::planned_workspace(const EmbedArgs&) const;
template size_t Backend::planned_workspace(const QkvArgs&) const;
template size_t Backend::planned_workspace(const AttentionArgs&) const;
template size_t Backend::planned_workspace(const LinearArgs&) const;
template size_t Backend::planned_workspace(const GateUpArgs&) const;
template size_t Backend::planned_workspace(const HeadArgs&) const;

}  // namespace quern
