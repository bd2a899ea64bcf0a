// SPDX-License-Identifier: MIT
// Enters: an answer of a backend whose health is checked. Leaves: aborted when more bytes change what was judged, when
// its end leaves it undecided, or when it is bad without words that are fit for a log.
#include <stdlib.h>
#include <string.h>

#include "health.h"
#include "regex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum rx_judgement judge(const struct rx_health_rule *r, const uint8_t *data, size_t n, bool is_over)
{
    char why[RX_HEALTH_WHY];
    memset(why, 1, sizeof why);
    enum rx_judgement j = rx_health_judge(r, NULL, data, (uint32_t)n, is_over, why);
    const char *end = memchr(why, 0, sizeof why);
    if (!end || (is_over && j == RX_JUDGED_MORE) || (j == RX_JUDGED_BAD && end == why))
        abort();
    for (const char *p = why; p < end; p++)
        if (*p < 0x20 || *p == 0x7f)
            abort();
    return j;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *words[] = { "+PONG", "ok" };
    static uint32_t lens[] = { 5, 2 };
    static struct rx_status_range statuses[] = { { 204, 204 }, { 300, 305 }, { 500, 599 } };
    static struct rx_regex *regex[1];
    char err[128];
    if (!regex[0] && !(regex[0] = rx_regex_new("a+b", 3, 0, err)))
        abort();
    if (!size || size > RX_HEALTH_BYTES)
        return 0;
    uint8_t how = data[0];
    struct rx_health_rule r = { .kind = how & 1 ? RX_CHECK_HTTP : RX_CHECK_TCP, .send_len = 1, .expect_fn = -1 };
    if (how & 2)
        r.expect = (struct rx_texts){ .text = words, .len = lens, .n = 2 };
    if (how & 4)
        r.expect.regex = regex, r.expect.n_regex = 1;
    if (how & 8)
        r.status = statuses, r.n_status = RX_COUNT(statuses);
    uint8_t *copy = malloc(size - 1 + (size == 1));
    memcpy(copy, data + 1, size - 1);
    enum rx_judgement said = RX_JUDGED_MORE, whole = judge(&r, copy, size - 1, true);
    for (size_t n = 0; n < size; n += 1 + n / 64) {
        enum rx_judgement now = judge(&r, copy, n, false);
        if (said != RX_JUDGED_MORE && now != said)
            abort();
        said = now;
    }
    if (said != RX_JUDGED_MORE && said != whole)
        abort();
    free(copy);
    return 0;
}
