// Threads of an emulated GPU: fibers of one host thread that yield to each other where a GPU thread would wait.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace quern::emulation {

struct Index {
  unsigned x = 0, y = 0, z = 0;
};

struct Copy {
  void* to;
  const void* from;
  size_t bytes;
  bool done;
};

struct Waiters {
  std::vector<struct Thread*> threads;
};

struct Warp {
  void* arguments[32] = {};
  int arrived = 0;
  Waiters waiters;
};

struct Block;

struct Thread {
  Index index;
  int lane = 0;
  Warp* warp = nullptr;
  Block* block = nullptr;
  std::vector<std::vector<Copy>> groups;  // cp.async groups that were committed and not waited for
  std::vector<Copy> open;                 // copies since the last commit
  void* stack_pointer = nullptr;
  int cluster_generation = 0;  // when it arrived at its cluster's barrier
};

struct Barrier {
  int arrived = 0;
  Waiters waiters;
};

struct Cluster {
  std::vector<Block*> blocks;
  Barrier barrier;
  int threads = 0, generation = 0;
};

struct Block {
  Index index;
  unsigned rank = 0;
  Cluster* cluster = nullptr;
  std::vector<unsigned char> smem;
  unsigned char* smem_data = nullptr;
  Barrier barriers[16];
  int threads = 0;
};

struct Launch {
  Index grid, block;
};

extern Launch launch_now;
Thread& current();

// Runs `body` once per thread of every block; blocks of a cluster run together. Throws std::runtime_error when all threads wait.
void run_grid(Index blocks, unsigned threads, size_t smem_bytes, unsigned cluster, const std::function<void()>& body);

void wait_at(Barrier& barrier, int threads);
// The two halves of a cluster's barrier.
void arrive_at(Cluster& cluster);
void wait_for(Cluster& cluster);
// Called by the 32 lanes of a warp: the last one runs operation(all arguments), then all go on.
void meet(void* argument, void (*operation)(void** arguments));

uint32_t random_bits();

}  // namespace quern::emulation
