package testenv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluice-outbox/sluice/outbox"
)

// ShopOptions say what a Shop writes. Zero values mean what their field says.
type ShopOptions struct {
	// Events is how many events are written in all. Required.
	Events int
	// Writers is how many write at once; 0: 8.
	Writers int
	// Keys a shard; 0: 100.
	Keys int
	// Group is the most events of one transaction; 0: 3. Each has a random number of them.
	Group int
	// Payload is the size of a payload in bytes; 0: 100.
	Payload int
	// Seed of the random choices.
	Seed uint64
	// Persistent writers give each transaction an idempotency key and repeat it until it is committed,
	// whatever the servers do meanwhile. Others take every error for the end of the shop.
	Persistent bool
	// Gated shops write only as much as Allow has allowed.
	Gated bool
}

// Shop is an application: each of its transactions counts orders in a key of the shard and appends
// an event for each, in one MULTI/EXEC.
type Shop struct {
	w      *Env
	o      ShopOptions
	writer *outbox.Writer
	keys   [][]string // by shard
	group  *errgroup.Group

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced at every change
	allowed  int
	started  int                 // events that a transaction was begun for
	written  int                 // events that were acknowledged
	acked    map[string]struct{} // their ids
	repeated int
}

// state is the name of the key in which each shard's orders are counted.
const state = "orders"

// Open starts the writers of a shop. They end when all is written or ctx ends.
func (w *Env) Open(ctx context.Context, o ShopOptions) *Shop {
	w.t.Helper()
	setDefault(&o.Writers, 8)
	setDefault(&o.Keys, 100)
	setDefault(&o.Group, 3)
	setDefault(&o.Payload, 100)
	writer, err := outbox.NewWriter(w.Redis, outbox.Config{Outbox: w.Outbox})
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	s := &Shop{
		w: w, o: o, writer: writer, keys: make([][]string, w.Shards),
		changed: make(chan struct{}), acked: make(map[string]struct{}, o.Events),
	}
	for n, missing := 0, w.Shards; missing > 0; n++ {
		key := "order-" + strconv.Itoa(n)
		shard := outbox.Shard(key, w.Shards)
		if s.keys[shard] = append(s.keys[shard], key); len(s.keys[shard]) == o.Keys {
			missing--
		}
	}
	if !o.Gated {
		s.allowed = o.Events
	}
	s.group, ctx = errgroup.WithContext(ctx)
	for n := range o.Writers {
		s.group.Go(func() error { return s.write(ctx, n) })
	}
	return s
}

func setDefault(v *int, def int) {
	if *v == 0 {
		*v = def
	}
}

// write is one writer.
func (s *Shop) write(ctx context.Context, n int) error {
	random := rand.New(rand.NewPCG(s.o.Seed, uint64(n)))
	padding := strings.Repeat("x", s.o.Payload)
	for turn := 0; ; turn++ {
		size, err := s.take(ctx, 1+random.IntN(s.o.Group))
		if size == 0 || err != nil {
			return err
		}
		keys := s.keys[random.IntN(s.w.Shards)]
		events := make([]outbox.Event, size)
		for i := range events {
			id := fmt.Sprintf("s-%d-%d-%d", n, turn, i)
			events[i] = outbox.Event{
				ID: id, AggregateType: "order", AggregateID: keys[random.IntN(len(keys))], Type: "OrderPlaced",
				Payload: []byte(id + padding[:max(0, len(padding)-len(id))]),
			}
		}
		if err := s.commit(ctx, fmt.Sprintf("s-%d-%d", n, turn), events); err != nil {
			return err
		}
		s.mu.Lock()
		for _, e := range events {
			s.acked[e.ID] = struct{}{}
		}
		s.written += size
		s.notify()
		s.mu.Unlock()
	}
}

