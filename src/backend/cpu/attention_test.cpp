// Every row of attention against its definition in double precision, and the same bits whether tokens come alone, in any chunks, beside
// other sequences, and with any number of threads. Whatever a row does not see is NaN.
#include "backend/cpu/kv_codes.h"
#include "backend/cpu/op_fixture.h"

namespace quern::cpu {
namespace {

struct Model {
  const char* name;
  size_t heads, kv_heads, head_dim, block_tokens;
  Format format;
  int32_t window;
};

constexpr Model kModels[] = {
    {"one group of 7, f16", 7, 1, 64, 16, Format::f16, 0},   {"a KV head for each head, bf16", 2, 2, 128, 32, Format::bf16, 0},
    {"window, f32", 4, 2, 80, 16, Format::f32, 100},         {"window of one chunk, f16", 13, 1, 16, 64, Format::f16, 256},
    {"heads of 8, blocks of 4", 8, 4, 8, 4, Format::f16, 0}, {"codes, one group of 7", 7, 1, 64, 16, Format::i8, 0},
    {"codes, window", 4, 2, 80, 32, Format::i8, 100},        {"codes, heads of 8, blocks of 4", 8, 4, 8, 4, Format::i8, 0},
};

// Sequences with all their tokens: what a step shows of them is cut from here.
class World {
 public:
  World(const Model& model, const std::vector<size_t>& lengths) : model_(model), lengths_(lengths) {
    Random random(5);
    size_t blocks = 0;
    for (const size_t length : lengths) blocks += blocks_of(length);
    num_blocks_ = blocks + 3;
    stride_ = 0;
    for (const size_t length : lengths) stride_ = std::max(stride_, blocks_of(length));
    std::vector<int32_t> ids(num_blocks_);
    for (size_t i = 0; i < num_blocks_; ++i) ids[i] = static_cast<int32_t>(i * 7 % num_blocks_);  // scattered
    if (num_blocks_ % 7 == 0) {
      for (size_t i = 0; i < num_blocks_; ++i) ids[i] = static_cast<int32_t>(num_blocks_ - 1 - i);
    }
    k_ = Owned({num_blocks_, model.kv_heads, model.block_tokens, model.head_dim}, model.format);
    v_ = Owned(k_.tensor.shape, model.format);
    std::memset(k_.tensor.data, 0xff, k_.tensor.bytes());
    std::memset(v_.tensor.data, 0xff, v_.tensor.bytes());
    tables_.assign(lengths.size() * stride_, 0);
    size_t next = 0;
    for (size_t s = 0; s < lengths.size(); ++s) {
      for (size_t i = 0; i < blocks_of(lengths[s]); ++i) tables_[s * stride_ + i] = ids[next++];
      q_.push_back(random.floats({lengths[s], model.heads * model.head_dim}, 1));
      keys_.push_back(rounded(random.floats({lengths[s], model.kv_heads * model.head_dim}, 1)));
      values_.push_back(rounded(random.floats({lengths[s], model.kv_heads * model.head_dim}, 1)));
    }
  }

  struct Part {
    size_t sequence, begin, end;  // tokens of this step
  };

  // Runs one step over `parts` (single tokens first); y of token t of part p is result[p] row t.
  std::vector<Owned> run(TestDevice& device, const KernelRow<AttentionArgs>& row, const std::vector<Part>& parts) {
    std::vector<int32_t> starts = {0}, positions, contexts, tables;
    AttentionArgs args;
    for (const Part& part : parts) {
      for (size_t t = part.begin; t < part.end; ++t) positions.push_back(static_cast<int32_t>(t));
      starts.push_back(static_cast<int32_t>(positions.size()));
      contexts.push_back(static_cast<int32_t>(part.end));
      const auto table = tables_.begin() + static_cast<ptrdiff_t>(part.sequence * stride_);
      tables.insert(tables.end(), table, table + static_cast<ptrdiff_t>(stride_));
      write_cache(part.sequence, part.end);
      args.batch.num_decode += part.end - part.begin == 1;
      args.batch.max_query_tokens = std::max(args.batch.max_query_tokens, static_cast<int32_t>(part.end - part.begin));
      args.batch.max_context = std::max(args.batch.max_context, static_cast<int32_t>(part.end));
    }
    const size_t tokens = positions.size(), columns = model_.heads * model_.head_dim;
    const Owned q({tokens, columns}, Format::f32), y({tokens, columns}, Format::f32);
    y.poison();
    size_t at = 0;
    for (const Part& part : parts) {
      std::copy(q_[part.sequence].f32(part.begin), q_[part.sequence].f32(part.begin) + (part.end - part.begin) * columns, q.f32(at));
      at += part.end - part.begin;
    }
    args.q = q.tensor;
    args.y = y.tensor;
    args.scale = scale();
    args.window = model_.window;
    args.kv = {k_.tensor.data,
               v_.tensor.data,
               model_.format,
               static_cast<int32_t>(num_blocks_),
               static_cast<int32_t>(model_.kv_heads),
               static_cast<int32_t>(model_.block_tokens),
               static_cast<int32_t>(model_.head_dim)};
    args.batch.num_tokens = static_cast<int32_t>(tokens);
    args.batch.num_sequences = static_cast<int32_t>(parts.size());
    args.batch.block_table_stride = static_cast<int32_t>(stride_);
    args.batch.positions = positions.data();
    args.batch.query_start = starts.data();
    args.batch.context_lengths = contexts.data();
    args.batch.block_tables = tables.data();
    EXPECT_TRUE(row.supports(args, device.info()));
    device.run(row, args);
    std::vector<Owned> out;
    at = 0;
    for (const Part& part : parts) {
      Owned own({part.end - part.begin, columns}, Format::f32);
      std::copy(y.f32(at), y.f32(at) + own.count(), own.f32());
      at += part.end - part.begin;
      out.push_back(std::move(own));
    }
    return out;
  }

