package relay

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/outbox"
)

// producers are the two transactional producers of a shard, which take turns (invariant 5): an id that has just
// committed is refused for 20 ms and more while the broker writes its markers, the other one is not.
//
// Making them fences every earlier owner (invariant 1), and returns only when that owner's transaction has ended.
//
// The first turn is always a's, the id initialised first. That closes the race between two owners who initialise at
// the same time: X inits a; Y inits a and b, reads the position and opens a transaction on a; X inits b and
// reads the same position. If X could begin with b, which nobody has fenced since, it would send what Y is
// sending. But X begins with a, whose epoch is Y's. To use b an owner has to have committed on a after both were its own.
type producers struct {
	outbox string
	shard  int
	turn   int // 0: a, 1: b; flips only after an acknowledged commit
	client [2]*kgo.Client
	ids    [2]producerID
	closed sync.Once
	// broken: a request got no answer since the ids were initialised. Whatever is there afterwards is not trusted: see begin.
	broken connectionWatch
	// offline are partitions of which nobody could be asked whether a transaction hangs in them; nothing is sent there.
	offline map[string]offlineTopic

	mu       sync.Mutex
	failures []recordError
}

// newProducers opens the clients and initialises both ids, a before b.
func newProducers(ctx context.Context, cfg *Config, shard int, batchBytes func(string) int32) (*producers, error) {
	p := &producers{outbox: cfg.Outbox, shard: shard}
	for i, turn := range []byte{'a', 'b'} {
		client, err := kgo.NewClient(append(producerOpts(cfg, batchBytes),
			kgo.TransactionalID(outbox.TransactionalID(cfg.Outbox, shard, turn)),
			kgo.TransactionTimeout(cfg.TransactionTimeout),
			kgo.ProducerLinger(producerLinger),
			// No RecordDeliveryTimeout: kgo measures it from the record's timestamp, which is the event's. The context of
			// the transaction bounds its records.
			kgo.RetryTimeout(cfg.TransactionTimeout),
			kgo.WithHooks(&p.broken),
		)...)
		if err != nil {
			p.close()
			return nil, fmt.Errorf("kafka: %w", err)
		}
		p.client[i] = client
	}
	for i, client := range p.client {
		id, epoch, err := client.ProducerID(ctx)
		if err != nil {
			p.close()
			return nil, fmt.Errorf("kafka: initialise transactional id %s: %w", outbox.TransactionalID(cfg.Outbox, shard, "ab"[i]), err)
		}
		p.ids[i] = producerID{id, epoch}
	}
	p.broken.Store(false)
	return p, nil
}

// connectionWatch is set when a request was sent to a broker and had no answer.
type connectionWatch struct{ atomic.Bool }

// OnBrokerE2E implements kgo.HookBrokerE2E.
func (w *connectionWatch) OnBrokerE2E(_ kgo.BrokerMetadata, _ int16, e kgo.BrokerE2E) {
	if e.Err() != nil {
		w.Store(true)
	}
}

// newPublisher is the producer of at-least-once delivery: idempotent, so that its own retries neither double nor
// reorder records.
func newPublisher(cfg *Config, batchBytes func(string) int32) (*kgo.Client, error) {
	client, err := kgo.NewClient(append(producerOpts(cfg, batchBytes), kgo.ProducerLinger(0))...) // no flush would end it
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return client, nil
}

// producerOpts are the options of every producer.
func producerOpts(cfg *Config, batchBytes func(string) int32) []kgo.Opt {
	return append(clientOpts(cfg),
		kgo.RecordPartitioner(partitioner{}),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchMaxBytesFn(batchBytes),
		// The relay bounds what it sends; the client's own bound must not block within a transaction.
		kgo.MaxBufferedRecords(1<<24),
		kgo.UnknownTopicRetries(3),
		kgo.ProduceRequestTimeout(max(cfg.TransactionTimeout/2, time.Second)),
	)
}

// clientOpts are the options of every client; the caller's come first, so that these win.
func clientOpts(cfg *Config) []kgo.Opt {
	return append(slices.Clone(cfg.Kafka), kgo.MetadataMinAge(metadataMinAge), kgo.RequestTimeoutOverhead(requestTimeout))
}

// requestTimeout is how long an answer may take beyond what its request allows the broker. A peer that vanished without a
// word is noticed by nothing else.
const requestTimeout = 3 * time.Second

// metadataMinAge is how old metadata may be when it is asked for. The default of five seconds is how long a topic that was
// just created would stay unknown.
const metadataMinAge = 100 * time.Millisecond

// close ends both clients. What an open transaction holds is aborted by the next owner, or by the broker after the
// transaction timeout.
func (p *producers) close() {
	p.closed.Do(func() {
		for _, client := range p.client {
			if client != nil {
				client.Close()
			}
		}
	})
}

