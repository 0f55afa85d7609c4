// A program of someone else: builds an engine file, asks it something, reads the answer piece by piece.
// Usage: consumer CHECKPOINT ENGINE PROMPT
#include <quern/quern.h>

#include <iostream>

int main(int argc, char** argv) try {
  if (argc != 4) return 2;
  quern::build({.source = argv[1], .output = argv[2], .dtype = "f32"});
  quern::Model model(argv[2], {.max_context = 256, .max_parallel = 2});
  std::cerr << "Quern " << quern::version() << ", " << model.info().family << ", " << model.info().layers << " layers\n";

  quern::Sampling greedy;
  greedy.temperature = 0;
  greedy.max_tokens = 48;
  quern::Answer answer = model.submit(std::string(argv[3]), greedy);
  for (quern::Piece piece; answer.read(piece);) std::cout << piece.text << std::flush;
  std::cout << '\n';
  std::cerr << answer.result().output_tokens << " tokens, " << answer.result().finish_reason << '\n';

  try {
    greedy.temperature = 9;
    model.submit(std::string("x"), greedy);
    return 1;
  } catch (const quern::Error& error) {
    std::cerr << "as it should: " << error.message() << '\n';
  }
  return 0;
} catch (const quern::Error& error) {
  std::cerr << "error: " << error.message() << '\n';
  return static_cast<int>(error.code());
}
