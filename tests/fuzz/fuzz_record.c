// SPDX-License-Identifier: MIT
// Enters: a line of a recording. Leaves: aborted when it is read as a decision that no recording can hold, or refused
// without a word.
#include <stdlib.h>
#include <string.h>

#include "record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rx_record r;
    struct rx_record_text text;
    const char *why = NULL;
    if (size > 4096)
        return 0;
    uint8_t *bytes = malloc(size / 2 + 1); // no more than half of the digits there are
    int rc = rx_record_parse((const char *)data, size, &r, &text, bytes, &why);
    if (rc ? !why : why || !r.listen || !r.to || r.kept > r.len || r.ended > RX_ENDED_TIMEOUT)
        abort();
    if (!rc && (strlen(r.listen) >= RX_RECORD_TEXT || strlen(r.to) >= RX_RECORD_TEXT))
        abort();
    free(bytes);
    return 0;
}
