// Rows of the embedding table in any format and layout, as f32. One block a token; reads a few kilobytes a token.
#include "backend/cuda/kernels.h"
#include "backend/cuda/launch.h"
#include "backend/cuda/weight_reader.cuh"

namespace quern::cuda {
namespace {

constexpr unsigned kThreads = 128;

template <class Reader>
__global__ void embed(Reader table, int rows, const int32_t* token_ids, float* h, int columns) {
  wait_for_previous();
  let_next_start();
  const int32_t id = token_ids[blockIdx.x];
  float* const out = h + static_cast<size_t>(blockIdx.x) * static_cast<size_t>(columns);
  const bool exists = id >= 0 && id < rows;
  for (int piece = static_cast<int>(threadIdx.x); piece * Reader::kPiece < columns; piece += static_cast<int>(kThreads)) {
    float values[Reader::kPiece];
    if (exists) table.read(static_cast<size_t>(id), piece, values);
    for (int i = 0; i < Reader::kPiece && piece * Reader::kPiece + i < columns; ++i) {
      out[piece * Reader::kPiece + i] = exists ? values[i] : __uint_as_float(0x7fc00000U);  // NaN: the sampler reports the row
    }
  }
}

void run(const EmbedArgs& a, Stream& stream) {
  with_reader(*a.table, 0, [&]<class Reader>(const Reader& reader) {
    launch("embed_rows", &embed<Reader>, {static_cast<unsigned>(a.h.rows()), kThreads}, cuda_stream(stream), reader,
           static_cast<int>(a.table->parts[0].rows()), a.batch.token_ids, reinterpret_cast<float*>(a.h.data),
           static_cast<int>(a.h.columns()));
  });
}

}  // namespace

const KernelRow<EmbedArgs> kEmbedRows = {"embed_rows", [](const EmbedArgs&, const DeviceInfo&) { return true; }, run};

}  // namespace quern::cuda
