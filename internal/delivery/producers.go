package delivery

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/internal/names"
)

// producers are the two transactional producers of a lane, which take turns: an id that has just
// committed is refused for 20 ms and more while the broker writes its markers, the other one is
// not. A turn begins only after the other's commit was acknowledged, so its records come later in
// every partition.
//
// Their ids are initialised once, here, and never again: a client that initialises by itself, which
// kgo does after some errors, is noticed and given up.
type producers struct {
	client [2]*kgo.Client
	joiner [2]joiner
	turn   int // 0: a, 1: b; flips only after an acknowledged commit
	watch  connectionWatch
	closed sync.Once
}

// producerLinger lets records of one transaction share batches; a flush ends it, so it adds no
// latency.
const producerLinger = 50 * time.Millisecond

// newProducers opens the clients and initialises both ids. owed learns meanwhile who owes an
// answer.
func newProducers(ctx context.Context, cfg *Config, lane string,
	owed *connectionWatch,
) (*producers, error) {
	p := &producers{}
	for i, turn := range []byte{'a', 'b'} {
		client, err := kgo.NewClient(append(slices.Clone(cfg.Producer),
			kgo.TransactionalID(names.LaneID(cfg.Outbox, lane, turn)),
			kgo.TransactionTimeout(cfg.TransactionTimeout),
			kgo.ProducerLinger(producerLinger),
			kgo.RecordPartitioner(kgo.ManualPartitioner()),
			// No RecordDeliveryTimeout: kgo measures it from the record's timestamp, which is the event's.
			// The context of the transaction bounds its records.
			kgo.RetryTimeout(cfg.TransactionTimeout),
			kgo.WithHooks(&p.watch, owed),
			// A client would send its metrics to the broker when it is closed, and wait for a silent one.
			kgo.DisableClientMetrics(),
		)...)
		if err != nil {
			p.close()
			return nil, fmt.Errorf("kafka: %w", err)
		}
		p.client[i] = client
	}
	var (
		wg   sync.WaitGroup
		errs [2]error
	)
	for i, client := range p.client {
		wg.Go(func() { _, _, errs[i] = client.ProducerID(ctx) })
	}
	wanted := leadersJoin(ctx, p.client[0])
	for i, turn := range []byte{'a', 'b'} {
		p.joiner[i] = joiner{
			id: names.LaneID(cfg.Outbox, lane, turn), wanted: wanted, coordinator: -1,
		}
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		p.close()
		return nil, fmt.Errorf("kafka: initialise transactional ids of lane %s: %w", lane, err)
	}
	p.watch.arm()
	return p, nil
}

// close ends both clients. What an open transaction holds is aborted by whoever fences the lane, or
// by Kafka after the transaction timeout.
func (p *producers) close() {
	p.closed.Do(func() {
		for _, client := range p.client {
			if client != nil {
				client.Close()
			}
		}
	})
}

// begin opens a transaction on the producer whose turn it is.
func (p *producers) begin() (*kgo.Client, error) {
	if err := p.watch.err(); err != nil {
		return nil, err
	}
	client := p.client[p.turn]
	if err := client.BeginTransaction(); err != nil {
		return nil, fmt.Errorf("kafka: begin transaction: %w", err)
	}
	return client, nil
}

// join adds partitions to the open transaction.
func (p *producers) join(ctx context.Context, at iter.Seq[place]) {
	p.joiner[p.turn].join(ctx, p.client[p.turn], at)
}

// commit ends the transaction whose every promise was kept. An error leaves the outcome unknown.
// kgo's EndTransaction can return nil for a producer whose records failed, or that had none: the
// caller has checked its promises, and each transaction has at least a position or a claim. It is
// never sent under a context that can be cancelled, which would leave an outcome that nobody knows
// for no reason; whoever cannot wait closes the clients.
func (p *producers) commit(ctx context.Context) error {
	if p.watch.initialised.Load() {
		return errReinitialised
	}
	if err := p.client[p.turn].EndTransaction(context.WithoutCancel(ctx), kgo.TryCommit); err != nil {
		return fmt.Errorf("kafka: commit: %w", err)
	}
	if p.watch.initialised.Load() {
		return errReinitialised
	}
	p.turn ^= 1
	return nil
}

// endEmpty ends a transaction in which nothing was produced. kgo sends nothing for it, and the turn
// does not change.
func (p *producers) endEmpty(ctx context.Context) error {
	if err := p.client[p.turn].EndTransaction(ctx, kgo.TryAbort); err != nil {
		return fmt.Errorf("kafka: end an empty transaction: %w", err)
	}
	return nil
}

// connectionWatch notices what kills a lane: a request without an answer, after which markers may
// be missing (recovery.go), and an id that its client has initialised again. It also knows who owes
// an answer.
type connectionWatch struct {
	armed       atomic.Bool
	broken      atomic.Bool
	initialised atomic.Bool

	mu   sync.Mutex
	owed map[string]debt // by address
}

// debt are the requests that a broker has not answered.
type debt struct {
	requests int
	name     string // of the first one
	since    time.Time
}

func (w *connectionWatch) arm() {
	w.broken.Store(false)
	w.armed.Store(true)
}

func (w *connectionWatch) err() error {
	switch {
	case w.initialised.Load():
		return errReinitialised
	case w.broken.Load():
		return errConnection
	}
	return nil
}

func address(b kgo.BrokerMetadata) string {
	return net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
}

// OnBrokerE2E implements kgo.HookBrokerE2E.
func (w *connectionWatch) OnBrokerE2E(b kgo.BrokerMetadata, _ int16, e kgo.BrokerE2E) {
	if e.Err() != nil {
		w.broken.Store(true)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.owed[address(b)]
	if d.requests--; d.requests > 0 {
		w.owed[address(b)] = d
	} else {
		delete(w.owed, address(b))
	}
}

// OnBrokerWrite implements kgo.HookBrokerWrite.
func (w *connectionWatch) OnBrokerWrite(b kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration,
	err error,
) {
	if key == kmsg.InitProducerID.Int16() && w.armed.Load() {
		w.initialised.Store(true)
	}
	if err != nil {
		return // OnBrokerE2E is called for it too, and ignores what it does not know
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.owed[address(b)]
	if d.requests++; d.requests == 1 {
		d.name, d.since = kmsg.NameForKey(key), time.Now()
	}
	if w.owed == nil {
		w.owed = map[string]debt{}
	}
	w.owed[address(b)] = d
}

// debtor names the broker that has owed an answer for longest; "" if none does.
func (w *connectionWatch) debtor() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var (
		who   string
		first debt
	)
	for addr, d := range w.owed {
		if who == "" || d.since.Before(first.since) {
			who, first = addr, d
		}
	}
	if who == "" {
		return ""
	}
	return fmt.Sprintf("broker %s has not answered %s since %s", who, first.name,
		first.since.UTC().Format("15:04:05Z"))
}
