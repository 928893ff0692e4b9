package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/delivery"
	"github.com/sluice-outbox/sluice/outbox"
)

// stream is a shard's stream in Redis, as a source of records (delivery.Source).
type stream struct {
	relay      *Relay
	cfg        *Config
	id         int
	key        string
	log        *slog.Logger
	quarantine *quarantine
	tracker    *tracker
	group      consumerGroup
	keeper     *housekeeper

	mu       sync.Mutex
	rejected *HaltError // the dead-letter topic refuses a dead letter
	ages     []time.Duration
}

func newStream(r *Relay, id int) *stream {
	key := outbox.StreamKey(r.cfg.Outbox, id)
	log := r.cfg.Logger.With("outbox", r.cfg.Outbox, "shard", id)
	s := &stream{
		relay: r, cfg: &r.cfg, id: id, key: key, log: log, quarantine: newQuarantine(),
		tracker: newTracker(&r.cfg, id, log, r.control.tell),
		group:   consumerGroup{r.cfg.Redis, key},
	}
	s.keeper = &housekeeper{
		cfg: s.cfg, shard: id, key: key, log: log, group: s.group,
		tracker: s.tracker, moved: make(chan struct{}, 1),
	}
	return s
}

// Run implements delivery.Source.
func (s *stream) Run(ctx context.Context, seat *delivery.Seat) error {
	if halt := s.takeRejected(); halt != nil {
		return halt
	}
	var err error
	if s.cfg.Delivery == DeliveryAtLeastOnce {
		err = s.atLeastOnce(ctx, seat)
	} else {
		err = s.exactlyOnce(ctx, seat)
	}
	var halt *HaltError
	if errors.As(err, &halt) {
		halt.Shard = s.id
	}
	if errors.Is(err, errRestart) {
		return nil
	}
	return err
}

// exactlyOnce reads from the seat's position on and sends what it reads. Housekeeping runs beside
// it.
func (s *stream) exactlyOnce(ctx context.Context, seat *delivery.Seat) error {
	pos, err := s.beginning().position(ctx, seat.Position())
	if err != nil {
		return err
	}
	fp, err := parseFingerprint(pos.Fingerprint)
	if err != nil {
		return err
	}
	s.tracker.begin(pos)
	beside, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { s.keeper.run(beside, mirror{s.group}) })
	defer wg.Wait()
	defer stop()
	reader := newStreamReader(s.cfg.Redis, s.id, s.key).bounded(s.cfg)
	reader.waiter = s.relay.waiter
	return reader.run(ctx, anchor{pos.Entry, fp}, s.preparer(), s.cfg.MaxBytes, seat.CaughtUp,
		func(ctx context.Context, c *chunk) error {
			pos.Entry, pos.Fingerprint = c.last(), formatFingerprint(c.fingerprint)
			pos.Count += uint64(len(c.ids))
			c.position = pos
			return seat.Send(ctx, s.batch(c))
		})
}

// batch makes a chunk a batch of delivery.
func (s *stream) batch(c *chunk) *delivery.Batch {
	return &delivery.Batch{
		Records: c.records, Entries: len(c.ids), Bytes: c.bytes, Cost: c.cost, AtEnd: c.atEnd, Of: c,
		Position: func() ([]byte, error) {
			c.position.Delivery, c.position.Missing, c.position.At, c.position.Relay = DeliveryExactlyOnce,
				s.tracker.missing(), time.Now(), s.cfg.Instance
			return json.Marshal(c.position)
		},
	}
}

// Committed implements delivery.Source.
func (s *stream) Committed(batches []*delivery.Batch, began time.Time) {
	chunks := make([]*chunk, 0, len(batches))
	for _, b := range batches {
		if c, ok := b.Of.(*chunk); ok { // a handover has none
			chunks = append(chunks, c)
		}
	}
	if len(chunks) == 0 {
		return
	}
	s.tracker.committed(chunks[len(chunks)-1].position)
	s.keeper.notice()
	s.delivered(chunks, began)
	for _, c := range chunks {
		c.recycle()
	}
}

