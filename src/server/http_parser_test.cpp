// Requests are read the same however they are cut, and what is ambiguous is refused with one status.
#include "server/http_parser.h"

#include <gtest/gtest.h>

namespace quern {
namespace {

std::unique_ptr<HttpParser> parsed(const std::string& bytes, size_t step, const HttpLimits& limits = {}) {
  auto made = std::make_unique<HttpParser>(limits);
  HttpParser& parser = *made;
  std::string input;
  for (size_t at = 0; at < bytes.size() && parser.state() != HttpParser::State::failed && parser.state() != HttpParser::State::complete;
       at += step) {
    input += bytes.substr(at, step);
    input.erase(0, parser.put(input));
  }
  return made;
}

const std::string kHead = "POST /v1/x?a=b HTTP/1.1\r\nHost: localhost\r\n";

TEST(HttpParser, SameRequestAtEverySplit) {
  const std::string plain = kHead + "Content-Length: 5\r\n\r\nhello",
                    chunked = kHead + "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nT: v\r\n\r\n";
  for (const std::string& bytes : {plain, chunked}) {
    for (size_t step = 1; step <= bytes.size(); ++step) {
      const auto made = parsed(bytes, step);
      HttpParser& parser = *made;
      ASSERT_EQ(parser.state(), HttpParser::State::complete) << step << ": " << parser.error().message;
      const HttpRequest request = parser.take();
      EXPECT_EQ(request.method, "POST");
      EXPECT_EQ(request.path, "/v1/x");
      EXPECT_EQ(request.query, "a=b");
      EXPECT_EQ(request.body, "hello");
      EXPECT_EQ(*request.header("host"), "localhost");
      EXPECT_EQ(request.header("t"), nullptr) << "a trailer is no header";
    }
  }
}

TEST(HttpParser, TakesNothingOfTheNextRequest) {
  const std::string one = kHead + "Content-Length: 2\r\n\r\nhi", input = one + one;
  HttpParser parser(HttpLimits{});
  size_t taken = 0;
  while (parser.state() != HttpParser::State::complete) taken += parser.put(std::string_view(input).substr(taken));
  EXPECT_EQ(taken, one.size());
}

TEST(HttpParser, OneEmptyLineBeforeARequestAndNoMore) {
  const std::string request = kHead + "Content-Length: 0\r\n\r\n";
  for (size_t step = 1; step <= request.size(); ++step) {
    EXPECT_EQ(parsed("\r\n" + request, step)->state(), HttpParser::State::complete) << step;
    EXPECT_EQ(parsed("\r\n\r\n" + request, step)->state(), HttpParser::State::failed) << step;
  }
}

struct Refused {
  const char* name;
  std::string bytes;
  int status;
};

TEST(HttpParser, RefusesWhatTwoProgramsCouldReadInTwoWays) {
  std::string many_fields = kHead, many_chunks = kHead + "Transfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 200; ++i) many_fields += "A: b\r\n";
  for (int i = 0; i < 70000; ++i) many_chunks += "1\r\nx\r\n";
  const Refused cases[] = {
      {"length and coding", kHead + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nhi", 400},
      {"two lengths", kHead + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi", 400},
      {"two equal lengths", kHead + "Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi", 400},
      {"list of lengths", kHead + "Content-Length: 2, 2\r\n\r\nhi", 400},
      {"negative length", kHead + "Content-Length: -2\r\n\r\n", 400},
      {"signed length", kHead + "Content-Length: +2\r\n\r\nhi", 400},
      {"length beyond 64 bits", kHead + "Content-Length: 99999999999999999999\r\n\r\n", 400},
      {"gzip coding", kHead + "Transfer-Encoding: gzip, chunked\r\n\r\n", 400},
      {"coding after chunked", kHead + "Transfer-Encoding: chunked, gzip\r\n\r\n", 400},
      {"unknown coding", kHead + "Transfer-Encoding: xchunked\r\n\r\n", 400},
      {"folded field", kHead + "A: b\r\n c\r\n\r\n", 400},
      {"bare LF", "GET / HTTP/1.1\nHost: x\n\n", 400},
      {"bare LF in a field", kHead + "A: b\nC: d\r\n\r\n", 400},
      {"bare CR in a field", kHead + "A: b\rC: d\r\n\r\n", 400},
      {"NUL in a field", kHead + std::string("A: b\0c\r\n\r\n", 10), 400},
      {"space before the colon", kHead + "A : b\r\n\r\n", 400},
      {"field without colon", kHead + "Ab\r\n\r\n", 400},
      {"no host", "GET / HTTP/1.1\r\n\r\n", 400},
      {"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
      {"HTTP/0.9", "GET /\r\n", 400},
      {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
      {"HTTP/3", "GET / HTTP/3.0\r\nHost: x\r\n\r\n", 400},
      {"TLS hello", "\x16\x03\x01\x02", 400},
      {"random bytes", "\xff\xfe\x80", 400},
      {"no length", kHead + "\r\n", 411},
      {"length over the limit", kHead + "Content-Length: 33554433\r\n\r\n", 413},
      {"long header", kHead + "A: " + std::string(65536, 'a'), 431},
      {"many fields", many_fields + "\r\n", 431},
      {"long target", "GET /" + std::string(65536, 'a'), 414},
      {"chunk of -2", kHead + "Transfer-Encoding: chunked\r\n\r\n-2\r\nhi\r\n", 400},
      {"chunk of 0x10", kHead + "Transfer-Encoding: chunked\r\n\r\n0x10\r\nhi\r\n", 400},
      {"chunk beyond 64 bits", kHead + "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\nhi\r\n", 400},
      {"chunk without size", kHead + "Transfer-Encoding: chunked\r\n\r\n\r\n", 400},
      {"chunk size with a space", kHead + "Transfer-Encoding: chunked\r\n\r\n2 \r\nhi\r\n", 400},
      {"chunk size with bare LF", kHead + "Transfer-Encoding: chunked\r\n\r\n2\nhi\r\n", 400},
      {"long trailer", kHead + "Transfer-Encoding: chunked\r\n\r\n0\r\nA: " + std::string(10000, 'x'), 400},
      {"chunk without end", kHead + "Transfer-Encoding: chunked\r\n\r\n2\r\nhixx0\r\n\r\n", 400},
      {"long chunk header", kHead + "Transfer-Encoding: chunked\r\n\r\n2;" + std::string(4096, 'x'), 400},
      {"one-byte chunks", many_chunks, 400},
  };
  for (const Refused& each : cases) {
    for (const size_t step : {size_t{1}, size_t{1000}, each.bytes.size()}) {
      if (step == 1 && each.bytes.size() > 100'000) continue;
      const auto made = parsed(each.bytes, step);
      const HttpParser& parser = *made;
      ASSERT_EQ(parser.state(), HttpParser::State::failed) << each.name << ", " << step << " bytes at a time";
      EXPECT_EQ(parser.error().status, each.status) << each.name << ": " << parser.error().message;
    }
  }
}

TEST(HttpParser, ChunkedBodyOverTheLimit) {
  const HttpLimits limits{.body_bytes = 100};
  const std::string bytes =
      kHead + "Transfer-Encoding: chunked\r\n\r\n40\r\n" + std::string(64, 'a') + "\r\n40\r\n" + std::string(64, 'a') + "\r\n0\r\n\r\n";
  for (const size_t step : {size_t{1}, size_t{7}, bytes.size()}) {
    const auto made = parsed(bytes, step, limits);
    const HttpParser& parser = *made;
    ASSERT_EQ(parser.state(), HttpParser::State::failed);
    EXPECT_EQ(parser.error().status, 413);
  }
}

TEST(HttpParser, KeepAliveAndContinue) {
  const auto old = parsed("GET / HTTP/1.0\r\n\r\n", 3);
  ASSERT_EQ(old->state(), HttpParser::State::complete);
  const HttpRequest request = old->take();
  EXPECT_TRUE(request.is_http_1_0);
  EXPECT_FALSE(request.keeps_alive);
  EXPECT_TRUE(parsed("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 4)->take().keeps_alive);
  EXPECT_FALSE(parsed("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 4)->take().keeps_alive);
  EXPECT_TRUE(parsed(kHead + "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n", 9)->expects_continue());
}

}  // namespace
}  // namespace quern
