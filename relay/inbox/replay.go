package inbox

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/outbox"
)

// Replays are wishes of operators in a hash beside the position. The owner of the partition carries them out between two
// transactions, with the handler that it has, so that nothing else takes effect meanwhile.
//
//	field "key:<key>"        the parked key: its letters in their order, then the key is free
//	field "offset:<offset>"  one dead letter, by itself
//
// A letter takes effect in one EXEC with a note that it did: parkedKey.Done, or the wish's own value. Its tombstone is written
// after that, and the wish removed last. A crash in between repeats only what is idempotent.
const (
	keyWish    = "key:"
	offsetWish = "offset:"

	wished        = "wanted"
	wishedPartial = "despite-missing" // some letters of the key are gone, which is accepted
	wishDone      = "applied"
)

// replayBytes bounds the values that are in memory at once.
const replayBytes = 8 << 20

// replayWanted carries out what is wished.
func (p *partition) replayWanted(ctx context.Context) error {
	wishes, err := p.in.cfg.Redis.HGetAll(ctx, p.keys.replay).Result()
	if err != nil {
		return fmt.Errorf("redis: HGETALL %s: %w", p.keys.replay, err)
	}
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
	full, err := p.in.letters.read(ctx, func(l *Letter) bool { return l.TopicID == p.pos.Topic && chosen[l.Ref()] })
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
			err = p.replayKey(ctx, key, value == wishedPartial, wanted, loaded)
		} else {
			err = p.replayOffset(ctx, wish, value, wanted, loaded)
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
	if k, ok := p.parked[l.Key]; ok && l.Parked && l.HasKey && l.Offset >= k.First && l.Offset <= k.Last {
		return keyWish + l.Key
	}
	return offsetWish + strconv.FormatInt(l.Offset, 10)
}

// replayKey applies the letters of a parked key that are loaded, and frees the key if those were all.
func (p *partition) replayKey(ctx context.Context, key string, despiteMissing bool, wanted []*Letter, loaded map[int64]*Letter) error {
	k, ok := p.parked[key]
	if !ok {
		return p.unwish(ctx, keyWish+key)
	}
	var letters []*Letter
	due := int64(0)
	for _, l := range wanted {
		if p.wishFor(l) != keyWish+key {
			continue
		}
		letters = append(letters, l)
		if l.Offset > k.Done {
			due++
		}
	}
	if left := k.Count - k.Applied; due < left && !despiteMissing {
		return p.failWish(ctx, key, fmt.Errorf("%d of %d letters of the key are gone from the dead letters: ask for a replay despite missing letters to go on without them", left-due, left))
	}
	spared := map[int64]bool{}
	for _, l := range letters {
		if l.Offset <= p.parked[key].Done {
			continue
		}
		full := loaded[l.Offset]
		if full == nil {
			return nil // the rest comes with the next round
		}
		partial, err := p.replayLetter(ctx, full, func(pipe redis.Pipeliner) {
			done := p.parked[key]
			done.Done, done.Applied = l.Offset, done.Applied+1
			p.setParked(ctx, pipe, key, done)
		})
		var f *failure
		switch {
		case errors.As(err, &f):
			return p.failWish(ctx, key, err)
		case err != nil:
			return err
		}
		done := p.parked[key]
		done.Done, done.Applied = l.Offset, done.Applied+1
		p.parked[key] = done
		spared[l.Offset] = partial
	}
	var gone []*Letter
	for _, l := range letters {
		if !spared[l.Offset] {
			gone = append(gone, l)
		}
	}
	if err := p.in.letters.drop(ctx, gone); err != nil {
		return err
	}
	return p.free(ctx, key)
}

// replayOffset applies one letter.
func (p *partition) replayOffset(ctx context.Context, wish, value string, wanted []*Letter, loaded map[int64]*Letter) error {
	offset, err := strconv.ParseInt(strings.TrimPrefix(wish, offsetWish), 10, 64)
	var letter *Letter
	for _, l := range wanted {
		if err == nil && l.Offset == offset && p.wishFor(l) == wish {
			letter = l
		}
	}
	if letter == nil {
		p.log.Warn("a dead letter that is to be replayed is not there, or waits behind its parked key", "wish", wish)
		return p.unwish(ctx, wish)
	}
	partial := false
	if value != wishDone {
		full := loaded[offset]
		if full == nil {
			return nil
		}
		partial, err = p.replayLetter(ctx, full, func(pipe redis.Pipeliner) { pipe.HSet(ctx, p.keys.replay, wish, wishDone) })
		var f *failure
		switch {
		case errors.As(err, &f):
			p.log.Error("a dead letter cannot be replayed", "offset", offset, "error", oneLine(err.Error()))
			return p.unwish(ctx, wish)
		case err != nil:
			return err
		}
	}
	if !partial {
		if err := p.in.letters.drop(ctx, []*Letter{letter}); err != nil {
			return err
		}
	}
	return p.unwish(ctx, wish)
}

