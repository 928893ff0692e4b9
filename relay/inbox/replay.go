package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/kafkalog"
	"github.com/sluice-outbox/sluice/outbox"
)

// Replays are wishes of operators in a hash beside the position. The owner of the partition carries
// them out between two transactions, with the handler that it has, so that nothing else takes
// effect meanwhile.
//
//	field "key:<key>"        the parked key: its letters in their order, then the key is free
//	field "offset:<offset>"  one dead letter, by itself
//
// A letter takes effect in one EXEC with a note that it did: parkedKey.Done, or the wish's own
// value. Its tombstone is written after that, and the wish removed last. A crash in between repeats
// only what is idempotent.
const (
	keyWish    = "key:"
	offsetWish = "offset:"

	wishDone = "applied"
)

// ReplayMode says what happens to letters of a parked key that are gone from the dead letters:
// because they were dropped, or because Redis has lost its last writes, a replay among them whose
// letters had been ended.
type ReplayMode string

// The modes.
const (
	// RefuseMissing applies nothing then, and says so.
	RefuseMissing ReplayMode = "wanted"
	// SkipMissing goes on without them.
	SkipMissing ReplayMode = "skip-missing"
	// RefetchMissing takes them from their topic, as far as it still has them.
	RefetchMissing ReplayMode = "refetch-missing"
)

// replayBytes bounds the values that are in memory at once.
const replayBytes = 8 << 20

// look asks for what is wished, and whether the position is still this instance's. A partition to
// which nothing comes would not notice otherwise that Redis has gone back.
func (p *partition) look(ctx context.Context) (wishes map[string]string, err error) {
	var position *redis.StringCmd
	var replay *redis.MapStringStringCmd
	_, err = p.in.cfg.Redis.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		position, replay = pipe.Get(ctx, p.keys.position), pipe.HGetAll(ctx, p.keys.replay)
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("redis: position and wishes of %s: %w", place(p.topic, p.number), err)
	}
	return replay.Val(), p.recognise(position.Val())
}

