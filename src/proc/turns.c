/* Whose turn it is to ask the parent, and the waits of all threads of this process as one question.
 *
 * The mailbox holds one request.  Most are answered at once, and whoever has another one waits for its turn.  A
 * wait may stand for long.  So one thread that waits asks for all that do: the first of any of their futures ends
 * the question, and each takes what is its own.  Whoever needs the mailbox meanwhile, or waits for something
 * else, recalls the question: the parent answers it with AUR_EAGAIN, and it is asked again when nobody has another
 * one.  So no thread's call waits for what another thread waits for.
 *
 * No recall is lost.  Who asks looks, under the lock, at what may end its wait, and then says that its question
 * stands; who recalls has changed that before it takes the lock.  So either the look sees the change, or the
 * recall sees the question.  The number that is recalled is there before the bell rings; the parent looks at it
 * when it hears that, and once more when it has begun to wait (auri_wait_settle), if the bell came before.
 *
 * The verdict.  The parent knows one wait of this process, and what matters to others is whether the worker's own
 * thread goes on, since that runs the entries.  So the question names first the futures without any of which that
 * thread is stuck, and says how many these are: what it waits for itself, and what threads of this process wait for
 * that it waits for in the end, over the wait graph of this process (auri_detect_needs_answer); who waits for the
 * parent is marked in it (`asks`).  Only these are an edge to the parent, and if there are none it gives no verdict.
 * If not any one of them is enough, since the thread waits for all of several others, the question also says which are:
 * a formula, whose gates are these threads (sched/formula.h).  Any one is more than that, never less: so where there is
 * no memory to say it, a circle is seen later, and none is seen that is not there.
 * Other threads' waits are on no circle: nobody waits for them.  A wait that changes this asks for a verdict here, and
 * that recalls the question (auri_detect).  Between the two the edge is not wrong: once the own thread is stuck,
 * nothing but an answer changes what it waits for, and that ends the question.  Another thread may come to help in a
 * loop meanwhile: then there is one more that it needs, and the edge says less than is true until that one waits.
 *
 * A refusal is about one of the numbers, and goes to the thread that gave it: others may wait for the same future, and
 * for one that comes.  So it hits a wait that is on the circle, or cannot be served, and no other one.
 *
 * A thread that a task has made by itself may be what the task waits for, which nobody can tell.  A verdict is
 * given only where it is sure; but where a pool has nobody left to run what such a thread waits for, it counts
 * (auri_edge_perhaps): then its wait is refused rather than that all stand still. */
#include <stdlib.h>
#include <string.h>

#include "proc/ask.h"
#include "proc/entry.h"
#include "proc/remote.h"
#include "sched/detect.h"

#define INNER_MAX 512u
#define INNER_STACK_BYTES (UINT64_C(192) << 10)

/* ---- turns ---------------------------------------------------------------------------------- */

/* With the lock held: who sleeps looks again. */
static void move(struct auri_remote *remote)
{
    auri_store_rlx(&remote->moves, auri_load_rlx(&remote->moves) + 1); /* relaxed: under the lock */
    if (remote->sleepers != 0) {
        aurp_futex_wake(&remote->moves, INT32_MAX, AURP_PRIVATE);
    }
}

/* With the lock held, which is released meanwhile. */
static void sleep_until_move(struct auri_remote *remote, aur_deadline deadline)
{
    uint32_t seen = auri_load_rlx(&remote->moves); /* relaxed: under the lock */

    remote->sleepers++;
    pthread_mutex_unlock(&remote->lock);
    (void)aurp_futex_wait(&remote->moves, seen, deadline, AURP_PRIVATE);
    pthread_mutex_lock(&remote->lock);
    remote->sleepers--;
}

/* With the lock held: ends the question that stands, if one does. */
static void recall(struct auri_worker_self *self)
{
    if (self->remote->stands) {
        self->remote->stands = false;
        auri_mail_recall(self->ctl, self->remote->stands_seq);
        auri_worker_ring(self);
    }
}

