// SPDX-License-Identifier: MIT
// What every file may use: integer types, attributes, and a handful of helpers. No subsystem lives here.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RX_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define RX_COLD __attribute__((cold, noinline))
#define RX_LIKELY(x) __builtin_expect(!!(x), 1)
#define RX_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define RX_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define RX_CONTAINER(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

#define RX_MIN(a, b) ((a) < (b) ? (a) : (b))
#define RX_MAX(a, b) ((a) > (b) ? (a) : (b))

// A violated memory-safety invariant: the one thing that may end the process after start.
#define RX_REQUIRE(x) ((x) ? (void)0 : rx_require_failed(#x, __FILE__, __LINE__))
_Noreturn void rx_require_failed(const char *what, const char *file, int line);