// replayLetter has a letter take effect, with note in the same EXEC. partial: some of its commands failed, so that the letter
// stands again, with that reason. A failure is a *failure.
func (p *partition) replayLetter(ctx context.Context, l *Letter, note func(redis.Pipeliner)) (partial bool, err error) {
	r, err := l.load()
	if err != nil {
		return false, &failure{offset: l.Offset, err: err}
	}
	for attempt := 0; ; attempt++ {
		partial, err = p.replayRecord(ctx, r, note)
		if !errors.Is(err, errConflict) || attempt == 10 {
			return partial, err
		}
	}
}

func (p *partition) replayRecord(ctx context.Context, r *kgo.Record, note func(redis.Pipeliner)) (partial bool, err error) {
	err = p.watch(ctx, func(conn *redis.Tx) error {
		t := &transaction{p: p, soft: ctx, hard: ctx, conn: conn, scratch: conn.TxPipeline(), replaying: true}
		if err := t.recognise(); err != nil {
			return err
		}
		cmds, err := t.handle(r)
		if err != nil {
			return err
		}
		t.records = []*kgo.Record{r}
		t.cmds, t.owners, t.appended, t.extra = cmds, make([]int, len(cmds)), append([]*outbox.Appended(nil), t.fresh...), note
		err = t.commit()
		partial = t.partial
		return err
	})
	return partial, err
}

// free ends the parking of a key.
func (p *partition) free(ctx context.Context, key string) error {
	err := p.note(ctx, func(pipe redis.Pipeliner) {
		pipe.HDel(ctx, p.keys.parked, key)
		pipe.HDel(ctx, p.keys.replay, keyWish+key)
	})
	if err == nil {
		delete(p.parked, key)
		p.tracker.committed(p.pos, len(p.parked))
		p.log.Info("a parked key is free again")
	}
	return err
}

// failWish gives a wish up and says why. The key stays parked, from the letter on that failed.
func (p *partition) failWish(ctx context.Context, key string, why error) error {
	k := p.parked[key]
	k.Detail = oneLine("replay: " + why.Error())
	p.log.Error("a parked key cannot be replayed, it stays parked", "error", oneLine(why.Error()))
	err := p.note(ctx, func(pipe redis.Pipeliner) {
		p.setParked(ctx, pipe, key, k)
		pipe.HDel(ctx, p.keys.replay, keyWish+key)
	})
	if err == nil {
		p.parked[key] = k
	}
	return err
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

// rewind makes dead letters and parked keys what they are when the position goes back: by a Redis that has lost its last writes, or
// by a reset. The letters of records that are about to take effect again are dropped; those that fail again are written again.
func (p *partition) rewind(ctx context.Context) error {
	letters, err := p.in.letters.read(ctx, func(*Letter) bool { return false })
	if err != nil {
		return err
	}
	var void []*Letter
	waiting := map[string]int64{} // letters that still wait, by key
	for _, l := range p.own(letters) {
		if l.Offset >= p.pos.Next {
			void = append(void, l)
		} else if k, ok := p.parked[l.Key]; ok && l.Parked && l.HasKey && l.Offset > k.Done {
			waiting[l.Key]++
		}
	}
	if len(void) > 0 {
		p.log.Warn("dead letters of records that take effect again are dropped", "letters", len(void))
	}
	if err := p.in.letters.drop(ctx, void); err != nil {
		return err
	}
	for key, k := range p.parked {
		if k.Last < p.pos.Next {
			continue
		}
		if k.First >= p.pos.Next {
			if err := p.free(ctx, key); err != nil {
				return err
			}
			continue
		}
		k.Last, k.Count = p.pos.Next-1, k.Applied+waiting[key]
		if err := p.note(ctx, func(pipe redis.Pipeliner) { p.setParked(ctx, pipe, key, k) }); err != nil {
			return err
		}
		p.parked[key] = k
	}
	return nil
}
