package consistency

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

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
	mostSuspects int // bounds what is held of a shard in a round for a second look, a kind
}

// collector reads what a round needs of Redis and of Kafka. It returns what it has read and keeps
// nothing of it but the descriptions of topics.
type collector struct {
	settings
	streams streams
	logs    logs
	topics  *catalog
	key     [16]byte // of the digests
	wait    func(context.Context, time.Duration) error
	now     func() time.Time
	onPhase func(Phase) // nil: nobody is told
}

// collect reads what a round needs: the next entries of every shard, their records, and what the
// tiles that do not agree ask for. What it means is decided by compare.
func (c *collector) collect(ctx context.Context, before runState) (*collected, error) {
	entries, err := c.collectEntries(ctx, before)
	if err != nil {
		return nil, err
	}
	records, err := c.collectRecords(ctx, before, entries)
	if err != nil {
		return nil, err
	}
	sides := digest(entries, records)
	reached, err := c.collectReached(ctx, before, sides)
	if err != nil {
		return nil, err
	}
	sides.shards = withoutUndelivered(sides.shards, reached)
	if err := c.collectLooks(ctx, before, sides); err != nil {
		return nil, err
	}
	if sides.overtaken, err = c.collectOrder(ctx, sides); err != nil {
		return nil, err
	}
	if sides.audited, err = c.collectAudited(ctx, sides); err != nil {
		return nil, err
	}
	sides.topics = c.topics.snapshot()
	return sides, nil
}

// collectLooks looks into the tiles that do not agree: twice, because what the first look does not
// see may be on its way. Only a second look shows what there is to say.
func (c *collector) collectLooks(ctx context.Context, before runState,
	sides *collected,
) (err error) {
	if sides.mismatches, err = c.firstLooks(ctx, before, sides); err != nil {
		return err
	}
	sides.shards = recounted(sides.shards, sides.mismatches)
	if !slices.ContainsFunc(sides.mismatches, mismatch.suspicious) {
		return nil
	}
	c.begins(LookingAgain)
	if err := c.wait(ctx, c.settle-c.now().Sub(before.sampled)); err != nil {
		return err
	}
	if slices.ContainsFunc(sides.mismatches, mismatch.searched) {
		if sides.late, err = c.searchLate(ctx, sides); err != nil {
			return err
		}
	}
	if sides.mismatches, err = c.secondLooks(ctx, before, sides); err != nil {
		return err
	}
	sides.compaction, err = c.collectCompaction(ctx, sides)
	return err
}

// each calls fn for numbers below n, some at once.
func (c *collector) each(ctx context.Context, n int, fn func(context.Context, int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, c.workers))
	for i := range n {
		g.Go(func() (err error) {
			defer caught(&err)
			return fn(ctx, i)
		})
	}
	return g.Wait()
}

// reference says which entry a record is of; ours is false for a record of something else.
func (c *collector) reference(p *partition, r *kgo.Record) (ref reference, ours bool, err error) {
	if p.topic.dead {
		return deadEntryOf(r, c.outbox+"/")
	}
	return entryOf(r, c.outbox+"/")
}

// readPartition gives the records of this outbox in [from, to) of a partition to fn, each with the
// entry that it names. Records that name none are left out.
func (c *collector) readPartition(ctx context.Context, p *partition, from, to int64,
	fn func(*kgo.Record, reference) error,
) error {
	err := c.logs.read(ctx, p.topic.name, p.number, from, to, func(r *kgo.Record) error {
		ref, ours, err := c.reference(p, r)
		if !ours || err != nil {
			return nil //nolint:nilerr // collectRecords reports it
		}
		return fn(r, ref)
	})
	return p.failed(err)
}

// failed says where an error happened.
func (p *partition) failed(err error) error {
	if err != nil {
		return fmt.Errorf("topic %s, partition %d: %w", p.topic.name, p.number, err)
	}
	return nil
}
