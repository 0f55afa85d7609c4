// The public header as the library itself sees it: its names stay in quern::v1 and do not meet those of the rooms.
#pragma once
#define QUERN_API_NAMESPACE namespace v1
#include "quern/quern.h"
