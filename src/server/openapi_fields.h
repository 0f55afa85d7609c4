// What the interface's description says of each route: the fields that its body has and the reply that it gives, as JSON schemas in text.
// The tables of openapi.cpp; "TokenId" and its kin are schemas that the document defines.
#pragma once
#include <span>

namespace quern {

// A field of a body and its schema.
struct BodyField {
  const char* name;
  const char* schema;
};

struct RouteDescription {
  const char* path;
  const char* summary;
  std::span<const BodyField> fields;  // of the body; none: the route has no body
  bool has_sampling = false;          // with sampling_fields()
  const char* required = "";          // JSON text of the names that must be there, "" for none
  const char* reply = nullptr;        // schema of a reply with status 200; null: there is none
};

std::span<const BodyField> sampling_fields();
std::span<const RouteDescription> route_descriptions();

}  // namespace quern
