package consistency

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
)

// audit compares everything up to the watermarks and puts what it finds into the report. It goes in
// rounds, so that memory is bounded by the size of a round, and saves its state after each: a run
// that is killed goes on at the last finished one.
//
// It returns the state to be kept, which is nil if a run that trusts no earlier one has not come to
// the end of a round. What could not be compared is in the report; an error means that ctx ended or
// that the audit has failed by a mistake of its own.
func (c *collector) audit(
	ctx context.Context, before state, fresh bool, report *Report, save saveFunc,
) (*state, error) {
	r := &run{collector: *c, state: before, report: report, save: save}
	if !fresh {
		r.kept = &before
	}
	report.add(before.Carried...)
	err := r.rounds(ctx)
	var p *panicError
	switch {
	case err == nil:
		return r.end(), nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.As(err, &p):
		return nil, err
	}
	report.incomplete("%v", err)
	return r.giveUp(), nil
}

// saveFunc keeps the state after a round, with the tiles that the round has compared.
type saveFunc func(context.Context, state, []Tile) error

// run is where an audit is between two rounds. Only its own methods, one after the other, set it:
// what a round has read and decided comes to it as a value.
type run struct {
	collector
	state  state // with which the run began, or that of the last round
	now    runState
	report *Report
	save   saveFunc
	kept   *state // as it was saved last, if what it carries is in the report
}

func (r *run) rounds(ctx context.Context) (err error) {
	shards, notes, err := r.begin(ctx, r.state.Shards)
	r.now.shards = shards
	r.report.note(notes...)
	if err != nil {
		return err
	}
	r.begins(Settling)
	if err := r.wait(ctx, r.settle); err != nil {
		return err
	}
	restarted := slices.ContainsFunc(shards, func(s shardRun) bool { return s.first })
	r.topics = newCatalog(r.logs, r.deadLetter, len(shards), r.state.Topics, restarted)
	r.now, err = r.open(ctx, r.now)
	r.report.note(r.topics.takeNotes()...)
	if err != nil {
		return err
	}
	for waited := false; r.now.open(); {
		if err := r.round(ctx); err != nil {
			return err
		}
		if r.now.open() || waited || !r.now.undelivered() {
			continue
		}
		waited = true
		if r.now, err = r.waitAgain(ctx, r.now); err != nil {
			return err
		}
	}
	return r.tips(ctx)
}

// round compares the next entries of every shard.
func (r *run) round(ctx context.Context) error {
	r.begins(Comparing)
	sides, err := r.collect(ctx, r.now)
	r.report.note(r.topics.takeNotes()...)
	if err != nil {
		return err // the next run compares the round again
	}
	out, err := compare(r.settings, r.now, sides)
	if err != nil {
		return err
	}
	r.now = out.next
	r.report.addRound(out)
	r.state = r.state.after(r.now, r.topics.snapshot(), r.report.Findings)
	if err := r.save(ctx, r.state, r.describe(out.tiles)); err != nil {
		return err
	}
	kept := r.state
	r.kept = &kept
	return nil
}

// tips asks again for the last entries of streams of which Kafka has a record that is above.
func (r *run) tips(ctx context.Context) error {
	for _, s := range r.now.shards {
		if !s.sample.exists || !s.sample.last.Less(s.greatest) {
			continue
		}
		now, err := r.streams.state(ctx, s.number)
		if err != nil {
			return err
		}
		if why := aboveStream(s, now); why != "" {
			r.report.note(why)
		}
	}
	return nil
}

// end is the state after a run that has come to its watermarks, or to what is not delivered.
func (r *run) end() *state {
	now, holes := r.now.clone(), r.topics.snapshot().holes()
	for i, s := range now.shards {
		s, findings, notes := judgeCounters(s, holes)
		r.report.add(findings...)
		r.report.note(notes...)
		now.shards[i] = s
	}
	for i, s := range now.shards {
		s, late := judgeAwaited(r.settings, s, r.report.Findings)
		r.report.add(late...)
		now.shards[i] = s
	}
	now.shards = r.report.addRanges(r.settings, now.shards)
	r.report.conclude()
	final := r.state
	final.Shards, final.Carried = pointsOf(now.shards), nil
	return &final
}

// giveUp is the state after a run that could not go on: that of the last finished round, but for
// what the report has told.
func (r *run) giveUp() *state {
	r.report.addRanges(r.settings, r.now.shards)
	r.report.conclude()
	if r.kept == nil {
		return nil
	}
	told := r.kept.told()
	return &told
}

// describe gives tiles as they are kept.
func (r *run) describe(tiles []comparedTile) []Tile {
	partitions := r.topics.snapshot().partitions
	out := make([]Tile, len(tiles))
	for i := range tiles {
		t := &tiles[i]
		x := Tile{
			Run: r.report.Run, Shard: t.shard, After: t.after, To: t.to,
			Entries: t.entries, Records: t.records, Digest: t.want,
			Key: hex.EncodeToString(r.key[:]), Agrees: t.agrees(), slot: t.slot,
		}
		if t.got != t.want {
			x.Got = &t.got
		}
		for _, in := range t.spans {
			if x.Offsets == nil {
				x.Offsets = map[string][2]int64{}
			}
			p := partitions[in.partition]
			first, last := in.spans[0].first, in.spans[len(in.spans)-1].last
			x.Offsets[fmt.Sprintf("%s/%d", p.topic.name, p.number)] = [2]int64{first, last}
		}
		out[i] = x
	}
	return out
}

// begins tells that a phase begins.
func (c *collector) begins(p Phase) {
	if c.onPhase != nil {
		c.onPhase(p)
	}
}
