package inbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/kafkalog"
)

// check holds the position against what Kafka has, before anything is fetched. Its answers come
// from leaders that are not deposed: a halt is a serious thing to say.
func (p *partition) check(ctx context.Context) error {
	found, err := kafkalog.Leaders(ctx, p.in.client, p.topic)
	if err != nil {
		return err
	}
	t := found[p.topic]
	switch {
	case t == nil:
		return p.halt(-1,
			"the topic does not exist any more: what it had behind the position is lost; create it and "+
				"reset the partition (Admin.PlanReset)", p.pos.Topic.String(), "no topic")
	case t.Err != nil:
		return fmt.Errorf("kafka: topic %s: %w", p.topic, t.Err)
	case p.pos.Topic.differs(t.ID):
		return p.halt(-1,
			"the topic was deleted and made again: the position says nothing about the new one; reset "+
				"the partition (Admin.PlanReset)",
			"topic ID "+p.pos.Topic.String(), TopicID(t.ID).String())
	case int(p.number) >= len(t.Partitions):
		return p.halt(-1, "the topic no longer has this partition", fmt.Sprintf("partition %d", p.number),
			fmt.Sprintf("%d partitions", len(t.Partitions)))
	case len(t.Partitions)%p.layout.Slots != 0 && p.in.cfg.OnPartitionsAdded == HaltOnChange:
		return p.halt(-1,
			"the slots of the inbox no longer divide the partitions of the topic: the state of a key "+
				"would be looked for under another tag; "+
				"move the state to a new inbox, or set on_partitions_added to continue if no key is built "+
				"with StateKey",
			fmt.Sprintf("a multiple of %d partitions", p.layout.Slots), fmt.Sprint(len(t.Partitions)))
	}
	log, err := kafkalog.Open(p.in.client, t, int(p.number), kgo.ReadCommitted())
	if err != nil {
		return err
	}
	start, err := log.Start(ctx)
	if err != nil {
		return err
	}
	end, err := log.Latest(ctx)
	if err != nil {
		return err
	}
	switch {
	case p.pos.Next < start && p.raw == "":
		return p.halt(-1,
			"there is no position in Redis, and Kafka no longer has all records from where the inbox "+
				"begins: "+
				"what is missing cannot be applied; reset the partition (Admin.PlanReset), or set "+
				"Config.Start to earliest",
			fmt.Sprintf("offset %d", p.pos.Next), fmt.Sprintf("a log that starts at %d", start))
	case p.pos.Next < start:
		return p.halt(-1,
			"retention has passed the position: records were deleted before they took effect; reset "+
				"the partition (Admin.PlanReset) to go on behind the gap",
			fmt.Sprintf("offset %d", p.pos.Next), fmt.Sprintf("a log that starts at %d", start))
	case p.pos.Next > end:
		return p.halt(-1,
			"the position is behind the end of the log: Kafka has lost records that took effect, or is "+
				"another Kafka; reset the partition (Admin.PlanReset)",
			fmt.Sprintf("at least %d offsets", p.pos.Next), fmt.Sprintf("a log that ends at %d", end))
	}
	p.pos.Topic = t.ID
	p.tracker.measured(end - p.pos.Next)
	return nil
}

func (p *partition) halt(offset int64, reason, expected, found string) *HaltError {
	return &HaltError{
		Topic: p.topic, Partition: p.number, Offset: offset, Reason: reason,
		Expected: expected, Found: found,
	}
}

// truncated is the halt for a log that was cut off below the position and has grown again.
func (p *partition) truncated(loss *kgo.ErrDataLoss) *HaltError {
	return p.halt(-1,
		"the log was truncated below the position: Kafka has lost records that took effect, and may "+
			"have others in their place; reset the partition (Admin.PlanReset)",
		fmt.Sprintf("offset %d of epoch %d", loss.ConsumedTo,
			loss.ConsumedToEpoch), fmt.Sprintf("offset %d of epoch %d", loss.ResetTo, loss.ResetToEpoch))
}

var errSeen = errors.New("seen")

// passMarkers moves the position behind the markers of transactions, and what compaction has
// emptied, at the end of the log. No consumer sees those offsets. Without this, retention would
// pass the position of a partition in which everything took effect.
func (p *partition) passMarkers(ctx context.Context) error {
	found, err := kafkalog.Leaders(ctx, p.in.client, p.topic)
	if err != nil {
		return err
	}
	t := found[p.topic]
	if t == nil || p.pos.Topic.differs(t.ID) {
		return nil // the next begin says so
	}
	log, err := kafkalog.Open(p.in.client, t, int(p.number), kgo.ReadCommitted())
	if err != nil {
		return err
	}
	scan, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	end, err := log.Scan(scan, p.pos.Next, func(*kgo.Record) { cancel(errSeen) })
	switch {
	case errors.Is(context.Cause(scan), errSeen):
		return nil // a record that the consumer is about to bring
	case err != nil:
		return err
	case end.Next <= p.pos.Next:
		return nil
	}
	next := p.pos
	next.Next, next.Epoch = end.Next, t.Partitions[p.number].Epoch
	return p.move(ctx, next)
}
