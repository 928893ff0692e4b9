package relay

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/retry"
	"github.com/sluice-outbox/sluice/outbox"
)

// waiter waits for new entries in many quiet streams with one XREAD on one connection. A stream
// that has been quiet for less than quietAfter waits on a connection of its own, so that the round
// of the others does not delay it. A cluster takes no command over several slots: there each stream
// waits by itself.
type waiter struct {
	client redis.UniversalClient

	mu      sync.Mutex
	waiting map[string]*quietStream
	kick    chan struct{} // holds one token when streams were added
}

// quietStream is one that waits.
type quietStream struct {
	after   outbox.EntryID
	adopted chan struct{} // closed when a round includes it
	woken   chan struct{} // closed when it has an entry, or when the round failed
	joined  bool
}

const (
	quietAfter = 2 * time.Second
	// roundBlock is how long a round waits at most, and so how soon a stream that was added is in one.
	roundBlock = 500 * time.Millisecond
	// anchorRecheck is how often a quiet stream is read all the same: nothing wakes its reader if it
	// was deleted or rolled back.
	anchorRecheck = 3 * time.Second
)

// newWaiter returns nil for a client that cannot ask for several streams at once.
func newWaiter(client redis.UniversalClient) *waiter {
	if _, single := client.(*redis.Client); !single {
		return nil
	}
	return &waiter{client: client, waiting: map[string]*quietStream{}, kick: make(chan struct{}, 1)}
}

// wait returns when a stream has an entry after the given one, or early. The caller reads, which
// shows that its anchor holds, and waits again.
func (w *waiter) wait(ctx context.Context, r *streamReader, after outbox.EntryID) error {
	for time.Since(r.activeAt) < quietAfter {
		if ready, err := r.block(ctx, after); ready || err != nil || ctx.Err() != nil {
			return err
		}
	}
	q, adopted := w.join(r.key, after)
	for !adopted { // until a round includes it the stream still waits for itself
		if ready, err := r.block(ctx, after); ready || err != nil || ctx.Err() != nil {
			w.leave(r.key)
			return err
		}
		select {
		case <-q.adopted:
			adopted = true
		default:
		}
	}
	again := time.NewTimer(anchorRecheck)
	defer again.Stop()
	select {
	case <-q.woken:
	case <-again.C: // it stays with the others: see join
	case <-ctx.Done():
		w.leave(r.key)
	}
	return nil
}

// join has a stream waited for by the next rounds. adopted: they do already.
func (w *waiter) join(key string, after outbox.EntryID) (q *quietStream, adopted bool) {
	w.mu.Lock()
	q = w.waiting[key]
	adopted = q != nil && q.after == after && q.joined
	w.mu.Unlock()
	if adopted {
		return q, true
	}
	return w.add(key, after), false
}

// leave ends what join began. A reader that ends calls it.
func (w *waiter) leave(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.waiting, key)
}

func (w *waiter) add(key string, after outbox.EntryID) *quietStream {
	q := &quietStream{after: after, adopted: make(chan struct{}), woken: make(chan struct{})}
	w.mu.Lock()
	w.waiting[key] = q
	w.mu.Unlock()
	select {
	case w.kick <- struct{}{}:
	default:
	}
	return q
}

// run makes rounds until ctx ends.
func (w *waiter) run(ctx context.Context) {
	for ctx.Err() == nil {
		streams, round := w.round()
		if len(round) == 0 {
			select {
			case <-ctx.Done():
			case <-w.kick:
			}
			continue
		}
		replies, err := w.client.XRead(ctx,
			&redis.XReadArgs{Streams: streams, Count: 1, Block: roundBlock}).Result()
		if err != nil && err != redis.Nil { //nolint:errorlint // go-redis returns it as it is
			w.wake(round) // each finds out for itself
			_ = retry.Sleep(ctx, readBlock)
			continue
		}
		some := make(map[string]*quietStream, len(replies))
		for _, reply := range replies {
			some[reply.Stream] = round[reply.Stream]
		}
		w.wake(some)
	}
}

// round gives all streams that wait, as XREAD takes them.
func (w *waiter) round() ([]string, map[string]*quietStream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	keys := make([]string, 0, 2*len(w.waiting))
	ids := make([]string, 0, len(w.waiting))
	round := make(map[string]*quietStream, len(w.waiting))
	for key, q := range w.waiting {
		keys, ids = append(keys, key), append(ids, q.after.String())
		round[key] = q
		if !q.joined {
			q.joined = true
			close(q.adopted)
		}
	}
	return append(keys, ids...), round
}

func (w *waiter) wake(streams map[string]*quietStream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, q := range streams {
		if q != nil && w.waiting[key] == q {
			delete(w.waiting, key)
			close(q.woken)
		}
	}
}