// delivered calls the observer for chunks that have become visible.
func (s *stream) delivered(chunks []*chunk, began time.Time) {
	obs := s.cfg.Observer
	if obs.Committed != nil {
		now := time.Now()
		commit := Commit{Shard: s.id, Topics: map[string]int{}, Took: now.Sub(began)}
		s.ages = s.ages[:0]
		for _, c := range chunks {
			commit.Entries += len(c.ids)
			commit.Bytes += c.bytes
			for _, id := range c.ids {
				s.ages = append(s.ages, now.Sub(time.UnixMilli(int64(min(id.MS, 1<<62)))))
			}
			for _, r := range c.records {
				commit.Topics[r.Topic]++
			}
		}
		commit.Ages = s.ages
		obs.Committed(commit)
	}
	var first deadLetter
	dead := 0
	for _, c := range chunks {
		for _, d := range c.dead {
			if dead++; dead == 1 {
				first = d
			}
			if obs.DeadLettered != nil {
				obs.DeadLettered(s.id, d.id, d.reason)
			}
		}
		if !s.quarantine.empty() {
			s.quarantine.release(c.ids)
		}
	}
	if dead > 0 {
		s.log.Warn("entries dead-lettered", "entries", dead, "first", first.id.String(),
			"reason", string(first.reason), "detail", first.detail)
	}
}

// Refused implements delivery.Source: the entries become dead letters when they are read again. A
// dead letter that is refused halts the shard.
func (s *stream) Refused(refusals []delivery.Refusal) {
	poisoned := map[outbox.EntryID]bool{}
	for _, x := range refusals {
		s.relay.topics.forget(x.Record.Topic)
		id := entryOf(x.Record)
		reason, _ := poisonReason(x.Err)
		if x.Record.Topic == s.cfg.DeadLetter.Topic {
			s.mu.Lock()
			s.rejected = &HaltError{Shard: s.id, Entry: id, Reason: fmt.Sprintf(
				"the dead-letter topic %s refuses entry %s: %v; its max.message.bytes must be above 600 kB",
				x.Record.Topic, id, x.Err)}
			s.mu.Unlock()
			continue
		}
		poisoned[id] = true
		s.quarantine.add(deadLetter{id: id, reason: reason, detail: x.Err.Error(), topic: x.Record.Topic})
	}
	if len(poisoned) > 0 {
		s.log.Warn("Kafka refuses records for what they are", "entries", len(poisoned),
			"first", refusals[0].Err)
	}
}

func (s *stream) takeRejected() (halt *HaltError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	halt, s.rejected = s.rejected, nil
	return halt
}

// Tell implements delivery.Source.
func (s *stream) Tell(state State, reason string, halt delivery.Halt) {
	var evidence *HaltError
	errors.As(halt, &evidence)
	before := s.tracker.Status().State
	s.tracker.set(state, reason, evidence)
	if state == StateStopped && before == StateRunning && s.cfg.Delivery == DeliveryExactlyOnce {
		// The lag that the group shows last is a true one.
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		pos := s.tracker.position()
		_ = s.group.mirror(ctx, pos.Entry, int64(pos.Count+pos.Missing), nil)
	}
}

// Idle implements delivery.Source.
func (s *stream) Idle(ctx context.Context, d time.Duration) { s.keeper.idle(ctx, d) }

// Paused implements delivery.Source.
func (s *stream) Paused() (string, bool) { return s.relay.control.paused(s.id) }

func (s *stream) beginning() *beginning {
	return &beginning{cfg: s.cfg, shard: s.id, key: s.key, group: s.group, log: s.log}
}

func (s *stream) preparer() *preparer {
	router, err := s.cfg.router()
	if err != nil {
		panic("relay: route was valid when the relay was made: " + err.Error())
	}
	return &preparer{
		shard: s.id, deadLetter: s.cfg.DeadLetter, topics: s.relay.topics, router: router,
		quarantine: s.quarantine,
		formatter: formatter{
			encoding: formats[s.cfg.Format].encoding(s.cfg.Source), tombstones: s.cfg.Tombstones,
			prefix: delivery.PositionKey(s.cfg.Outbox, s.id) + "/", now: time.Now,
		},
	}
}

// entryOf finds the entry of a record by its sluice-entry header; zero if it has none.
func entryOf(r *kgo.Record) outbox.EntryID {
	_, id, _ := originOf(r)
	return id
}
