// Whether a block of bytes is all zeroes.
#pragma once

#include "base/zero_detect.h"
