// Embedding rows of every format, unpacked. It is a look-up: there is no faster row.
#include "backend/cpu/kernels.h"
#include "base/thread_pool.h"

namespace quern::cpu {
namespace {

void run(const EmbedArgs& a, Stream& stream) {
  const Tensor& table = a.table->parts[0];
  const size_t bytes = table.row_bytes(), columns = table.columns();
  const auto unpack = format_info(table.format).unpack;
  stream.pool->parallel_for(a.h.rows(), 4, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t) {
      const auto id = static_cast<size_t>(a.batch.token_ids[t]);
      CHECK(id < table.rows(), "token id {} of {}", a.batch.token_ids[t], table.rows());
      unpack(table.data + id * bytes, columns, a.h.f32(t));
    }
  });
}

}  // namespace

const KernelRow<EmbedArgs> kEmbedScalar = {"embed_scalar",
                                           [](const EmbedArgs& a, const DeviceInfo&) { return a.table->layout == kCanonical; }, run};

}  // namespace quern::cpu