// replayWanted carries out what is wished.
func (p *partition) replayWanted(ctx context.Context, wishes map[string]string) error {
	if len(wishes) == 0 {
		return nil
	}
	index, err := p.in.letters.read(ctx, func(*Letter) bool { return false })
	if err != nil {
		return err
	}
	var wanted []*Letter
	for _, l := range p.own(index) {
		if wishes[p.wishFor(l)] != "" {
			wanted = append(wanted, l)
		}
	}
	chosen := map[string]bool{}
	bytes := 0
	for _, l := range wanted {
		if bytes += l.Bytes; bytes > replayBytes && len(chosen) > 0 {
			break
		}
		chosen[l.Ref()] = true
	}
	full, err := p.in.letters.read(ctx, func(l *Letter) bool {
		return l.TopicID == p.pos.Topic && chosen[l.Ref()]
	})
	if err != nil {
		return err
	}
	loaded := map[int64]*Letter{}
	for _, l := range p.own(full) {
		if chosen[l.Ref()] {
			loaded[l.Offset] = l
		}
	}
	for wish, value := range wishes {
		if key, ok := strings.CutPrefix(wish, keyWish); ok {
			err = p.replayKey(ctx, key, ReplayMode(value), wanted, loaded)
		} else {
			err = p.replayOffset(ctx, wish, value, p.own(index), loaded)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// own are the letters of this partition.
func (p *partition) own(letters []*Letter) []*Letter {
	var own []*Letter
	for _, l := range letters {
		if l.Topic == p.topic && l.Partition == p.number && l.TopicID == p.pos.Topic {
			own = append(own, l)
		}
	}
	return own
}

// wishFor names the wish that a letter would be replayed by.
func (p *partition) wishFor(l *Letter) string {
	if k, ok := p.parked[l.Key]; ok && l.Parked && l.HasKey && l.Offset >= k.First &&
		l.Offset <= k.Last {
		return keyWish + l.Key
	}
	return offsetWish + strconv.FormatInt(l.Offset, 10)
}

// openLog opens the partition's log on a leader that is not deposed.
func (p *partition) openLog(ctx context.Context) (*kafkalog.Log, error) {
	found, err := kafkalog.Leaders(ctx, p.in.client, p.topic)
	if err != nil {
		return nil, err
	}
	return kafkalog.Open(p.in.client, found[p.topic], int(p.number), kgo.ReadCommitted())
}

// replayOffset applies one letter. If it is gone although nothing says that it was applied, Redis
// has lost its replay: the record is taken from the topic.
func (p *partition) replayOffset(ctx context.Context, wish, value string, own []*Letter,
	loaded map[int64]*Letter,
) error {
	offset, err := strconv.ParseInt(strings.TrimPrefix(wish, offsetWish), 10, 64)
	if err != nil {
		return p.unwish(ctx, wish)
	}
	at := slices.IndexFunc(own, func(l *Letter) bool { return l.Offset == offset })
	if at >= 0 && p.wishFor(own[at]) != wish {
		p.log.Warn("a dead letter waits behind its parked key: replay the key", "offset", offset)
		return p.unwish(ctx, wish)
	}
	partial := false
	if value != wishDone {
		s := step{offset: offset}
		if at >= 0 {
			s, err = p.loadStep(own[at], loaded)
		} else {
			s.record, err = p.fetchOne(ctx, offset)
		}
		if s.record == nil && err == nil {
			return nil // it comes with the next round
		}
		if err == nil {
			partial, err = p.replayRecord(ctx, s.record, func(pipe redis.Pipeliner) {
				pipe.HSet(ctx, p.keys.replay, wish, wishDone)
			})
		}
		var f *failure
		switch {
		case errors.As(err, &f):
			p.log.Error("a dead letter cannot be replayed", "offset", offset, "error", oneLine(err.Error()))
			return p.unwish(ctx, wish)
		case err != nil:
			return err
		}
	}
	if at >= 0 && !partial {
		if err := p.in.letters.drop(ctx, own[at:at+1]); err != nil {
			return err
		}
	}
	return p.unwish(ctx, wish)
}

// fetchOne fetches one record of the partition. One that is gone is a *failure.
func (p *partition) fetchOne(ctx context.Context, offset int64) (*kgo.Record, error) {
	log, err := p.openLog(ctx)
	if err != nil {
		return nil, err
	}
	start, err := log.Start(ctx)
	if err != nil {
		return nil, err
	}
	var r *kgo.Record
	if offset >= start && offset < p.pos.Next {
		if r, err = log.At(ctx, offset); err != nil {
			return nil, err
		}
	}
	if r == nil || r.Offset != offset {
		return nil, &failure{
			offset: offset,
			err:    errors.New("it is neither among the dead letters nor in the topic any more"),
		}
	}
	return r, nil
}

// replayRecord has a record take effect, with note in the same EXEC. partial: some of its commands
// failed, so that its letter stands again, with that reason. What the record fails by is a
// *failure.
func (p *partition) replayRecord(ctx context.Context, r *kgo.Record,
	note func(redis.Pipeliner),
) (partial bool, err error) {
	for attempt := 0; ; attempt++ {
		partial, err = p.replayOnce(ctx, r, note)
		if !errors.Is(err, errConflict) || attempt == 10 {
			return partial, err
		}
	}
}

func (p *partition) replayOnce(ctx context.Context, r *kgo.Record,
	note func(redis.Pipeliner),
) (partial bool, err error) {
	err = p.watch(ctx, func(conn *redis.Tx) error {
		t := &transaction{
			p: p, soft: ctx, hard: ctx, conn: conn, scratch: conn.TxPipeline(),
			replaying: true,
		}
		if err := t.recognise(); err != nil {
			return err
		}
		cmds, err := t.handle(r)
		if err != nil {
			return err
		}
		t.records = []*kgo.Record{r}
		t.cmds, t.owners, t.appended, t.extra = cmds, make([]int, len(cmds)),
			append([]*outbox.Appended(nil), t.fresh...), note
		err = t.commit()
		partial = t.partial
		return err
	})
	return partial, err
}

// unwish removes a wish about which there is nothing to do any more.
func (p *partition) unwish(ctx context.Context, wish string) error {
	return p.note(ctx, func(pipe redis.Pipeliner) { pipe.HDel(ctx, p.keys.replay, wish) })
}

// note changes what stands beside the position, under WATCH on it.
func (p *partition) note(ctx context.Context, extra func(redis.Pipeliner)) error {
	return p.watch(ctx, func(conn *redis.Tx) error {
		t := &transaction{p: p, soft: ctx, hard: ctx, conn: conn, replaying: true, extra: extra}
		if err := t.recognise(); err != nil {
			return err
		}
		return t.commit()
	})
}
