// Quantized checkpoints through the builder's repacker: the rows of every engine tensor are the source's own, in whole, in pieces and from
// fused matrices; and every other format starts from the exact values.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "base/thread_pool.h"
#include "builder/repack.h"
#include "builder/weight_policy.h"
#include "formats/list.h"
#include "models/family.h"
#include "source_dir.h"

namespace quern {
namespace {

// Rows of `plan` as the source tensor has them.
std::vector<std::byte> source_rows(const TensorPlan& plan, const ModelConfig& config) {
  std::vector<std::byte> all, made;
  const size_t bytes = plan.source->tensor.row_bytes();
  for (size_t row = 0; row < plan.shape.rows(); ++row) {
    const std::byte* from = plan.source->rows(source_row(plan, config, row), 1, made);
    all.insert(all.end(), from, from + bytes);
  }
  return all;
}

std::vector<std::byte> repacked(const TensorRepacker& tensor, size_t piece, ThreadPool& pool) {
  std::vector<std::byte> all, buffer(piece * tensor.row_bytes());
  for (size_t begin = 0; begin < tensor.num_rows(); begin += piece) {
    const auto rows = tensor.make_rows(begin, std::min(piece, tensor.num_rows() - begin), buffer, pool);
    all.insert(all.end(), rows.begin(), rows.end());
  }
  return all;
}

TEST(PackedSource, RowsAreTheSources) {
  ThreadPool pool(2);
  size_t matrices = 0;
  for (const auto& entry : std::filesystem::directory_iterator(source_dir() + "/tests/goldens/quantized")) {
    SCOPED_TRACE(entry.path().filename().string());
    const Checkpoint checkpoint = Checkpoint::open(entry.path());
    const ModelFamily& family = family_of(checkpoint);
    const ModelConfig config = read_model_config(family, checkpoint);
    const WeightPolicy policy(WeightDtype::automatic, 0);
    for (const TensorPlan& plan : plan_tensors(family, config, checkpoint)) {
      if (!plan.source->packed) continue;
      ++matrices;
      const Format format = plan.source->tensor.format;
      EXPECT_EQ(policy.choose(plan.role, format, plan.shape.columns()).format, format);
      const std::vector<std::byte> want = source_rows(plan, config);
      const TensorRepacker same(plan, config, format, "test"), wide(plan, config, Format::f32, "test");
      for (const size_t piece : {size_t{7}, plan.shape.rows()}) EXPECT_EQ(repacked(same, piece, pool), want) << plan.engine_name;
      std::vector<float> values(plan.shape.rows() * plan.shape.columns());
      const size_t columns = plan.shape.columns();
      for (size_t row = 0; row < plan.shape.rows(); ++row) {
        format_info(format).unpack(want.data() + row * row_bytes(format, columns), columns, values.data() + row * columns);
      }
      const std::vector<std::byte> floats = repacked(wide, plan.shape.rows(), pool);
      EXPECT_EQ(std::memcmp(floats.data(), values.data(), floats.size()), 0) << plan.engine_name;
    }
  }
  EXPECT_GE(matrices, 18U * 7U);
}

}  // namespace
}  // namespace quern