void auri_turn_take(struct auri_worker_self *self)
{
    struct auri_remote *remote = self->remote;

    pthread_mutex_lock(&remote->lock);
    remote->hurried++;
    while (remote->asked) {
        recall(self);
        sleep_until_move(remote, AUR_NO_DEADLINE);
    }
    remote->hurried--;
    remote->asked = true;
    pthread_mutex_unlock(&remote->lock);
}

void auri_turn_give(struct auri_worker_self *self)
{
    pthread_mutex_lock(&self->remote->lock);
    self->remote->asked = false;
    move(self->remote);
    pthread_mutex_unlock(&self->remote->lock);
}

void auri_turn_recall(struct auri_worker_self *self)
{
    pthread_mutex_lock(&self->remote->lock);
    recall(self);
    move(self->remote);
    pthread_mutex_unlock(&self->remote->lock);
}

/* ---- the question --------------------------------------------------------------------------- */

/* One for some of those who wait. */
struct question {
    struct auri_request request;
    struct auri_extent ids; /* WAIT_ANY: what it names */
    size_t n;
    size_t align; /* that suits all of them */
};

/* Whether the calling thread may run another task on its stack: the worker's own, with room left. */
static bool has_room(const struct auri_worker_self *self)
{
    const struct auri_record *record = auri_self();
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);

    return record != NULL && record->running == self->task && self->inner < INNER_MAX &&
           record->stack_low != 0 && here > record->stack_low + INNER_STACK_BYTES;
}

static bool takes_part(const struct auri_asker *asker)
{
    return !asker->over && !asker->runs;
}

/* With the lock held: a reply that names no future is about those only.  Whoever came to wait after the question
 * has not been looked at, and is on no circle that the parent knows. */
static bool was_named(const struct auri_asker *asker)
{
    return asker->named && takes_part(asker);
}

/* With the lock held: the wait of the worker's own thread.  NULL: it does not wait for the parent now. */
static struct auri_asker *own_asker(const struct auri_remote *remote)
{
    struct auri_asker *a = remote->askers;

    while (a != NULL && a->record != remote->record) { /* the innermost comes first */
        a = a->next;
    }
    return a != NULL && takes_part(a) ? a : NULL;
}

/* With the lock held: notes who takes part, and whose answer is needed, and how.  True: if anybody's, nobody
 * knows. */
static bool note_parts(struct auri_remote *remote, struct auri_needs *ret_needs)
{
    const struct auri_asker *own = own_asker(remote);
    bool alone = own != NULL && !own->told; /* its answer is all that it waits for */
    bool stuck = !alone && auri_detect_needs_answer(remote->record, ret_needs);
    bool any = alone;

    for (struct auri_asker *a = remote->askers; a != NULL; a = a->next) {
        a->named = takes_part(a);
        a->at = 0;
        a->needed = a->named && a->deadline == AUR_NO_DEADLINE &&
                    (alone ? a == own : stuck && a->record->needed);
        any |= a->needed;
    }
    for (struct auri_asker *a = remote->askers; a != NULL && !any; a = a->next) {
        a->needed = a->named && a->deadline == AUR_NO_DEADLINE && a->foreign;
    }
    return !any;
}

/* With the lock held: the numbers of those who take part and whose answer is needed, or is not; n: are there. */
static uint32_t copy_ids(struct auri_remote *remote, bool needed, uint64_t *ids, uint32_t n)
{
    for (struct auri_asker *a = remote->askers; a != NULL; a = a->next) {
        if (a->named && a->needed == needed) {
            memcpy(&ids[n], a->ids, a->n * sizeof(*ids));
            a->at = n;
            n += (uint32_t)a->n;
        }
    }
    return n;
}

/* With the lock held: whose answer is that of this thread.  NULL: nobody's that is needed. */
static const struct auri_asker *asker_of(const struct auri_remote *remote,
                                         const struct auri_record *record)
{
    const struct auri_asker *a = remote->askers;

    while (a != NULL && !(a->needed && a->record == record)) {
        a = a->next;
    }
    return a;
}

/* Words that are written, or only counted. */
struct words {
    uint32_t *to; /* NULL: counted */
    size_t n;
};

