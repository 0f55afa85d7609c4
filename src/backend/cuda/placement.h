// Where the blocks of a decode step's kernels land.
#pragma once
#include "backend/cuda/cuda_stream.h"

namespace quern::cuda {

// Where launches overlap, a multiprocessor has room for two blocks of a decode step's kernels: one of this launch and one of the next.
// Where a launch leaves a multiprocessor out, the next puts two of its blocks there, which end late, and every launch after it does the
// same. So launches are made of whole rows of one block a multiprocessor (a block beyond the work only calls wait_for_previous()), and some
// ask for kAloneSmem, of which two do not fit and which still leaves room for kBesideSmem.
inline constexpr size_t kAloneSmem = 114 * 1024, kBesideSmem = 112 * 1024;
inline unsigned even_blocks(unsigned blocks, const CudaStream& stream) {
  const auto sms = static_cast<unsigned>(stream.info->num_sms);
  return stream.overlaps_launches ? (blocks + sms - 1) / sms * sms : blocks;
}

}  // namespace quern::cuda
