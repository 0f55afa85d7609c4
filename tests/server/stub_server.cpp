// A server around the echo model, for the tests of this folder: prints its port and serves until standard input ends.
// Usage: quern_stub_server [STEP_SECONDS [MAX_NUM_SEQS [NUM_BLOCKS [CONTEXT [CHAT_FORMAT [KEY]]]]]]
#include <cstdio>
#include <iostream>

#include "base/parse.h"
#include "server/test_client.h"

int main(int argc, char** argv) {
  using namespace quern;
  const auto number = [&](int index, double otherwise) {
    return argc > index ? parse_number<double>(argv[index]).value_or(otherwise) : otherwise;
  };
  testing::EchoOptions echo;
  echo.step_seconds = number(1, 0);
  echo.num_blocks = static_cast<size_t>(number(3, 1024));
  if (argc > 5) echo.chat = argv[5];
  EngineOptions options;
  options.max_num_seqs = static_cast<size_t>(number(2, 32));
  options.max_model_len = static_cast<size_t>(number(4, 4096));
  ServerOptions server_options;
  if (argc > 6) server_options.access.keys.push_back(argv[6]);
  testing::TestServer server(server_options, echo, options);
  std::printf("%d\n", server.server.port());
  std::fflush(stdout);
  for (std::string line; std::getline(std::cin, line);) {
  }
}