static void put(struct words *words, uint32_t word)
{
    if (words->to != NULL) {
        words->to[words->n] = word;
    }
    words->n++;
}

/* With the lock held: the formula (wire/ctl.h).  first_gate: so many numbers are needed.  False: it cannot be said. */
static bool put_needs(const struct auri_remote *remote, const struct auri_needs *needs,
                      uint32_t first_gate, struct words *words)
{
    put(words, (uint32_t)needs->gates);
    for (size_t i = 0; i < needs->gates; i++) {
        const struct auri_need *gate = &needs->gate[i];
        const struct auri_asker *a = gate->asks != NULL ? asker_of(remote, gate->asks) : NULL;
        uint32_t ids = a != NULL ? (uint32_t)a->n : 0;
        if (gate->asks != NULL && a == NULL) {
            return false;
        }
        put(words, gate->need);
        put(words, gate->n + ids);
        for (uint32_t k = 0; k < gate->n; k++) {
            put(words, first_gate + needs->input[gate->first + k]);
        }
        for (uint32_t k = 0; k < ids; k++) {
            put(words, a->at + k);
        }
    }
    return true;
}

/* With the lock held: the numbers, and then what is needed of them.  If there is no memory for that, any one of them
 * counts as enough: a circle is seen later then, and never where there is none. */
static aur_err write_question(struct auri_worker_self *self, const struct auri_needs *needs,
                              struct question *q)
{
    struct auri_remote *remote = self->remote;
    struct auri_request *r = &q->request;
    size_t bytes = q->n * sizeof(uint64_t);
    struct words words = { NULL, 0 };
    bool several = needs->gates != 0 && r->needs > 1 && r->unsure == 0 &&
                   put_needs(remote, needs, r->needs, &words);

    if (several && auri_worker_alloc(self, bytes + words.n * sizeof(uint32_t), &q->ids) == AUR_OK) {
        r->formula = (uint32_t)words.n;
    } else {
        aur_err err = auri_worker_alloc(self, bytes, &q->ids);
        if (err != AUR_OK) {
            return err;
        }
    }
    uint64_t *ids = auri_arena_at(self->results, auri_extent_off(q->ids));
    (void)copy_ids(remote, false, ids, copy_ids(remote, true, ids, 0));
    if (r->formula != 0) {
        words = (struct words){ (uint32_t *)(void *)(ids + q->n), 0 };
        (void)put_needs(remote, needs, r->needs, &words);
    }
    r->in = auri_extent_make(AURI_SEG_RESULT, auri_extent_off(q->ids), bytes);
    return AUR_OK;
}

/* With the lock held: for all who wait. */
static aur_err question_make(struct auri_worker_self *self, const struct auri_asker *asker,
                             struct question *q)
{
    struct auri_request *r = &q->request;
    struct auri_needs needs = { 0 };
    aur_err err = AUR_OK;
    bool unsure = note_parts(self->remote, &needs);

    *q = (struct question){ .request = { .op = AURI_REQ_WAIT, .deadline = AUR_NO_DEADLINE } };
    for (const struct auri_asker *a = self->remote->askers; a != NULL; a = a->next) {
        if (a->named) {
            q->n += a->n;
            q->align = a->align > q->align ? a->align : q->align;
            r->needs += a->needed ? (uint32_t)a->n : 0;
            r->deadline = a->deadline < r->deadline ? a->deadline : r->deadline;
        }
    }
    r->unsure = unsure && r->needs != 0;
    r->room =
        asker->record == self->remote->record && asker->needed && !asker->told && has_room(self);
    r->id = asker->ids[0];
    if (q->n > 1) {
        r->op = AURI_REQ_WAIT_ANY;
        err = write_question(self, &needs, q);
    }
    auri_needs_free(&needs);
    return err;
}

/* With the lock held.  seq_cst; pairs with the loads in sched/detect.c, and in follow() (sched/wait.c): whoever publishes
 * an edge and then looks sees this, or the question that comes next sees the edge. */
static void mark(const struct auri_asker *asker, bool asks)
{
    auri_store_sc(&asker->record->asks, asks ? &auri_backend_remote : NULL);
}

