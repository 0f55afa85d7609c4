#include "api/answer_state.h"
#include "api/translate.h"

namespace quern::v1 {
namespace {

Result to_result(const Finish& finish) {
  const auto seconds = [&](double time) { return time == 0 ? 0 : time - finish.timing.submitted; };
  return {.finish_reason = finish_reason_name(finish.reason),
          .stop = finish.stop_string,
          .detail = finish.detail,
          .prompt_tokens = finish.usage.prompt_tokens,
          .cached_tokens = finish.usage.cached_tokens,
          .output_tokens = finish.usage.output_tokens,
          .seconds_queued = seconds(finish.timing.scheduled),
          .seconds_to_first_token = seconds(finish.timing.first_token),
          .seconds = seconds(finish.timing.finished)};
}

}  // namespace

SessionOutput Answer::State::read() {
  SessionOutput output = session.read();
  if (output.finish) result = to_result(*output.finish);
  return output;
}

Answer::Answer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Answer::Answer(Answer&&) noexcept = default;
Answer& Answer::operator=(Answer&&) noexcept = default;
Answer::~Answer() = default;

bool Answer::read(Piece& piece) {
  return translated([&] {
    SessionOutput output = state_->read();
    piece.tokens.clear();
    for (OutputToken& token : output.tokens) piece.tokens.push_back({token.id, token.logprob, std::move(token.top)});
    piece.text = std::move(output.text);
    return !piece.tokens.empty() || !piece.text.empty();
  });
}

std::string Answer::text() {
  std::string text;
  for (Piece piece; read(piece);) text += piece.text;
  return text;
}

void Answer::cancel() { state_->session.cancel(); }

const Result& Answer::result() const {
  if (!state_->result) throw Error(ErrorCode::usage, "result: the answer has not ended, or its end was not read");
  return *state_->result;
}

}  // namespace quern::v1