// begin opens a transaction on the producer whose turn it is. After a broker was lost it does not: a marker of the transaction before may be
// missing (see endHanging), and a session that goes on would put another one in its place. errRestart begins a new one.
func (p *producers) begin() error {
	if p.broken.Load() {
		return errRestart
	}
	p.failures = p.failures[:0]
	return p.client[p.turn].BeginTransaction()
}

// send produces into the open transaction. Failures are kept for commit.
func (p *producers) send(ctx context.Context, records []*kgo.Record) {
	client := p.client[p.turn]
	for _, r := range records {
		if len(p.offline) > 0 && p.isOffline(r) {
			p.promise(r, kerr.LeaderNotAvailable)
			continue
		}
		client.Produce(ctx, r, p.promise)
	}
}

// isOffline reports whether a record belongs to a partition that could not be asked for hanging transactions. The next session
// asks again.
func (p *producers) isOffline(r *kgo.Record) bool {
	t, ok := p.offline[r.Topic]
	return ok && t.offline[int32(partitioner{}.Partition(r, t.partitions))]
}

// sendAlone produces one record in a batch of its own, so that a refusal is this record's.
func (p *producers) sendAlone(ctx context.Context, r *kgo.Record) error {
	client := p.client[p.turn]
	if err := client.Flush(ctx); err != nil {
		return err
	}
	return client.ProduceSync(ctx, r).FirstErr()
}

func (p *producers) promise(r *kgo.Record, err error) {
	if err == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.failures) < maxFailures {
		p.failures = append(p.failures, recordError{topic: r.Topic, id: entryOf(r), err: err})
	}
}

// maxFailures bounds how many failed records of a transaction are remembered.
const maxFailures = 20_000

// commit adds the position, waits for every record, and commits (invariants 2 and 3). On any error the outcome is
// unknown, and the caller starts over (invariant 4). kgo's EndTransaction can return nil for a producer whose
// records failed: every promise is checked first.
func (p *producers) commit(ctx context.Context, pos Position) error {
	record, err := positionRecord(p.outbox, p.shard, pos)
	if err != nil {
		return err
	}
	client := p.client[p.turn]
	client.Produce(ctx, record, p.promise)
	if err := client.Flush(ctx); err != nil {
		return fmt.Errorf("kafka: flush: %w", err)
	}
	p.mu.Lock()
	failures := p.failures
	p.mu.Unlock()
	if len(failures) > 0 {
		return &deliveryError{failures}
	}
	// A cancelled commit would leave an outcome that nobody knows for no reason. Whoever cannot wait closes the clients.
	if err := client.EndTransaction(context.WithoutCancel(ctx), kgo.TryCommit); err != nil {
		return fmt.Errorf("kafka: commit: %w", err)
	}
	p.turn ^= 1
	return nil
}

// deliveryError is the failure of at least one record of a batch.
type deliveryError struct{ failures []recordError }

func (e *deliveryError) Error() string {
	if n := len(e.failures); n > 1 {
		return fmt.Sprintf("%v (and %d more records)", e.failures[0].Error(), n-1)
	}
	return e.failures[0].Error()
}

func (e *deliveryError) Unwrap() error { return &e.failures[0] }

func positionRecord(outboxName string, shard int, pos Position) (*kgo.Record, error) {
	value, err := json.Marshal(pos)
	if err != nil {
		return nil, fmt.Errorf("position record: %w", err)
	}
	return &kgo.Record{
		Topic: outbox.PositionsTopic(outboxName), Partition: int32(shard),
		Key: []byte(positionKey(outboxName, shard)), Value: value,
	}, nil
}

// entryOf finds the entry of a record by its sluice-entry header; zero for the position record.
func entryOf(r *kgo.Record) EntryID {
	for _, h := range r.Headers {
		if h.Key == "sluice-entry" {
			for i := len(h.Value) - 1; i >= 0; i-- {
				if h.Value[i] == '/' {
					id, _ := parseID(h.Value[i+1:])
					return id
				}
			}
		}
	}
	return EntryID{}
}

// partitioner is Kafka's default for records with a key; position records choose their partition.
type partitioner struct{}

func (partitioner) ForTopic(string) kgo.TopicPartitioner { return partitioner{} }

// RequiresConsistency makes kgo offer all partitions, with a leader at the moment or without.
func (partitioner) RequiresConsistency(*kgo.Record) bool { return true }

func (partitioner) Partition(r *kgo.Record, n int) int {
	if len(r.Headers) == 0 { // only position records have none
		return int(r.Partition)
	}
	return outbox.Partition(r.Key, n)
}
