package testenv

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// Stillness watches that no shard is still without saying so: one that has had entries to
// deliver and has delivered none has to be in a state other than running, with a reason. It may be
// silent for no longer than a limit.
type Stillness struct {
	w     *Env
	limit time.Duration
	stop  context.CancelFunc
	done  chan struct{}

	shards  []motion
	found   []string
	looks   int
	longest time.Duration // of all stillness
	what    string        // was told during the longest
}

// lookEvery is how often the watch looks. Looking costs Redis one small pipeline.
const lookEvery = 500 * time.Millisecond

// WatchStillness begins to watch. The watch ends with End, or when the test ends.
func (w *Env) WatchStillness(limit time.Duration) *Stillness {
	w.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	s := &Stillness{
		w: w, limit: limit, stop: stop, done: make(chan struct{}),
		shards: make([]motion, w.Shards),
	}
	go func() {
		defer close(s.done)
		s.run(ctx)
	}()
	w.t.Cleanup(s.End)
	return s
}

// End ends the watch, and fails the test for what it found. It may be called more than once.
func (s *Stillness) End() {
	s.stop()
	<-s.done
	if s.looks == 0 {
		return
	}
	s.w.t.Logf("stillness: looked %d times; the longest was %s: %s", s.looks,
		s.longest.Round(100*time.Millisecond), s.what)
	for n, f := range s.found {
		if n == 10 {
			s.w.t.Errorf("%d more shards stood still without a reason", len(s.found)-n)
			break
		}
		s.w.t.Errorf("%s", f)
	}
	s.looks, s.found = 0, nil
}

func (s *Stillness) run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		// A machine that did not let the watch look did not let relays work either.
		if gap := now.Sub(last) - lookEvery; gap > lookEvery {
			for i := range s.shards {
				s.shards[i].skip(gap)
			}
		}
		last = now
		if err := s.look(ctx, now); err == nil {
			s.looks++
		}
	}
}

// look compares every shard's mirrored position with the end of its stream. Redis has both, and
// answers also when Kafka does not.
func (s *Stillness) look(ctx context.Context, now time.Time) error {
	streams := make([]*redis.XInfoStreamCmd, s.w.Shards)
	groups := make([]*redis.XInfoGroupsCmd, s.w.Shards)
	_, err := s.w.Redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for shard := range s.w.Shards {
			streams[shard] = p.XInfoStream(ctx, s.w.Stream(shard))
			groups[shard] = p.XInfoGroups(ctx, s.w.Stream(shard))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for shard := range s.w.Shards {
		end, err := outbox.ParseEntryID(streams[shard].Val().LastGeneratedID)
		if err != nil {
			return err
		}
		at, err := mirrored(groups[shard].Val())
		if err != nil {
			return err
		}
		if still := s.shards[shard].look(now, at, end); still > stillEnough {
			s.judge(ctx, now, shard, end, still)
		}
	}
	return nil
}

func mirrored(groups []redis.XInfoGroup) (outbox.EntryID, error) {
	for _, g := range groups {
		if g.Name == names.ConsumerGroup {
			return outbox.ParseEntryID(g.LastDeliveredID)
		}
	}
	return outbox.EntryID{}, errors.New("there is no consumer group")
}

// stillEnough is when a shard's status is asked for: a busy relay delivers in bursts.
const stillEnough = 2 * time.Second

// judge asks for the status of a shard that is still. Before it is found guilty the position in
// Kafka is read: the mirror may be what is still.
func (s *Stillness) judge(ctx context.Context, now time.Time, shard int, end outbox.EntryID,
	still time.Duration,
) {
	st, err := s.w.Status(ctx, shard)
	if err != nil {
		return
	}
	m := &s.shards[shard]
	if st.accounts(now) {
		m.heard = now
	}
	if silent := m.silent(now); silent > s.limit && !m.told {
		if p, ok := s.committed(ctx, shard); ok && m.look(now, p.Entry, end) < s.limit {
			return
		}
		// It may have moved, or told, while Kafka was asked.
		if st, err = s.w.Status(ctx, shard); err == nil && !st.accounts(time.Now()) {
			m.told = true
			s.found = append(s.found,
				fmt.Sprintf("shard %d has stood still at %s for %s, the last %s without a reason, %s was to "+
					"be delivered; %s",
					shard, m.at, still.Round(100*time.Millisecond), silent.Round(100*time.Millisecond), end, st))
		}
	}
	if still > s.longest {
		s.longest, s.what = still, fmt.Sprintf("shard %d, %s", shard, st)
	}
}

func (s *Stillness) committed(ctx context.Context, shard int) (relay.Position, bool) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	positions, err := relay.ReadPositions(ctx, s.w.KafkaDirect(), s.w.Outbox, s.w.Shards)
	p, ok := positions[shard]
	return p, err == nil && ok
}

// String is for messages.
func (st Status) String() string {
	if st.State == "" {
		return "no relay has told its state"
	}
	return fmt.Sprintf("its owner %s told %s ago: %s %s",
		st.Instance, time.Since(time.UnixMilli(st.AtMS)).Round(100*time.Millisecond), st.State, st.Reason)
}
