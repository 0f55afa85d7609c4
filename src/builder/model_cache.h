// MODEL as people name it: an engine file, a GGUF file or a Hugging Face folder. The latter two become an engine file once, in the
// user's cache. Two processes that want the same one build it once: the second waits.
#pragma once
#include <functional>
#include <string>

#include "builder/build.h"

namespace quern {

struct ResolveOptions {
  std::string dtype = "auto";
  size_t group_size = 0;
  size_t num_threads = 0;
  // A line before a build, each note of it, and one while another process builds; absent: the log.
  std::function<void(const std::string& line)> say = {};
  std::function<void(const BuildProgress&)> progress = {};
};

// Path of the engine file of `model`: `model` itself, the cached one, or a new one. Throws what build_engine throws, and resource when
// there is no folder to cache in.
std::string resolve_model(const std::string& model, const ResolveOptions& options = {});

// ${XDG_CACHE_HOME}/quern, or ${HOME}/.cache/quern; throws resource when neither variable names an absolute path.
std::string cache_folder();

}  // namespace quern
