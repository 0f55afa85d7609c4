#include "fiber.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <stdexcept>

extern "C" void quern_switch_stack(void** save, void* load);
asm(R"(
.pushsection .text
.globl quern_switch_stack
.type quern_switch_stack, @function
quern_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size quern_switch_stack, .-quern_switch_stack
.popsection
)");

namespace quern::emulation {

Launch launch_now;

namespace {

constexpr size_t kStackBytes = 128 * 1024;

std::deque<Thread*> ready;
Thread* running = nullptr;
void* scheduler_stack = nullptr;
const std::function<void()>* kernel = nullptr;
uint32_t random_state = 1;

void switch_to_scheduler() { quern_switch_stack(&running->stack_pointer, scheduler_stack); }

void thread_main() {
  (*kernel)();
  Thread* self = running;
  void* ignored;
  self->stack_pointer = nullptr;
  quern_switch_stack(&ignored, scheduler_stack);
}

void wake(Waiters& waiters) {
  for (Thread* thread : waiters.threads) ready.push_back(thread);
  waiters.threads.clear();
}

void sleep_in(Waiters& waiters) {
  waiters.threads.push_back(running);
  switch_to_scheduler();
}

}  // namespace

Thread& current() { return *running; }

uint32_t random_bits() {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 17;
  random_state ^= random_state << 5;
  return random_state;
}

void wait_at(Barrier& barrier, int threads) {
  if (++barrier.arrived == threads) {
    barrier.arrived = 0;
    wake(barrier.waiters);
  } else {
    sleep_in(barrier.waiters);
  }
}

void arrive_at(Cluster& cluster) {
  running->cluster_generation = cluster.generation;
  if (++cluster.barrier.arrived < cluster.threads) return;
  cluster.barrier.arrived = 0;
  ++cluster.generation;
  wake(cluster.barrier.waiters);
}

void wait_for(Cluster& cluster) {
  while (cluster.generation == running->cluster_generation) sleep_in(cluster.barrier.waiters);
}

void meet(void* argument, void (*operation)(void**)) {
  Warp& warp = *running->warp;
  warp.arguments[running->lane] = argument;
  if (++warp.arrived == 32) {
    operation(warp.arguments);
    warp.arrived = 0;
    wake(warp.waiters);
  } else {
    sleep_in(warp.waiters);
  }
}

void run_grid(Index blocks, unsigned threads, size_t smem_bytes, unsigned cluster_size, const std::function<void()>& body) {
  static std::vector<std::unique_ptr<unsigned char[]>> stacks;
  kernel = &body;
  launch_now.grid = blocks;
  launch_now.block = {threads, 1, 1};
  for (unsigned z = 0; z < blocks.z; ++z) {
    for (unsigned y = 0; y < blocks.y; ++y) {
      for (unsigned first = 0; first < blocks.x; first += cluster_size) {
        Cluster cluster;
        std::vector<std::unique_ptr<Block>> group;
        std::vector<std::unique_ptr<Thread>> all;
        std::vector<std::unique_ptr<Warp>> warps;
        cluster.threads = static_cast<int>(threads * cluster_size);
        for (unsigned rank = 0; rank < cluster_size; ++rank) {
          auto block = std::make_unique<Block>();
          block->index = {first + rank, y, z};
          block->rank = rank;
          block->cluster = &cluster;
          block->smem.assign(smem_bytes + 128, 0xcd);  // poison
          block->smem_data = block->smem.data() + (128 - reinterpret_cast<uintptr_t>(block->smem.data()) % 128) % 128;
          block->threads = static_cast<int>(threads);
          cluster.blocks.push_back(block.get());
          for (unsigned t = 0; t < threads; ++t) {
            if (t % 32 == 0) warps.push_back(std::make_unique<Warp>());
            auto thread = std::make_unique<Thread>();
            thread->index = {t, 0, 0};
            thread->lane = static_cast<int>(t % 32);
            thread->warp = warps.back().get();
            thread->block = block.get();
            if (stacks.size() <= all.size()) stacks.push_back(std::make_unique<unsigned char[]>(kStackBytes));
            auto* top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(stacks[all.size()].get() + kStackBytes) / 16 * 16);
            *--top = nullptr;  // keeps the stack aligned as after a call
            *--top = reinterpret_cast<void*>(&thread_main);
            for (int i = 0; i < 6; ++i) *--top = nullptr;
            thread->stack_pointer = top;
            ready.push_back(thread.get());
            all.push_back(std::move(thread));
          }
          group.push_back(std::move(block));
        }
        size_t ended = 0;
        while (!ready.empty()) {
          running = ready.front();
          ready.pop_front();
          quern_switch_stack(&scheduler_stack, running->stack_pointer);
          if (running->stack_pointer == nullptr) ++ended;
        }
        if (ended != all.size()) {
          std::fprintf(stderr, "block %u %u %u: %zu of %zu threads wait for ever\n", first, y, z, all.size() - ended, all.size());
          std::abort();
        }
      }
    }
  }
}

}  // namespace quern::emulation
