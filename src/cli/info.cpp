// quern info FILE: what an engine file, a GGUF file or a Hugging Face folder is, for people or as JSON.
#include <filesystem>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/mapped_file.h"
#include "builder/model_info.h"
#include "builder/receipt.h"
#include "builder/source_model.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "files/engine_file.h"

namespace quern {

extern const Verb kInfoVerb;

namespace {

struct InfoOptions {
  std::string file;
  bool json = false, tensors = false;
};

Json read_info(const InfoOptions& options) {
  std::error_code error;
  const bool is_source = std::filesystem::is_directory(options.file, error) || MappedFile(options.file).text().starts_with("GGUF");
  return is_source ? source_info(read_source_model(options.file), options.tensors)
                   : engine_info(*EngineFile::open(options.file), options.tensors);
}

// A JSON value on one line, without the quotes of a text.
std::string shown(const Json& value) { return escaped(value.is_string() ? value.get<std::string>() : value.dump(), 2000); }

std::string line(const std::string& name, const std::string& text) { return fmt::format("{:<12}{}\n", name, text); }

std::string megabytes(const Json& bytes) { return fmt::format("{:.1f} MB", bytes.get<double>() / 1e6); }

std::string model_lines(const Json& info) {
  const Json& model = info.at("model");
  const auto number = [&](const char* key) { return shown(model.at(key)); };
  std::string text =
      line("family", fmt::format("{}, {:.1f} M parameters", shown(info.at("family")), info.at("num_parameters").get<double>() / 1e6));
  text += line("shape", fmt::format("{} layers, hidden {}, intermediate {}, {} heads, {} KV heads, head_dim {}", number("num_layers"),
                                    number("hidden_size"), number("intermediate_size"), number("num_heads"), number("num_kv_heads"),
                                    number("head_dim")));
  text += line("context", fmt::format("{} tokens", number("max_position_embeddings")));
  text += line("vocabulary", fmt::format("{} tokens in {} rows, from {}", shown(info.at("tokenizer").at("num_tokens")),
                                         number("vocab_size"), shown(info.at("tokenizer").at("origin"))));
  return text;
}

std::string weight_lines(const Json& info) {
  std::string formats;
  for (const auto& [format, entry] : info.at("formats").items()) {
    formats += fmt::format("{}{} {} ({})", formats.empty() ? "" : ", ", shown(entry.at("tensors")), format, megabytes(entry.at("bytes")));
  }
  return line("weights", fmt::format("{}, {:.2f} bits a weight: {}", megabytes(info.at("weight_bytes")),
                                     info.at("bits_per_weight").get<double>(), formats));
}

std::string prompting_lines(const Json& info) {
  const Json& format = info.at("chat").at("format");
  std::string text = line("chat", format.is_null() ? "none: a text model" : shown(format));
  return text + line("generation", shown(info.at("generation")));
}

std::string for_people(const Json& info) {
  const bool is_engine = info.at("kind") == "engine";
  std::string text = line("file", shown(info.at("path")));
  if (is_engine) {
    text += line("kind",
                 fmt::format("Quern engine, format version {}, {}", shown(info.at("format_version")), megabytes(info.at("file_bytes"))));
  } else {
    text += line("kind",
                 fmt::format("{} checkpoint, {}", info.at("kind") == "gguf" ? "GGUF" : "Hugging Face", megabytes(info.at("file_bytes"))));
  }
  text += model_lines(info) + weight_lines(info) + prompting_lines(info);
  if (is_engine) {
    const Json& build = info.at("build");
    for (const char* key : {"source", "source_xxh3", "dtype", "quern"}) {
      if (build.contains(key)) text += line(key, shown(build.at(key)));
    }
    if (build.contains("policy") && build.at("policy").contains("rule")) text += line("policy", shown(build.at("policy").at("rule")));
    for (const std::string& receipt : receipt_lines(info.at("receipt"))) text += line("quality", receipt);
  } else {
    std::string sizes;
    for (const auto& [dtype, bytes] : info.at("engine_bytes").items())
      sizes += fmt::format("{}{} {}", sizes.empty() ? "" : ", ", dtype, megabytes(bytes));
    text += line("as engine", sizes);
    for (const Json& note : info.at("notes")) text += line("note", shown(note));
  }
  if (!info.contains("tensors")) return text;
  for (const Json& tensor : info.at("tensors")) {
    const char* format = tensor.contains("format") ? "format" : "source_format";
    text += fmt::format("{:<24} {:<6} {:<18} {:>12}\n", shown(tensor.at("name")), shown(tensor.at(format)), shown(tensor.at("shape")),
                        shown(tensor.at("bytes")));
  }
  return text;
}

int show_info(const InfoOptions& options) {
  const Json info = read_info(options);
  write_stdout(options.json ? info.dump(2, ' ', false, Json::error_handler_t::replace) + "\n" : for_people(info));
  return 0;
}

VerbWork declare(CLI::App& app) {
  const auto options = std::make_shared<InfoOptions>();
  add_text(app, "FILE", options->file, "FILE", "Engine file, GGUF file, or Hugging Face folder")->required();
  app.add_flag("--json", options->json, "JSON, for programs");
  app.add_flag("--tensors", options->tensors, "List every tensor");
  return [options] { return show_info(*options); };
}

}  // namespace

const Verb kInfoVerb = {"info", "Show what an engine file or a checkpoint is", &declare};

}  // namespace quern
