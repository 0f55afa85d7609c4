// The routes: path, method, who may use it, and what does its work. A table, in routes.cpp.
#pragma once
#include <span>
#include <string>
#include <string_view>

#include "server/generation_plan.h"
#include "server/http_message.h"
#include "server/served_model.h"

namespace quern {

struct Route {
  enum class Kind {
    live,      // the event loop beats
    ready,     // a model is loaded, nothing is stuck, no shutdown
    metrics,   // counters
    load,      // what is running
    page,      // the chat page, unless it is switched off
    answer,    // a reply from the model's facts or text handling; on a worker
    generate,  // tokens; the request is read on a worker
  };
  const char* path;    // one that ends in '/', but for "/" itself, takes any one segment behind it
  const char* method;  // GET takes HEAD as well
  Kind kind;
  bool is_open = false;  // without a key
  HttpReply (*answer)(const HttpRequest& request, const ServedModel& model) = nullptr;
  GenerationPlan (*plan)(std::string_view body, const ServedModel& model) = nullptr;
};

std::span<const Route> routes();

struct RouteMatch {
  const Route* route = nullptr;  // null: see `allowed`
  std::string allowed;           // methods of the path, "" when no route has it
};
RouteMatch find_route(std::string_view method, std::string_view path);

}  // namespace quern
