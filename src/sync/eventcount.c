/* See eventcount.h for the protocol and its argument. */
#include "sync/eventcount.h"

#include "base/err.h"
#include "plat/plat.h"

static _Atomic(uint32_t) *low_half(struct auri_ec *ec)
{
    return (_Atomic(uint32_t) *)(void *)&ec->word;
}

auri_ec_need auri_ec_notify_slow(struct auri_ec *ec, uint64_t word, uint32_t mark)
{
    for (;;) {
        if (auri_ec_searchers(word) + auri_ec_tokens(word) != 0) {
            return AURI_EC_NOBODY;
        }
        if (auri_ec_sleepers(word) == 0) {
            return auri_ec_deficit(word) > 0 ? AURI_EC_SPARE : AURI_EC_NOBODY;
        }
        /* seq_cst: one order for all changes of the word. */
        if (auri_cas_sc(&ec->word, &word, word - AURI_EC_SLEEPER + AURI_EC_TOKEN)) {
            /* relaxed: a statistic; the sleeper clips nonsense. */
            auri_store_rlx(&ec->wake_ns, aurp_now_ns());
            /* The token is anybody's.  If the one meant does not sleep in the kernel now, it may be
             * about to, and then takes the token; or it is gone, and another must. */
            if (mark == AURI_EC_ANYBODY || aurp_futex_wake_marked(low_half(ec), mark) == 0) {
                aurp_futex_wake(low_half(ec), 1, AURP_PRIVATE);
            }
            return AURI_EC_WOKEN;
        }
    }
}

void auri_ec_search_start(struct auri_ec *ec)
{
    auri_add_sc(&ec->word, AURI_EC_SEARCHER);
}

bool auri_ec_search_stop(struct auri_ec *ec)
{
    uint64_t before = auri_add_sc(&ec->word, UINT64_C(0) - AURI_EC_SEARCHER);

    if (auri_ec_searchers(before) != 1) {
        return false;
    }
    /* Then the caller's look for more work: a producer that still saw a searcher relies on it. */
    auri_fence_sc(); /* pairs with [E1], as the fence in auri_ec_announce() does */
    return true;
}

void auri_ec_announce(struct auri_ec *ec)
{
    /* seq_cst [E2], then a fence, then the caller's last look. */
    auri_add_sc(&ec->word, AURI_EC_SLEEPER - AURI_EC_SEARCHER);
    auri_fence_sc();
}

/* Leaves the announced threads for the searchers: by a token if there is one. */
static void leave(struct auri_ec *ec)
{
    uint64_t word = auri_load_rlx(&ec->word);
    uint64_t next;

    do {
        AURI_ASSERT(auri_ec_tokens(word) + auri_ec_sleepers(word) != 0);
        next =
            word + AURI_EC_SEARCHER - (auri_ec_tokens(word) != 0 ? AURI_EC_TOKEN : AURI_EC_SLEEPER);
    } while (!auri_cas_sc(&ec->word, &word, next));
}

void auri_ec_retract(struct auri_ec *ec)
{
    leave(ec);
}

aur_err auri_ec_sleep_marked(struct auri_ec *ec, uint32_t mark, aur_deadline deadline)
{
    uint64_t word = auri_load_acq(&ec->word);

    for (;;) {
        while (auri_ec_tokens(word) != 0) {
            /* seq_cst: acquire pairs with the notifier's CAS, so the work it made is visible. */
            if (auri_cas_sc(&ec->word, &word, word - AURI_EC_TOKEN + AURI_EC_SEARCHER)) {
                return AUR_OK;
            }
        }
        if (aurp_futex_wait_marked(low_half(ec), (uint32_t)word, mark, deadline) == AUR_ETIMEDOUT) {
            leave(ec);
            return AUR_ETIMEDOUT;
        }
        word = auri_load_acq(&ec->word);
    }
}

void auri_ec_wake_all(struct auri_ec *ec)
{
    auri_fence_sc(); /* as [E1]; the caller has made its reason visible */
    uint64_t word = auri_load_rlx(&ec->word);

    for (;;) {
        uint64_t sleepers = auri_ec_sleepers(word);
        if (sleepers == 0) {
            return;
        }
        if (auri_cas_sc(&ec->word, &word,
                        word - sleepers * AURI_EC_SLEEPER + sleepers * AURI_EC_TOKEN)) {
            aurp_futex_wake(low_half(ec), INT32_MAX, AURP_PRIVATE);
            return;
        }
    }
}

uint64_t auri_ec_deficit_add(struct auri_ec *ec, int delta)
{
    uint64_t step = (uint64_t)(int64_t)delta * AURI_EC_DEFICIT;

    return auri_add_sc(&ec->word, step) + step;
}

bool auri_ec_surplus_leave(struct auri_ec *ec)
{
    uint64_t word = auri_load_rlx(&ec->word);

    while (auri_ec_deficit(word) < 0) {
        if (auri_cas_sc(&ec->word, &word, word + AURI_EC_DEFICIT)) {
            return true;
        }
    }
    return false;
}