  bool supports(TestDevice& device, const KernelRow<AttentionArgs>& row) const {
    AttentionArgs args;
    args.q.shape = {1, model_.heads * model_.head_dim};
    args.kv = {nullptr,
               nullptr,
               model_.format,
               1,
               static_cast<int32_t>(model_.kv_heads),
               static_cast<int32_t>(model_.block_tokens),
               static_cast<int32_t>(model_.head_dim)};
    return row.supports(args, device.info());
  }

  // By definition. Rounding: a score of head_dim products errs by (head_dim + 2) * 2^-24 of the sum of magnitudes S, which moves a weight
  // by e^that - 1, about as much relative; exp adds 2^-22. Sums over n positions and merges of n / 256 chunks add (n + 8) * 2^-24 of the
  // sum of |weight * v|; dividing by the sum of weights doubles what the weights err by.
  void check(const Owned& y, size_t sequence, size_t begin, const std::string& what) const {
    const size_t group = model_.heads / model_.kv_heads, dims = model_.head_dim;
    for (size_t t = 0; t < y.tensor.rows(); ++t) {
      const size_t position = begin + t, window = static_cast<size_t>(model_.window);
      const size_t first = window == 0 || position + 1 < window ? 0 : position + 1 - window;
      for (size_t head = 0; head < model_.heads; ++head) {
        const float* q = q_[sequence].f32(position) + head * dims;
        std::vector<double> scores;
        double most = -INFINITY, magnitude = 0;
        for (size_t j = first; j <= position; ++j) {
          const float* k = keys_[sequence].f32(j) + head / group * dims;
          double dot = 0, absolute = 0;
          for (size_t d = 0; d < dims; ++d) dot += double{q[d]} * k[d], absolute += std::fabs(double{q[d]} * k[d]);
          scores.push_back(dot * scale());
          most = std::max(most, scores.back());
          magnitude = std::max(magnitude, absolute * scale());
        }
        double sum = 0;
        for (double& s : scores) sum += s = std::exp(s - most);
        const double relative =
            2 * (static_cast<double>(dims + 4) * 0x1p-24 * magnitude + 0x1p-22) + static_cast<double>(scores.size() + 16) * 0x1p-24;
        for (size_t d = 0; d < dims; ++d) {
          double want = 0, absolute = 0;
          for (size_t j = first; j <= position; ++j) {
            const double term = scores[j - first] / sum * values_[sequence].f32(j)[head / group * dims + d];
            want += term;
            absolute += std::fabs(term);
          }
          ASSERT_NEAR(y.f32(t)[head * dims + d], want, relative * absolute)
              << what << " position " << position << " head " << head << " dim " << d;
        }
      }
    }
  }

 private:
  size_t blocks_of(size_t length) const { return (length + model_.block_tokens - 1) / model_.block_tokens; }
  float scale() const { return 1.F / std::sqrt(static_cast<float>(model_.head_dim)); }

  // What the cache's format keeps of each head.
  Owned rounded(Owned t) const {
    if (model_.format == Format::i8) {
      std::vector<std::byte> row(row_bytes(model_.format, model_.head_dim));
      for (float* head = t.f32(); head < t.f32() + t.count(); head += model_.head_dim) {
        I8::pack(head, model_.head_dim, row.data());
        I8::unpack(row.data(), model_.head_dim, head);
      }
      return t;
    }
    std::vector<std::byte> bytes(row_bytes(model_.format, t.count()));
    format_info(model_.format).pack(t.f32(), t.count(), bytes.data());
    format_info(model_.format).unpack(bytes.data(), t.count(), t.f32());
    return t;
  }

