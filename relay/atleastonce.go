package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/delivery"
	"github.com/sluice-outbox/sluice/internal/retry"
	"github.com/sluice-outbox/sluice/outbox"
)

// atLeastOnce is at-least-once delivery. The consumer group holds the position, reads are
// XREADGROUP, records go out through the idempotent producer, and XACK follows when all records of
// a read are confirmed. What an earlier owner left pending is sent first, so that the entries of a
// dead relay are neither left nor overtaken. The seat serves for the handover only.
func (s *stream) atLeastOnce(ctx context.Context, seat *delivery.Seat) error {
	if err := s.takeGroup(ctx, seat); err != nil {
		return err
	}
	publisher, err := newPublisher(s.cfg, s.relay.topics.limit)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	defer publisher.Close() // ends what is still buffered: it is sent again
	g := &groupReader{
		stream: s, reader: newStreamReader(s.cfg.Redis, s.id, s.key).bounded(s.cfg),
		preparer: s.preparer(), publisher: publisher,
	}
	if err := g.claim(ctx); err != nil {
		return err
	}
	seat.Running()

	hard, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	defer context.AfterFunc(ctx, func() {
		_ = retry.Sleep(hard, s.cfg.DrainTimeout)
		abandon()
	})()
	ahead, stopReading := context.WithCancel(ctx)
	defer stopReading()
	inFlight := make(chan *published, 8)
	var (
		wg      sync.WaitGroup
		readErr error
	)
	wg.Go(func() {
		defer close(inFlight)
		readErr = g.run(ahead, hard, inFlight)
	})
	wg.Go(func() { s.keeper.run(ahead, g) })

	// Reads are confirmed in their order: the position moves over the finished prefix only.
	var ackErr error
	for p := range inFlight {
		if ackErr == nil {
			if ackErr = g.confirm(hard, p); ackErr != nil {
				stopReading()
			} else {
				seat.Running()
			}
		}
		s.relay.engine.Free(p.held)
	}
	stopReading()
	wg.Wait()
	if ackErr != nil {
		return s.blame(ctx, ackErr)
	}
	if readErr == nil || ctx.Err() != nil {
		g.leave(hard)
	}
	return readErr
}

// takeGroup makes the consumer group the holder of the position, if it is not yet. The seat's claim
// has ended every exactly-once owner, so its position is final. Then the seat is given back: this
// delivery cannot be fenced and needs no seat.
func (s *stream) takeGroup(ctx context.Context, seat *delivery.Seat) error {
	pos, err := s.beginning().position(ctx, seat.Position())
	if err != nil {
		return err
	}
	var now Position
	if committed := seat.Position(); committed == nil || json.Unmarshal(committed, &now) != nil ||
		now.Delivery != DeliveryAtLeastOnce {
		if err := s.group.set(ctx, pos.Entry, int64(pos.Count+pos.Missing)); err != nil {
			return err
		}
		pos.Delivery, pos.At, pos.Relay = DeliveryAtLeastOnce, time.Now(), s.cfg.Instance
		value, err := json.Marshal(pos)
		if err != nil {
			return err
		}
		if err := seat.Commit(ctx, value); err != nil {
			return err
		}
	}
	pos.Delivery = DeliveryAtLeastOnce
	s.tracker.begin(pos)
	return seat.Release(ctx)
}

// blame looks at why records failed. Reads of which Kafka refused a record are tried; the entries
// that are refused become dead letters when they are read again.
func (s *stream) blame(ctx context.Context, err error) error {
	var failed *deliveryError
	if !errors.As(err, &failed) {
		return err
	}
	refused := false
	for _, f := range failed.failures {
		s.relay.topics.forget(f.topic)
		_, poison := poisonReason(f.err)
		refused = refused || poison
	}
	if !refused {
		return err
	}
	s.log.Warn("Kafka refuses a record, what was sent with it is tried", "error", err)
	const most = 10_000
	trying, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	refusals, tried := s.relay.engine.Try(trying, failed.records[:min(most, len(failed.records))])
	if len(refusals) > 0 {
		s.Refused(refusals)
		if halt := s.takeRejected(); halt != nil {
			return halt
		}
		return errRestart
	}
	if tried != nil {
		return tried
	}
	return err
}

// tryTimeout bounds how long records are tried.
const tryTimeout = 10 * time.Second

// published is a chunk whose records were handed to the producer.
type published struct {
	chunk *chunk
	held  *delivery.Batch // what the chunk holds of the budget
	began time.Time
	done  chan struct{} // closed when every promise was kept or broken

	mu       sync.Mutex
	open     int
	failures []recordError
	refused  []*kgo.Record
}

func (p *published) promise(r *kgo.Record, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil && len(p.failures) < maxFailures {
		p.failures = append(p.failures, recordError{r.Topic, entryOf(r), err})
		if _, poison := poisonReason(err); poison {
			p.refused = append(p.refused, r)
		}
	}
	if p.open--; p.open == 0 {
		close(p.done)
	}
}

// maxFailures bounds how many failed records of a read are remembered.
const maxFailures = 20_000

// recordError is the failure of a record.
type recordError struct {
	topic string
	id    outbox.EntryID
	err   error
}

func (e *recordError) Error() string {
	return fmt.Sprintf("kafka: topic %s, entry %s: %v", e.topic, e.id, e.err)
}
func (e *recordError) Unwrap() error { return e.err }

// deliveryError says that at least one record of a read failed. records are those that were refused
// and those sent with them.
type deliveryError struct {
	failures []recordError
	records  []*kgo.Record
}

func (e *deliveryError) Error() string {
	if n := len(e.failures); n > 1 {
		return fmt.Sprintf("%v (and %d more records)", e.failures[0].Error(), n-1)
	}
	return e.failures[0].Error()
}

func (e *deliveryError) Unwrap() error { return &e.failures[0] }
