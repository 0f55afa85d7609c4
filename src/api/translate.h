// Runs library code behind the public API: what it throws comes out as v1::Error.
#pragma once
#include <new>

#include "api/public.h"
#include "base/error.h"

namespace quern {

template <class Body>
auto translated(Body&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const v1::Error&) {
    throw;
  } catch (const Error& error) {
    throw v1::Error(static_cast<v1::ErrorCode>(error.code()), error.message());
  } catch (const std::bad_alloc&) {
    throw v1::Error(v1::ErrorCode::resource, "memory: the system has no more");
  } catch (const std::exception& error) {
    throw v1::Error(v1::ErrorCode::internal, error.what());
  }
}

}  // namespace quern
