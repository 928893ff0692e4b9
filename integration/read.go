package integration

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ReadCommitted gives each committed record of the topics to fn: all that lies below the last
// stable offset each partition has at the moment of the call, per partition in order of offset. An
// error of fn ends the reading and is returned.
//
// An open transaction bounds what is read, and so does one whose commit was acknowledged a moment
// ago: the broker acknowledges before it has written the markers that make the records visible. To
// read all that was ever committed call [AwaitStable] first. Give ctx a deadline. opts are those of
// a client, at least its brokers.
func ReadCommitted(ctx context.Context, opts []kgo.Opt, fn func(*kgo.Record) error,
	topics ...string,
) error {
	ends, err := stableRanges(ctx, opts, topics)
	if err != nil || len(ends) == 0 {
		return err
	}
	from := map[string]map[int32]kgo.Offset{}
	for p, r := range ends {
		if from[p.topic] == nil {
			from[p.topic] = map[int32]kgo.Offset{}
		}
		from[p.topic][p.partition] = kgo.NewOffset().At(r.start)
	}
	opts = append(append([]kgo.Opt{}, opts...),
		kgo.ConsumePartitions(from),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// The markers at the end of transactions are counted too: what comes last may be one.
		kgo.KeepControlRecords(),
	)
	c, err := kgo.NewClient(opts...)
	if err != nil {
		return fmt.Errorf("read committed: %w", err)
	}
	defer c.Close()
	for len(ends) > 0 {
		fetches := c.PollFetches(ctx)
		for _, e := range fetches.Errors() {
			return fmt.Errorf("read committed: %s/%d: %w; %d partitions are not read to their end", e.Topic,
				e.Partition, e.Err, len(ends))
		}
		for it := fetches.RecordIter(); !it.Done(); {
			r := it.Next()
			p := partition{r.Topic, r.Partition}
			end, reading := ends[p]
			if !reading {
				continue
			}
			if r.Offset < end.end && !r.Attrs.IsControl() {
				if err := fn(r); err != nil {
					return err
				}
			}
			if r.Offset >= end.end-1 {
				delete(ends, p)
			}
		}
	}
	return nil
}

// AwaitStable waits until no transaction is open on the topics, that is until every last stable
// offset has reached what was the end of its partition at the moment of the call. What was
// committed before is then visible. A transaction whose producer died is open until its time-out.
func AwaitStable(ctx context.Context, opts []kgo.Opt, topics ...string) error {
	c, err := kgo.NewClient(opts...)
	if err != nil {
		return fmt.Errorf("await stable: %w", err)
	}
	defer c.Close()
	admin := kadm.NewClient(c)
	ends, err := listed(ctx, admin.ListEndOffsets, topics)
	if err != nil {
		return fmt.Errorf("await stable: end offsets: %w", err)
	}
	for {
		stable, err := listed(ctx, admin.ListCommittedOffsets, topics)
		if err != nil {
			return fmt.Errorf("await stable: last stable offsets: %w", err)
		}
		open := 0
		ends.Each(func(end kadm.ListedOffset) {
			if now, ok := stable.Lookup(end.Topic, end.Partition); !ok || now.Offset < end.Offset {
				open++
			}
		})
		if open == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("await stable: transactions are open on %d partitions: %w", open, ctx.Err())
		case <-time.After(25 * time.Millisecond):
		}
	}
}

type partition struct {
	topic     string
	partition int32
}

// offsetRange is start <= offset < end.
type offsetRange struct{ start, end int64 }

// stableRanges returns, for each partition that holds something, what lies between its start and
// its last stable offset.
func stableRanges(ctx context.Context, opts []kgo.Opt,
	topics []string,
) (map[partition]offsetRange, error) {
	c, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("read committed: %w", err)
	}
	defer c.Close()
	admin := kadm.NewClient(c)
	ends, err := listed(ctx, admin.ListCommittedOffsets, topics)
	if err != nil {
		return nil, fmt.Errorf("read committed: last stable offsets: %w", err)
	}
	starts, err := listed(ctx, admin.ListStartOffsets, topics)
	if err != nil {
		return nil, fmt.Errorf("read committed: first offsets: %w", err)
	}
	ranges := map[partition]offsetRange{}
	ends.Each(func(end kadm.ListedOffset) {
		start, ok := starts.Lookup(end.Topic, end.Partition)
		if ok && start.Offset < end.Offset {
			ranges[partition{end.Topic, end.Partition}] = offsetRange{start.Offset, end.Offset}
		}
	})
	return ranges, nil
}

// listed asks for offsets and turns an error of any partition into one of the whole. Errors that
// pass by themselves, such as those of a topic that its brokers have yet to hear of, get ten
// seconds.
func listed(ctx context.Context, ask func(context.Context, ...string) (kadm.ListedOffsets, error),
	topics []string,
) (kadm.ListedOffsets, error) {
	patience := time.After(10 * time.Second)
	for {
		offsets, err := ask(ctx, topics...)
		if err == nil {
			err = offsets.Error()
		}
		if !kerr.IsRetriable(err) {
			return offsets, err
		}
		select {
		case <-patience:
			return nil, err
		case <-ctx.Done():
			return nil, err
		case <-time.After(25 * time.Millisecond):
		}
	}
}