func (s *Shop) commit(ctx context.Context, token string, events []outbox.Event) error {
	var opts []outbox.TxOption
	if s.o.Persistent {
		opts = append(opts, outbox.WithIdempotencyKey(token))
	}
	for {
		_, err := s.writer.Tx(ctx, events[0].AggregateID, func(tx *outbox.Tx) error {
			tx.Queue().IncrBy(ctx, tx.StateKey(state), int64(len(events)))
			return tx.Append(events...)
		}, opts...)
		if err == nil || !s.o.Persistent || ctx.Err() != nil {
			return err
		}
		s.mu.Lock()
		s.repeated++
		s.mu.Unlock()
		select { // the server is down: trying again at once would only burn what it needs to come back
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// take waits until events may be written, and returns for how many the caller is to begin a
// transaction; 0: all are.
func (s *Shop) take(ctx context.Context, n int) (int, error) {
	for {
		s.mu.Lock()
		left, changed := s.o.Events-s.started, s.changed
		if now := min(n, left, s.allowed-s.started); now > 0 || left == 0 {
			s.started += now
			s.mu.Unlock()
			return now, nil
		}
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// notify needs s.mu.
func (s *Shop) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Allow lets a gated shop write up to n events in all.
func (s *Shop) Allow(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allowed = max(s.allowed, n)
	s.notify()
}

// Written is how many events were acknowledged.
func (s *Shop) Written() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.written
}

// Await waits until n events are acknowledged, or until the shop has failed.
func (s *Shop) Await(limit time.Duration, n int) {
	s.w.t.Helper()
	failed := make(chan error, 1)
	go func() { failed <- s.group.Wait() }()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		written, changed := s.written, s.changed
		s.mu.Unlock()
		if written >= n {
			return
		}
		select {
		case <-changed:
		case err := <-failed:
			if err != nil {
				s.w.t.Fatalf("shop: %v", err)
			}
			failed = nil
		case <-timeout.C:
			s.w.t.Fatalf("shop: %d of %d events written after %s", written, n, limit)
		}
	}
}

// Close waits until everything is written, and checks that the streams hold it: every acknowledged
// event once, no event that nobody wrote, and as many as the state counts (an event exists if and
// only if its change of state was committed).
func (s *Shop) Close(limit time.Duration) {
	s.w.t.Helper()
	s.Await(limit, s.o.Events)
	if err := s.group.Wait(); err != nil {
		s.w.t.Fatalf("shop: %v", err)
	}
	if err := s.check(); err != nil {
		s.w.t.Fatalf("shop: %v", err)
	}
	s.w.t.Logf("shop: %d events written over %d shards, %d transactions repeated", s.written,
		s.w.Shards, s.repeated)
}

func (s *Shop) check() error {
	counted := map[int]int{}
	seen := make(map[string]struct{}, len(s.acked))
	for _, e := range s.w.Entries() {
		if !strings.HasPrefix(e.Event, "s-") {
			continue // not the shop's
		}
		if _, ok := s.acked[e.Event]; !ok {
			return fmt.Errorf("entry %s of shard %d: event %s was not acknowledged", e.ID, e.Shard, e.Event)
		}
		if _, twice := seen[e.Event]; twice {
			return fmt.Errorf("entry %s of shard %d: event %s is in the stream twice", e.ID, e.Shard,
				e.Event)
		}
		seen[e.Event] = struct{}{}
		counted[e.Shard]++
	}
	if len(seen) != len(s.acked) {
		return fmt.Errorf("%d events acknowledged, %d in the streams", len(s.acked), len(seen))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var errs []error
	for shard := range s.w.Shards {
		n, err := s.w.Redis.Get(ctx, outbox.StateKey(s.w.Outbox, shard, state)).Int()
		if counted[shard] > 0 && err != nil {
			return err
		}
		if n != counted[shard] {
			errs = append(errs, fmt.Errorf("shard %d: the state counts %d orders, the stream has %d", shard,
				n, counted[shard]))
		}
	}
	return errors.Join(errs...)
}
