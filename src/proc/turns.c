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
 * The verdict.  The parent knows one wait of this process, and nothing of what its threads wait for here.  So the
 * question says whether the process can go on though none of these futures is ever done: if the worker's own
 * thread can.  The wait graph of this process tells (auri_detect_needs_answer); who waits for the parent is marked
 * in it (`asks`).  If so the parent gives no verdict.  A wait that changes this asks for a verdict here, and that
 * recalls the question (auri_detect). */
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
    bool shared;  /* by several */
};

/* Whether the calling thread may run another task on its stack: the worker's own, with room left. */
static bool has_room(const struct auri_worker_self *self)
{
    const struct auri_record *record = auri_self();
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);

    return record != NULL && record->running == self->task && self->inner < INNER_MAX &&
           record->stack_low != 0 && here > record->stack_low + INNER_STACK_BYTES;
}

/* With the lock held: whether the process can go on though nothing that is asked for is ever done.  A thread that
 * a task has made by itself may be what the task waits for, which nobody can tell: that counts as if it were. */
static bool goes_on(const struct auri_remote *remote)
{
    const struct auri_asker *own = NULL;

    for (const struct auri_asker *a = remote->askers; a != NULL; a = a->next) {
        if (a->opaque) {
            return false;
        }
        if (own == NULL && a->record == remote->record) { /* the innermost comes first */
            own = a;
        }
    }
    if (own != NULL && !own->told && auri_load_rlx(&own->record->asks) != NULL) {
        return false; /* that is all the worker's own thread waits for.  relaxed: under the lock */
    }
    return !auri_detect_needs_answer(remote->record);
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

/* With the lock held: for all who wait. */
static aur_err question_make(struct auri_worker_self *self, const struct auri_asker *asker,
                             struct question *q)
{
    struct auri_request *r = &q->request;

    *q = (struct question){ .request = { .op = AURI_REQ_WAIT, .deadline = AUR_NO_DEADLINE } };
    for (struct auri_asker *a = self->remote->askers; a != NULL; a = a->next) {
        a->named = takes_part(a);
        if (a->named) {
            q->n += a->n;
            q->shared |= a != asker;
            q->align = a->align > q->align ? a->align : q->align;
            r->deadline = a->deadline < r->deadline ? a->deadline : r->deadline;
        }
    }
    r->goes_on = goes_on(self->remote);
    r->room = !q->shared && !r->goes_on && r->deadline == AUR_NO_DEADLINE && has_room(self);
    r->id = asker->ids[0];
    if (q->n == 1) {
        return AUR_OK;
    }
    r->op = AURI_REQ_WAIT_ANY;
    aur_err err = auri_worker_alloc(self, q->n * sizeof(uint64_t), &q->ids);
    if (err != AUR_OK) {
        return err;
    }
    r->in = q->ids;
    uint64_t *at = auri_arena_at(self->results, auri_extent_off(q->ids));
    for (const struct auri_asker *a = self->remote->askers; a != NULL; a = a->next) {
        if (takes_part(a)) {
            memcpy(at, a->ids, a->n * sizeof(*at));
            at += a->n;
        }
    }
    return AUR_OK;
}

/* With the lock held: release; pairs with the acquire loads in sched/detect.c. */
static void mark(const struct auri_asker *asker, bool asks)
{
    auri_store_rel(&asker->record->asks, asks ? &auri_backend_remote : NULL);
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

/* With the lock held: who gives up.  The circle leads through the worker's own thread.  If that was among those who
 * asked, its wait is on the circle; that of another one may only wait for it, and end once it is broken. */
static struct auri_asker *on_circle(struct auri_remote *remote, struct auri_asker *asker)
{
    for (struct auri_asker *a = remote->askers; a != NULL; a = a->next) {
        if (a->record == remote->record && was_named(a)) { /* the innermost comes first */
            return a;
        }
    }
    return asker;
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
    if (reply->err == AUR_EDEADLK) {
        asker = on_circle(self->remote, asker);
        auri_deadlock_of(reply, &asker->why);
    } else if (reply->err == AUR_EINVAL || reply->err == AUR_ENOMEM) { /* of one of them */
        asker = asker_for(self->remote, id_of(self, q, reply));
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
    *at = asker->next; /* ask() has told the others that it is their turn */
}

aur_err auri_parent_wait(struct auri_worker_self *self, struct auri_asker *asker)
{
    struct auri_remote *remote = self->remote;
    aur_err err;

    asker->record = auri_self();
    if (asker->record == NULL) {
        return AUR_EAGAIN;
    }
    asker->opaque = asker->record != remote->record && asker->record->frame == NULL;
    pthread_mutex_lock(&remote->lock);
    asker->next = remote->askers;
    remote->askers = asker;
    mark(asker, true);
    recall(self); /* what stands does not name ours */
    while ((err = end_of(asker)) == AUR_EPENDING) {
        if (remote->asked || remote->hurried != 0) {
            sleep_until_move(remote, asker->looked ? asker->deadline : AUR_NO_DEADLINE);
        } else {
            ask(self, asker);
        }
    }
    leave(remote, asker);
    pthread_mutex_unlock(&remote->lock);
    return err;
}
