package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/sluice-outbox/sluice/internal/control"
	"github.com/sluice-outbox/sluice/internal/retry"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// troubles is how many shards come into trouble: the last ones.
const troubles = 3

// poisonEvery is how often an event that the broker refuses is among those of the shard that
// has them.
const poisonEvery = time.Second

// poisoned is before what the topic of the poison takes, which the relay does not know: only the
// broker refuses it.
var poisoned = time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)

// trouble is what happens to the last shards of a stage, and how the relay takes it.
type trouble struct {
	run        *run
	stage      *stage
	old        string // a topic that takes no old records
	leaderless string // a topic without a leader; empty: there is none

	poison, headless, backlog int // shards

	written [2]atomic.Int64 // into poison and headless

	mu     sync.Mutex
	looked time.Time // the last time that the relay was asked for the backlog
	began  time.Time // the last time that nothing of it was delivered; zero: nothing is yet
	caught time.Time // the first time that all of it was
}

// prepareTrouble makes the topics and fills the shard of the backlog, which is paused. The caller
// removes it, also after an error.
func (b *run) prepareTrouble(ctx context.Context, st *stage, leaderless string) (*trouble, error) {
	t := &trouble{
		run: b, stage: st, old: st.name + ".old", leaderless: leaderless,
		poison: st.shards - 3, headless: st.shards - 2, backlog: st.shards - 1,
	}
	hour := "3600000"
	created, err := b.backends.admin.CreateTopics(ctx, 1, -1,
		map[string]*string{"message.timestamp.before.max.ms": &hour}, t.old)
	if err == nil {
		err = created[t.old].Err
	}
	if err != nil {
		return t, fmt.Errorf("kafka: create %s: %w", t.old, err)
	}
	if err := control.SetPause(ctx, b.backends.redis, st.name, t.backlog,
		control.Pause{At: time.Now(), By: "bench"}); err != nil {
		return t, err
	}
	b.Progress("filling shard %d with %d entries", t.backlog, b.Entries)
	_, err = b.backends.fill(ctx, st.name, st.shards, b.Entries, b.source, t.numbers(t.backlog))
	return t, err
}

// remove deletes what the stage does not know of.
func (t *trouble) remove(ctx context.Context) error {
	deleted, err := t.run.backends.admin.DeleteTopics(ctx, t.old)
	if err == nil {
		err = deleted[t.old].Err
	}
	if err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
		return fmt.Errorf("kafka: delete %s: %w", t.old, err)
	}
	return nil
}

func (t *trouble) shards() []int { return []int{t.poison, t.headless, t.backlog} }

func (t *trouble) isWell(shard int) bool { return !slices.Contains(t.shards(), shard) }

// well are the shards without trouble.
func (t *trouble) well() (shards []int) {
	for s := range t.stage.shards {
		if t.isWell(s) {
			shards = append(shards, s)
		}
	}
	return shards
}

// numbers are those of a shard's events.
func (t *trouble) numbers(shard int) numbering {
	return t.run.source.numbersOf(t.stage.shards, func(s int) bool { return s == shard })
}

// make lets the backlog be carried, and writes to the other shards as often as to each of those
// that are well, until the context of that name ends.
func (t *trouble) make(ctx, until context.Context) error {
	if _, err := control.RemovePause(ctx, t.run.backends.redis, t.stage.name, t.backlog); err != nil {
		return err
	}
	w, err := outbox.NewWriter(t.run.backends.redis, outbox.Config{Outbox: t.stage.name})
	if err != nil {
		return err
	}
	each := time.Duration(float64(len(t.well())) / float64(t.run.Rates[0]) * float64(time.Second))
	poison, headless := t.numbers(t.poison), t.numbers(t.headless)
	next := time.Now()
	var poisonAt time.Time
	for n := 0; retry.Until(until, next); n++ {
		e := t.run.source.event(poison.number(n))
		if now := time.Now(); !now.Before(poisonAt) {
			e.Topic, e.Time = t.old, poisoned
			poisonAt = now.Add(poisonEvery)
		}
		if err := t.write(ctx, w, e, &t.written[0]); err != nil {
			return err
		}
		if t.leaderless != "" {
			e := t.run.source.event(headless.number(n))
			e.Topic = t.leaderless
			if err := t.write(ctx, w, e, &t.written[1]); err != nil {
				return err
			}
		}
		next = next.Add(each)
	}
	return nil
}