static void end(struct auri_asker *asker, aur_err err)
{
    asker->over = true;
    asker->err = err;
    mark(asker, false); /* it can go on */
}

/* The number of the future that the reply is about. */
static uint64_t id_of(struct auri_worker_self *self, const struct question *q,
                      const struct auri_reply *reply)
{
    if (q->request.op == AURI_REQ_WAIT) {
        return q->request.id;
    }
    const uint64_t *ids = auri_arena_at(self->results, auri_extent_off(q->ids));
    return ids[reply->value < q->n ? reply->value : 0];
}

/* With the lock held: one who waits for that future; NULL: it has left. */
static struct auri_asker *asker_for(struct auri_remote *remote, uint64_t id)
{
    for (struct auri_asker *a = remote->askers; a != NULL; a = a->next) {
        for (size_t i = 0; i < a->n && takes_part(a); i++) {
            if (a->ids[i] == id) {
                return a;
            }
        }
    }
    return NULL;
}

/* With the lock held, which is released meanwhile: while the bytes are copied the turn is still ours. */
static void take_outcome(struct auri_worker_self *self, const struct question *q,
                         const struct auri_reply *reply)
{
    pthread_mutex_unlock(&self->remote->lock);
    struct auri_news news = auri_news_of(reply, q->align);
    pthread_mutex_lock(&self->remote->lock);
    uint64_t id = id_of(self, q, reply);
    struct auri_asker *asker = asker_for(self->remote, id);
    if (asker == NULL) {
        auri_news_drop(&news);
        return;
    }
    end(asker, AUR_OK);
    asker->id = id;
    asker->news = news;
}

/* With the lock held: who is told that the wait for that future is refused: who has named it there, since others who
 * wait for the same may be on no circle.  NULL: he has left, and nobody has to be. */
static struct auri_asker *refused(const struct auri_remote *remote, uint64_t index)
{
    struct auri_asker *a = remote->askers;

    while (a != NULL && !(was_named(a) && index >= a->at && index - a->at < a->n)) {
        a = a->next;
    }
    return a;
}

/* With the lock held: none of them is done. */
static void take_refusal(struct auri_worker_self *self, struct auri_asker *asker,
                         const struct question *q, const struct auri_reply *reply)
{
    if (reply->err == AUR_ETIMEDOUT) {
        for (struct auri_asker *a = self->remote->askers; a != NULL; a = a->next) {
            a->looked |= was_named(a);
        }
        return;
    }
    if (reply->err == AUR_EDEADLK || reply->err == AUR_E2DEEP) {
        asker = refused(self->remote, reply->value);
    } else if (reply->err == AUR_EINVAL || reply->err == AUR_ENOMEM) { /* of one of them */
        asker = asker_for(self->remote, id_of(self, q, reply));
    }
    if (asker != NULL && reply->err == AUR_EDEADLK) {
        auri_deadlock_of(reply, &asker->why);
    }
    if (asker != NULL) {
        end(asker, reply->err);
    }
}

/* The parent said: run this first.  With the lock held, which is released meanwhile. */
static void run_first(struct auri_worker_self *self, struct auri_asker *asker,
                      const struct auri_sub_desc *desc)
{
    struct auri_request ran = { .op = AURI_REQ_RAN };
    struct auri_reply ignored;
    struct auri_comp_desc comp;

    asker->runs = true;
    mark(asker, false);
    pthread_mutex_unlock(&self->remote->lock);
    auri_entry_run_inner(self, desc, &comp);
    auri_turn_take(self);
    if (auri_worker_alloc(self, sizeof(comp), &ran.in) == AUR_OK) {
        memcpy(auri_arena_at(self->results, auri_extent_off(ran.in)), &comp, sizeof(comp));
    } else {
        ran.in = (struct auri_extent){ 0, 0 };
    }
    auri_parent_ask_in_turn(self, &ran, &ignored);
    auri_worker_free(self, ran.in);
    auri_turn_give(self);
    pthread_mutex_lock(&self->remote->lock);
    asker->runs = false;
    mark(asker, true);
    recall(self); /* what was asked meanwhile does not name ours */
}

