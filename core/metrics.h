// SPDX-License-Identifier: MIT
// Everything that is counted, as text for Prometheus: docs/guide/monitoring.md has every name.
#pragma once

#include <stdio.h>

#include "status.h"

// The engine thread's, like the rest of struct rx_instance.
void rx_metrics_print(FILE *out, const struct rx_instance *i);
