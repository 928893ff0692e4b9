package consistency

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// engine is one run of an audit: what decides, between the two systems. It goes in rounds, so that memory is bounded by the size
// of a round and a run that is killed goes on at the last finished one.
//
// A round reads some tiles of entries of every shard, then the records of every partition up to where all of those entries
// should have been seen, and compares the tiles. Tiles that do not agree are read again, entry by entry: what that
// finds are suspicions. After the settling time they are looked at once more, and what still stands is a finding.
type engine struct {
	settings
	streams streams
	logs    logs
	wait    func(context.Context, time.Duration) error
	now     func() time.Time

	state  *State
	report *Report
	save   func(context.Context, []Tile) error

	onPhase func(Phase) // nil: nobody is told

	key      [16]byte
	shards   []*shardRun
	looked   time.Time // when the ends of the partitions were sampled
	waited   bool      // a second time, for what was not delivered
	heldBack string    // why records that stood in Kafka when the ends were sampled cannot be seen yet
	gaveUp   bool
	holed    bool // records were gone from Kafka before they could be read

	mu         sync.Mutex // guards what follows while shards are read
	topics     map[string]*knownTopic
	partitions []*partition
}

// settings are what the comparison depends on, beside the two systems.
type settings struct {
	outbox     string
	route      string
	format     Format
	source     string
	tombstones bool
	deadLetter string
	watch      []string // patterns of further topics
	settle     time.Duration
	outside    bool // trust no position
	from, to   EntryID

	tileEntries  int64
	roundEntries int64 // by shard
	workers      int
	mostSuspects int
}

type shardRun struct {
	number int
	*shardPoint
	sample    streamState // taken when the run began
	watermark EntryID
	position  EntryID
	first     bool // nothing of it was audited before
	done      bool
	begin     EntryID // point when the run began
	entries   int64
	records   int64
	pending   int64
	chance    bool    // it was waited for a second time, from here:
	chanceAt  EntryID // its point then
	inTime    int64   // entries compared until then
	greatest  EntryID // of all entries of which a record was seen

	// Of the round:
	upTo       EntryID
	anchor     string
	mu         sync.Mutex
	tiles      tiles
	stragglers []found
	orders     []orderSuspect
	reached    EntryID // the greatest entry with a record
	repaired   int64
}

// orderSuspect is a record that stands behind one of a later entry of its shard, whose keys may differ.
type orderSuspect struct {
	partition int
	offset    int64
	id        EntryID
	key       uint64
}

var errTooMany = errors.New("too many records are out of order or appear twice to be listed; see the tiles, and narrow the range")

// run compares everything up to the watermarks. What it could not do is in the report; an error means that ctx ended or
// that the run cannot begin.
func (e *engine) run(ctx context.Context, shards int) error {
	if _, err := rand.Read(e.key[:]); err != nil {
		return err
	}
	e.topics = map[string]*knownTopic{}
	if len(e.state.Carried) > 0 {
		e.report.add(e.state.Carried...)
	}
	if err := e.begin(ctx, shards); err != nil {
		return e.giveUp(ctx, err)
	}
	e.begins(Settling)
	if err := e.wait(ctx, e.settle); err != nil {
		return err
	}
	if err := e.openLogs(ctx); err != nil {
		return e.giveUp(ctx, err)
	}
	for e.open() {
		e.begins(Comparing)
		before := e.report.mark()
		compared, err := e.round(ctx)
		if err != nil {
			e.report.forget(before) // the next run compares the round again
			return e.giveUp(ctx, err)
		}
		e.keep()
		if err := e.save(ctx, compared); err != nil {
			return e.giveUp(ctx, err)
		}
		if !e.open() {
			if err := e.secondChance(ctx); err != nil {
				return e.giveUp(ctx, err)
			}
		}
	}
	if err := e.above(ctx); err != nil {
		return e.giveUp(ctx, err)
	}
	if err := e.addUp(); err != nil {
		return e.giveUp(ctx, err)
	}
	e.judgeAwaited()
	e.state.Carried = nil
	e.finish()
	return nil
}

// giveUp ends the run with what is known, and with the reason why that is not all.
func (e *engine) giveUp(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var p *panicError
	if errors.As(err, &p) {
		return err
	}
	e.gaveUp = true
	e.report.incomplete("%v", err)
	e.finish()
	return nil
}

func (e *engine) finish() {
	for _, s := range e.shards {
		s.Unverified += e.report.unverified[s.number]
		e.report.Range = append(e.report.Range, ShardRange{
			Shard: s.number, After: s.begin, To: s.Point, Watermark: s.watermark, Entries: s.entries, Records: s.records, Pending: s.pending, Since: s.Since,
			FromStart: s.FromStart, Unverified: s.Unverified, Missing: len(s.Lost),
		})
		e.report.Entries += s.entries
		e.report.Records += s.records
		if n := s.entries - s.inTime; e.waited && n > 0 && s.chance {
			e.report.add(Finding{
				Kind: Late, Shard: s.number, Entry: s.chanceAt, Last: s.Point, Count: n, Partition: -1, Offset: -1,
				Detail: fmt.Sprintf("%d entries had no record, and neither had any later one, %s after the last of them was written; they have now", n, e.settle),
			})
		}
		if s.pending > 0 {
			e.report.incomplete("shard %d: %d entries up to the watermark %s have no record, and neither has any later one: not delivered yet", s.number, s.pending, s.watermark)
		}
	}
	e.report.conclude()
}

func (e *engine) open() bool {
	return slices.ContainsFunc(e.shards, func(s *shardRun) bool { return !s.done })
}

// describe gives tiles as they are kept.
func (e *engine) describe(shard int, t *tile) Tile {
	out := Tile{
		Run: e.report.Run, Shard: shard, After: t.after, To: t.to, Entries: t.entries, Records: t.records, Digest: t.want, Key: hex.EncodeToString(e.key[:]), Agrees: t.agrees(),
	}
	if t.got != t.want {
		got := t.got
		out.Got = &got
	}
	for i, s := range t.spans {
		if out.Offsets == nil {
			out.Offsets = map[string][2]int64{}
		}
		p := e.partitions[i]
		out.Offsets[fmt.Sprintf("%s/%d", p.topic.name, p.number)] = [2]int64{s[0].first, s[len(s)-1].last}
	}
	return out
}

// each calls fn for numbers below n, some at once.
func (e *engine) each(ctx context.Context, n int, fn func(context.Context, int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, e.workers))
	for i := range n {
		g.Go(func() (err error) {
			defer caught(&err)
			return fn(ctx, i)
		})
	}
	return g.Wait()
}
