/* chunk.pml: a chunk of a map, killed anywhere, and what the parent makes of its progress.
 *
 * Mirrors  src/wire/ring.h: auri_progress_begin, _item, auri_progress_read [C5], auri_ring_answer [C3];
 *          src/proc/entry.c: chunk_items;  src/proc/judge.c: lose_chunk, save_items.
 * Memory   all stores of the worker go through its store buffer, in order (tso.inc); a kill lets them drain.
 * Death    SIGKILL after any step of the worker: in the first chunk, in the second, or never.
 * Shows    items that count as done were run, and their results and codes are there; at most one item is
 *          lost; those after it were not begun; none is run twice; the words of an earlier chunk are
 *          never taken for those of a later one.
 * Abstract the parent does nothing before the death: [C1] to [C4] are ring.pml's. */

/* run: */
/* run: -DCHUNKS=3 -DITEMS=4 */
/* fault: ITEM_EARLY */
/* fault: BEGIN_SEQ_FIRST */
/* fault: BEGIN_KEEPS_ITEM */
/* fault: ANSWER_EARLY */

#ifndef CHUNKS
#define CHUNKS 2
#endif
#ifndef ITEMS
#define ITEMS 3
#endif
#define ALL (CHUNKS * ITEMS)

#define WORKER 0
#define CPUS 1
/* words: the answers' sequence numbers, progress, results, codes */
#define ANSWER(seq) ((seq) - 1)
#define P_SEQ (CHUNKS)
#define P_ITEM (CHUNKS + 1)
#define P_OUT (CHUNKS + 2) /* the extents of the chunk: its number */
#define RESULT(i) (CHUNKS + 3 + (i))
#define MEM (CHUNKS + 3 + ALL)
#include "tso.inc"

bool killed;
byte runs[ALL];
byte lost;

active proctype buffer()
{
end:
    do
    :: drain_one(WORKER)
    od
}

active proctype killer()
{
    if
    :: killed = true
    :: true
    fi
}

active proctype worker()
{
    byte seq = 1;
    byte i, item;
    byte done;

    {
        do
        :: seq > CHUNKS -> break
        :: seq <= CHUNKS ->
            /* auri_progress_begin() */
#ifdef FAULT_BEGIN_SEQ_FIRST
            store(WORKER, P_SEQ, seq);
#endif
#ifndef FAULT_BEGIN_SEQ_FIRST
            store(WORKER, P_SEQ, 0);
#endif
            FENCE(WORKER);
#ifndef FAULT_BEGIN_KEEPS_ITEM
            store(WORKER, P_ITEM, 0);
#endif
            store(WORKER, P_OUT, seq);
            store(WORKER, P_SEQ, seq);
#ifdef FAULT_ANSWER_EARLY
            store(WORKER, ANSWER(seq), seq);
#endif
            i = 0;
            do
            :: i < ITEMS ->
                item = (seq - 1) * ITEMS + i;
#ifdef FAULT_ITEM_EARLY
                store(WORKER, P_ITEM, i + 1);
#endif
                runs[item]++;
                store(WORKER, RESULT(item), item + 1);
#ifndef FAULT_ITEM_EARLY
                store(WORKER, P_ITEM, i + 1); /* [C5] */
#endif
                i++
            :: i == ITEMS -> break
            od;
            store(WORKER, ANSWER(seq), seq);
            seq++
        od
    } unless { killed };
    held[WORKER] == 0;

    /* The parent: every answer counts, then what is left of the first chunk without one. */
    d_step {
        seq = 1;
        do
        :: seq <= CHUNKS && mem[ANSWER(seq)] == seq -> seq++
        :: else -> break
        od;
        item = 0;
        do
        :: item < (seq - 1) * ITEMS -> assert(runs[item] == 1 && mem[RESULT(item)] == item + 1); item++
        :: else -> break
        od;
        done = 0;
        if
        :: seq <= CHUNKS && mem[P_SEQ] == seq ->
            assert(mem[P_OUT] == seq);
            done = mem[P_ITEM];
            assert(done <= ITEMS)
        :: else
        fi;
        i = 0;
        do
        :: seq <= CHUNKS && i < ITEMS ->
            item = (seq - 1) * ITEMS + i;
            if
            :: i < done -> assert(runs[item] == 1 && mem[RESULT(item)] == item + 1)
            :: i == done -> assert(runs[item] <= 1); lost++
            :: else -> assert(runs[item] == 0)
            fi;
            i++
        :: else -> break
        od;
        assert(lost <= 1);
        item = seq * ITEMS;
        do
        :: seq < CHUNKS && item < ALL -> assert(runs[item] == 0); item++
        :: else -> break
        od
    }
}