func (t *trouble) write(ctx context.Context, w *outbox.Writer, e outbox.Event,
	written *atomic.Int64,
) error {
	_, err := w.Tx(ctx, e.AggregateID, func(tx *outbox.Tx) error { return tx.Append(e) })
	if err == nil {
		written.Add(1)
	}
	return err
}

// followEvery is how often the relay is asked how far it has come.
const followEvery = 100 * time.Millisecond

// follow notes when the relay begins to carry the backlog and when it has done it, until the
// context of that name ends.
func (t *trouble) follow(ctx, until context.Context, p *process) error {
	t.note(relay.ShardStatus{}, time.Now()) // see notYet
	for retry.Until(until, time.Now().Add(followEvery)) {
		a, err := p.ask(ctx, wordCost, eventCost)
		if err != nil {
			return err
		}
		if t.note(status(a, t.backlog), time.Now()) {
			return nil
		}
	}
	return nil
}

// note is true when nothing more is to be noted.
func (t *trouble) note(backlog relay.ShardStatus, now time.Time) (done bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	count := backlog.Position.Count
	if t.began.IsZero() && count > 0 {
		t.began = t.looked
	}
	t.looked = now
	if count < uint64(t.run.Entries) {
		return false
	}
	t.caught = now
	return true
}

// backlogLasted is when the backlog was carried, without an end if it still is; nil: it never was.
func (t *trouble) backlogLasted() *span {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.began.IsZero() {
		return nil
	}
	return &span{t.began, t.caught}
}

// status is what an answer says of a shard.
func status(a answer, shard int) relay.ShardStatus {
	for _, st := range a.Shards {
		if st.Shard == shard {
			return st
		}
	}
	return relay.ShardStatus{Shard: shard, State: relay.StateStarting}
}

// notYet is an error if the trouble has begun, so that the run without it would not be one.
func (t *trouble) notYet(ctx context.Context, p *process) error {
	a, err := p.ask(ctx, wordCost, eventCost)
	if err != nil {
		return err
	}
	if st := status(a, t.backlog); st.State != relay.StatePaused || st.Position.Count > 0 {
		return fmt.Errorf("shard %d is %s with %d of its entries delivered, though it was paused",
			t.backlog, st.State, st.Position.Count)
	}
	return nil
}

// state is how the relay sees the shards now. It is an error if one of them is not in the trouble
// it should be in.
func (t *trouble) state(ctx context.Context, p *process) ([]Trouble, error) {
	a, err := p.ask(ctx, wordCost, eventCost)
	if err != nil {
		return nil, err
	}
	of := func(shard int, what string, written int) Trouble {
		st := status(a, shard)
		return Trouble{
			Shard: shard, What: what, Written: written, Passed: int(st.Position.Count),
			State: st.State, Reason: st.Reason,
		}
	}
	poison := of(t.poison, "an event a second that the broker refuses", int(t.written[0].Load()))
	poison.DeadLetters = int(a.DeadLetters)
	all := []Trouble{poison}
	if t.leaderless != "" {
		headless := of(t.headless, "its partition has no leader", int(t.written[1].Load()))
		if headless.Passed > 0 {
			return nil, fmt.Errorf("shard %d has delivered %d events to a partition without a leader",
				t.headless, headless.Passed)
		}
		all = append(all, headless)
	}
	backlog := of(t.backlog, "a backlog", t.run.Entries)
	if d := t.backlogLasted(); d != nil && !d.to.IsZero() {
		after := d.to.Sub(d.from).Seconds()
		backlog.CaughtUp = &after
	}
	return append(all, backlog), nil
}

// Trouble is a shard in trouble, as the relay saw it when the run with trouble ended.
type Trouble struct {
	Shard   int    `json:"shard"`
	What    string `json:"what"`
	Written int    `json:"entries"`
	// Passed counts the entries that the relay has delivered or dead-lettered.
	Passed      int         `json:"passed"`
	DeadLetters int         `json:"dead_letters,omitempty"`
	State       relay.State `json:"state"`
	Reason      string      `json:"reason,omitempty"`
	// CaughtUp is how long the relay took for the backlog, in seconds; nil: it has not done it in the
	// time, or there was none.
	CaughtUp *float64 `json:"caught_up_after_seconds,omitempty"`
}