/* With the lock held, which is released meanwhile: what the parent said.  True: run *ret_first first. */
static bool take_reply(struct auri_worker_self *self, struct auri_asker *asker,
                       const struct question *q, const struct auri_reply *reply,
                       struct auri_sub_desc *ret_first)
{
    if (reply->task_failed != 0 || reply->err == AUR_OK) {
        take_outcome(self, q, reply);
    } else if (reply->err == AUR_EPENDING) {
        const void *at = auri_worker_at(reply->out);
        if (at != NULL && reply->out.size == sizeof(*ret_first)) {
            memcpy(ret_first, at, sizeof(*ret_first));
            return true;
        }
    } else if (reply->err != AUR_EAGAIN) { /* else it was recalled */
        take_refusal(self, asker, q, reply);
    }
    return false;
}

/* With the lock held, which is released meanwhile; nobody asks. */
static void ask(struct auri_worker_self *self, struct auri_asker *asker)
{
    struct auri_remote *remote = self->remote;
    struct auri_reply reply;
    struct auri_sub_desc first;
    struct question q;
    bool runs = false;

    remote->asked = true;
    remote->stands = true;
    remote->stands_seq = remote->seq + 1;
    aur_err err = question_make(self, asker, &q);
    if (err == AUR_OK) {
        pthread_mutex_unlock(&remote->lock);
        auri_parent_ask_in_turn(self, &q.request, &reply);
        pthread_mutex_lock(&remote->lock);
        remote->stands = false;
        runs = take_reply(self, asker, &q, &reply, &first);
        auri_worker_free(self, q.ids);
    } else {
        remote->stands = false;
        end(asker, err);
    }
    remote->asked = false;
    move(remote);
    if (runs) {
        run_first(self, asker, &first);
    }
}

/* ---- who waits ------------------------------------------------------------------------------ */

/* With the lock held: how the wait has ended; AUR_EPENDING: it has not. */
static aur_err end_of(const struct auri_asker *asker)
{
    if (asker->over) {
        return asker->err;
    }
    /* acquire: whoever counted it up has said all that is to be seen. */
    if (asker->word != NULL && auri_load_acq(asker->word) != asker->value) {
        return AUR_EAGAIN;
    }
    return asker->looked && asker->deadline != AUR_NO_DEADLINE && aurp_now_ns() >= asker->deadline
               ? AUR_ETIMEDOUT
               : AUR_EPENDING;
}

static void leave(struct auri_remote *remote, struct auri_asker *asker)
{
    struct auri_asker **at = &remote->askers;

    mark(asker, false);
    while (*at != asker) {
        at = &(*at)->next;
    }
    *at = asker->next;
    if (asker->record == remote->record) {
        move(remote); /* the others left it to us to ask */
    }
}

/* With the lock held: whether it is for the caller to ask.  If the worker's own thread waits it is, since nobody
 * else can run something in place of that. */
static bool may_ask(const struct auri_remote *remote, const struct auri_asker *asker)
{
    return !remote->asked && remote->hurried == 0 &&
           (asker->record == remote->record || own_asker(remote) == NULL);
}

aur_err auri_parent_wait(struct auri_worker_self *self, struct auri_asker *asker)
{
    struct auri_remote *remote = self->remote;
    aur_err err;

    asker->record = auri_self();
    if (asker->record == NULL) {
        return AUR_EAGAIN;
    }
    asker->foreign = asker->record != remote->record && asker->record->frame == NULL;
    pthread_mutex_lock(&remote->lock);
    asker->next = remote->askers;
    remote->askers = asker;
    mark(asker, true);
    recall(self); /* what stands does not name ours */
    while ((err = end_of(asker)) == AUR_EPENDING) {
        if (may_ask(remote, asker)) {
            ask(self, asker);
        } else {
            sleep_until_move(remote, asker->looked ? asker->deadline : AUR_NO_DEADLINE);
        }
    }
    leave(remote, asker);
    pthread_mutex_unlock(&remote->lock);
    return err;
}
