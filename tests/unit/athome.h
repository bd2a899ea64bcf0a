// SPDX-License-Identifier: MIT
// The home of all that a test program makes: one, as long as it runs.
#pragma once

#include "home.h"

struct rx_home *rx_test_home(void);
