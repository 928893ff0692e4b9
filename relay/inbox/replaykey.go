package inbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"
)

// step is one record that a replay applies.
type step struct {
	offset int64
	letter *Letter     // nil: it is gone
	record *kgo.Record // nil: the letter's is not loaded in this round
}

// replayKey applies what waits of a parked key, as far as it is loaded, and frees the key if that
// was all.
func (p *partition) replayKey(ctx context.Context, key string, mode ReplayMode, wanted []*Letter,
	loaded map[int64]*Letter,
) error {
	k, ok := p.parked[key]
	if !ok {
		return p.unwish(ctx, keyWish+key)
	}
	var letters []*Letter
	var steps []step
	for _, l := range wanted {
		if p.wishFor(l) != keyWish+key {
			continue
		}
		letters = append(letters, l)
		if l.Offset > k.Done {
			s, err := p.loadStep(l, loaded)
			if err != nil {
				return p.failWish(ctx, key, err)
			}
			steps = append(steps, s)
		}
	}
	whole := true
	if left := k.Count - k.Applied; int64(len(steps)) < left {
		var err error
		switch mode {
		case SkipMissing:
		case RefetchMissing:
			steps, whole, err = p.refetch(ctx, key, k, steps)
		default:
			return p.failWish(ctx, key,
				fmt.Errorf("%d of %d letters of the key are gone from the dead letters: they were dropped, "+
					"or Redis has lost a replay; "+
					"skip them, or have them fetched from the topic again", left-int64(len(steps)), left))
		}
		if err != nil {
			return err
		}
	}
	spared := map[int64]bool{}
	for _, s := range steps {
		if s.record == nil {
			return nil // the rest comes with the next round
		}
		done := p.parked[key]
		done.Done, done.Applied = s.offset, done.Applied+1
		partial, err := p.replayRecord(ctx, s.record, func(pipe redis.Pipeliner) {
			p.setParked(ctx, pipe, key, done)
		})
		var f *failure
		switch {
		case errors.As(err, &f):
			return p.failWish(ctx, key, err)
		case err != nil:
			return err
		}
		p.parked[key] = done
		spared[s.offset] = partial
	}
	if !whole {
		return nil
	}
	letters = slices.DeleteFunc(letters, func(l *Letter) bool { return spared[l.Offset] })
	if err := p.in.letters.drop(ctx, letters); err != nil {
		return err
	}
	return p.free(ctx, key)
}

// loadStep is a letter with its record, if that is loaded.
func (p *partition) loadStep(l *Letter, loaded map[int64]*Letter) (step, error) {
	s := step{offset: l.Offset, letter: l}
	full := loaded[l.Offset]
	if full == nil {
		return s, nil
	}
	var err error
	if s.record, err = full.load(); err != nil {
		return s, &failure{offset: l.Offset, err: err}
	}
	return s, nil
}

// refetch adds the records of a parked key that have no letter, from the topic itself. whole: these
// are all.
func (p *partition) refetch(ctx context.Context, key string, k parkedKey,
	steps []step,
) (merged []step, whole bool, err error) {
	log, err := p.openLog(ctx)
	if err != nil {
		return nil, false, err
	}
	scan, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	whole = true
	bytes := 0
	has := map[int64]bool{}
	for _, s := range steps {
		has[s.offset] = true
	}
	_, err = log.Scan(scan, max(k.First, k.Done+1), func(r *kgo.Record) {
		switch {
		case r.Offset > k.Last:
			cancel(errSeen)
		case r.Key == nil || string(r.Key) != key || has[r.Offset] || !whole:
		case bytes > replayBytes:
			whole = false
			cancel(errSeen)
		default:
			bytes += weight(r)
			steps = append(steps, step{offset: r.Offset, record: r})
		}
	})
	if err != nil && !errors.Is(context.Cause(scan), errSeen) {
		return nil, false, err
	}
	slices.SortFunc(steps, func(a, b step) int { return cmp.Compare(a.offset, b.offset) })
	if !whole { // what stands behind the last one that was fetched may have others before it
		last := int64(-1)
		for _, s := range steps {
			if s.letter == nil {
				last = s.offset
			}
		}
		steps = slices.DeleteFunc(steps, func(s step) bool { return s.offset > last })
	}
	return steps, whole, nil
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