  // K and V of the first `length` tokens; all behind is NaN.
  void write_cache(size_t sequence, size_t length) {
    const FormatInfo& format = format_info(model_.format);
    const size_t block_tokens = model_.block_tokens, dims = model_.head_dim, bytes = format.block_bytes;
    for (size_t j = 0; j < lengths_[sequence]; ++j) {
      const auto block = static_cast<size_t>(tables_[sequence * stride_ + j / block_tokens]);
      for (size_t head = 0; head < model_.kv_heads; ++head) {
        const size_t base = (block * model_.kv_heads + head) * block_tokens * dims, in = j % block_tokens;
        const float *k = keys_[sequence].f32(j) + head * dims, *v = values_[sequence].f32(j) + head * dims;
        if (model_.format == Format::i8) {
          write_codes(j < length, k, v, block * model_.kv_heads + head, in);
          continue;
        }
        for (size_t d = 0; d < dims; ++d) {
          const float none = std::nanf("");
          format.pack(j < length ? &k[d] : &none, 1, k_.tensor.data + (base + d * block_tokens + in) * bytes);
          format.pack(j < length ? &v[d] : &none, 1, v_.tensor.data + (base + in * dims + d) * bytes);
        }
      }
    }
  }

  // Codes and scales of one token and head; behind the sequence's end the scales are NaN.
  void write_codes(bool is_written, const float* k, const float* v, size_t head_block, size_t in) {
    const size_t tokens = model_.block_tokens, dims = model_.head_dim, at = head_block * tokens * row_bytes(Format::i8, dims);
    store_codes(k, dims, tokens, in, in, tokens, k_.tensor.data + at);
    store_codes(v, dims, tokens, in, in * dims, 1, v_.tensor.data + at);
    if (is_written) return;
    for (const Owned* half : {&k_, &v_}) {
      std::memset(half->tensor.data + at + scales_offset(tokens, dims) + in * sizeof(float), 0xff, sizeof(float));
    }
  }

  const Model& model_;
  std::vector<size_t> lengths_;
  size_t num_blocks_ = 0, stride_ = 0;
  Owned k_, v_;
  std::vector<int32_t> tables_;
  std::vector<Owned> q_, keys_, values_;
};

TEST(Attention, EveryRow) {
  const std::vector<size_t> lengths = {1, 17, 300};
  TestDevice devices[] = {TestDevice(2), TestDevice(1), TestDevice(5)};
  for (const Model& model : kModels) {
    World world(model, lengths);
    std::map<bool, std::vector<std::vector<float>>> first;  // by whether the row is scalar: y of each sequence
    for (TestDevice& device : devices) {
      for (const auto& row : device.tables().attention) {
        if (!world.supports(device, row)) continue;
        const bool is_slow = std::string_view(row.name) == "attention_plain" || std::string_view(row.name) == "attention_scalar";
        if (is_slow && &device != &devices[0]) continue;
        const std::string what = fmt::format("{}, {}, {} threads", model.name, row.name, device.info().num_threads);
        auto& all = first[std::string_view(row.name) == "attention_scalar"];
        const bool is_first = all.empty();
        // Whole prompts, each alone.
        for (size_t s = 0; s < lengths.size(); ++s) {
          const Owned y = std::move(world.run(device, row, {{s, 0, lengths[s]}})[0]);
          if (is_first) {
            all.push_back(copy_of(y));
            world.check(y, s, 0, what);
            if (::testing::Test::HasFatalFailure()) return;
          } else {
            ASSERT_TRUE(same_bits(y.f32(), all[s].data(), y.count())) << what << " sequence " << s;
          }
        }
        // Decode rows, then prompt chunks that begin anywhere, in one step.
        const size_t columns = model.heads * model.head_dim;
        const std::vector<std::vector<World::Part>> steps = {{{2, 299, 300}, {1, 16, 17}, {0, 0, 1}},
                                                             {{2, 255, 256}, {1, 3, 9}},
                                                             {{1, 5, 6}, {2, 200, 290}},
                                                             {{2, 256, 257}},
                                                             {{2, 270, 272}}};
        for (const auto& parts : steps) {
          const auto ys = world.run(device, row, parts);
          for (size_t p = 0; p < parts.size(); ++p) {
            ASSERT_TRUE(same_bits(ys[p].f32(), all[parts[p].sequence].data() + parts[p].begin * columns, ys[p].count()))
                << what << " sequence " << parts[p].sequence << " from " << parts[p].begin;
          }
        }
      }
    }
    EXPECT_GE(first.size(), 1U);
  }
}

}  // namespace
}  // namespace quern::cpu
