// SPDX-License-Identifier: MIT
// Enters: addresses as answers gave them. Leaves: the same in one order, so that equal answers are seen to be equal.
#include "places.h"

#include <stdlib.h>
#include <string.h>

static int place_compare(const void *a, const void *b)
{
    const struct rx_place *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    if (x->addr.len != y->addr.len)
        return x->addr.len < y->addr.len ? -1 : 1;
    int order = memcmp(&x->addr.sa, &y->addr.sa, x->addr.len);
    return order ? order : strcmp(x->name, y->name);
}

void rx_places_normalise(struct rx_places *p)
{
    uint32_t n = 0, rank = 0, last = 0;
    qsort(p->list, p->n, sizeof *p->list, place_compare);
    for (uint32_t i = 0; i < p->n; i++) {
        bool is_known = false;
        for (uint32_t k = 0; k < n && !is_known; k++)
            is_known = rx_addr_equal(&p->list[k].addr.sa, &p->list[i].addr.sa);
        if (is_known)
            continue;
        if (n && p->list[i].rank != last)
            rank++;
        last = p->list[i].rank;
        p->list[n] = p->list[i];
        p->list[n++].rank = rank;
    }
    p->n = n;
}

bool rx_places_are_same(const struct rx_places *a, const struct rx_places *b)
{
    if (a->n != b->n)
        return false;
    for (uint32_t i = 0; i < a->n; i++)
        if (place_compare(&a->list[i], &b->list[i]) || a->list[i].weight != b->list[i].weight)
            return false;
    return true;
}
