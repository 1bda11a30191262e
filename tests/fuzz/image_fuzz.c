/* What a fresh image of the program is told in a variable of its environment, with any bytes: it is no order, or
 * one that names a role and descriptors that may be there, and it can be told again. */
#include "fuzz.h"

#include "proc/image.h"

static bool is_role(const char *name)
{
    return strcmp(name, "nursery") == 0 || strcmp(name, "worker") == 0 ||
           strcmp(name, "committer") == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    char again[AURI_IMAGE_ORDER_SIZE];
    auri_image_order order;
    auri_image_order copy;

    FUZZ_CHECK(text != NULL);
    if (size != 0) {
        memcpy(text, data, size);
    }
    text[size] = '\0';
    if (auri_image_order_read(text, &order)) {
        FUZZ_CHECK(is_role(order.role) && order.socket_fd > 2);
        FUZZ_CHECK(order.ready_fd == -1 ||
                   (order.ready_fd > 2 && order.ready_fd != order.socket_fd));
        auri_image_order_write(&order, again);
        FUZZ_CHECK(strlen(again) + 1 < sizeof(again));
        FUZZ_CHECK(auri_image_order_read(again, &copy) && !copy.stale);
        FUZZ_CHECK(copy.role == order.role && copy.socket_fd == order.socket_fd &&
                   copy.ready_fd == order.ready_fd);
    }
    free(text);
    return 0;
}
