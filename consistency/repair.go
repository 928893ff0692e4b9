package consistency

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/names"
)

// Repair does what a plan says, in one Kafka transaction, after it has looked whether the plan
// still fits: each entry must be the one that was planned, its topic and partition too, and no
// topic may hold a record of it. It returns how many records were committed. An error that does not
// wrap ErrPlanStale leaves open whether the transaction was committed; the next audit tells.
func (a *Auditor) Repair(ctx context.Context, p *Plan) (int, error) {
	if p.V != 1 || p.Outbox != a.cfg.Outbox {
		return 0, fmt.Errorf("%w: it is of outbox %q and version %d", ErrPlanStale, p.Outbox, p.V)
	}
	if len(p.Send) == 0 {
		return 0, nil
	}
	s, err := a.open(nil)
	if err != nil {
		return 0, err
	}
	defer s.close()
	// The transactional id keeps two repairs apart: the one that begins later ends the earlier one,
	// and looks afterwards.
	producer, err := kgo.NewClient(
		append(append([]kgo.Opt(nil), a.cfg.Kafka...), kgo.TransactionalID(names.RepairID(a.cfg.Outbox)),
			kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionTimeout(time.Minute))...)
	if err != nil {
		return 0, fmt.Errorf("kafka: %w", err)
	}
	defer producer.Close()
	if _, _, err := producer.ProducerID(ctx); err != nil {
		return 0, fmt.Errorf("kafka: %w", err)
	}
	records, err := a.check(ctx, s, p)
	if err != nil {
		return 0, err
	}
	if err := producer.BeginTransaction(); err != nil {
		return 0, fmt.Errorf("kafka: %w", err)
	}
	if err := producer.ProduceSync(ctx, records...).FirstErr(); err != nil {
		// it ends by its time-out otherwise
		_ = producer.EndTransaction(context.WithoutCancel(ctx), kgo.TryAbort)
		return 0, fmt.Errorf("kafka: %w: nothing was committed", err)
	}
	if err := producer.EndTransaction(context.WithoutCancel(ctx), kgo.TryCommit); err != nil {
		return 0, fmt.Errorf("kafka: %w", err)
	}
	return len(records), nil
}

// check makes the records of a plan, if it still fits.
func (a *Auditor) check(ctx context.Context, s *store, p *Plan) ([]*kgo.Record, error) {
	c := a.planner(s)
	records := make([]*kgo.Record, 0, len(p.Send))
	planned := map[reference]bool{}
	for _, item := range p.Send {
		now, r, err := c.resend(ctx, item.Shard, item.Entry)
		var cannot cannotSendError
		if errors.As(err, &cannot) {
			return nil, fmt.Errorf("%w: %w", ErrPlanStale, err)
		} else if err != nil {
			return nil, err
		}
		if now != item {
			return nil, fmt.Errorf("%w: shard %d: entry %s, its topic or its partition is another one",
				ErrPlanStale, item.Shard, item.Entry)
		}
		if planned[reference{item.Shard, item.Entry}] {
			return nil, fmt.Errorf("%w: shard %d: entry %s is in it twice", ErrPlanStale, item.Shard,
				item.Entry)
		}
		planned[reference{item.Shard, item.Entry}] = true
		r.Headers = append(r.Headers, kgo.RecordHeader{
			Key:   headerRepair,
			Value: fmt.Appendf(nil, "%d", p.Run),
		})
		records = append(records, r)
	}
	return records, c.unsent(ctx, planned)
}

// unsent makes sure that no topic has a record of what is planned.
func (c *collector) unsent(ctx context.Context, planned map[reference]bool) error {
	if err := c.topics.add(ctx, []string{c.deadLetter}, c.watch); err != nil {
		return err
	}
	ends, err := c.decided(ctx)
	if err != nil {
		return err
	}
	for i, p := range c.topics.snapshot().partitions {
		var stale error
		err := c.readPartition(ctx, p, p.initial.start, ends[i],
			func(r *kgo.Record, ref reference) error {
				if planned[ref] {
					stale = fmt.Errorf("%w: shard %d: entry %s has a record by now, at %s/%d/%d",
						ErrPlanStale, ref.shard, ref.id, r.Topic, r.Partition, r.Offset)
					return errStop
				}
				return nil
			})
		if err := cmp.Or(stale, err); err != nil {
			return err
		}
	}
	return nil
}

// mostOpen is how long a repair waits for transactions of others. A relay's lasts 10 s at most,
// unless it is told otherwise.
const mostOpen = 20 * time.Second

// decided waits until all transactions have ended that were open when the topics were looked at:
// the record of an earlier repair of the same plan may be after their beginning, committed and out
// of sight, and would be sent again. It gives the ends of the partitions, by their index.
func (c *collector) decided(ctx context.Context) ([]int64, error) {
	topics := c.topics.snapshot()
	ends := make([]int64, len(topics.partitions))
	for began := c.now(); ; {
		now, err := c.logs.bounds(ctx, topics.readable())
		if err != nil {
			return nil, err
		}
		open := ""
		for i, p := range topics.partitions {
			ends[i] = max(ends[i], p.initial.end)
			if b := now[p.topic.name]; int(p.number) < len(b) {
				ends[i] = max(ends[i], b[p.number].end)
			}
			if ends[i] < p.initial.high {
				open = openTransaction(p, ends[i])
			}
		}
		if open == "" {
			return ends, nil
		}
		if c.now().Sub(began) > mostOpen {
			return nil, fmt.Errorf(
				"%s: whether an entry has come cannot be seen, and nothing was sent; try again when it has "+
					"ended", open)
		}
		if err := c.wait(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// openTransaction says why what is after an offset cannot be seen.
func openTransaction(p *partition, offset int64) string {
	return fmt.Sprintf("topic %s, partition %d: a transaction is open since offset %d", p.topic.name,
		p.number, offset)
}
