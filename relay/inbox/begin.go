package inbox

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"
)

// begin finds where the partition goes on: the position in Redis, or where the inbox once began.
// Whatever this instance believed before does not count.
func (p *partition) begin(ctx context.Context) error {
	layout := p.in.layout()
	p.layout, p.keys = layout, layout.keys(p.in.cfg.Inbox, p.topic, p.number)
	owed, err := p.load(ctx)
	if err != nil {
		return err
	}
	if p.raw == "" {
		// Redis may have lost everything, the layout as well.
		if p.layout, err = p.in.prepare(ctx, layout); err != nil {
			return err
		}
		start := p.layout.Topics[p.topic]
		p.pos = Position{Next: start.of(p.number), Topic: start.ID, Epoch: -1}
	}
	p.tracker.known(p.pos, len(p.parked))
	if err := p.check(ctx); err != nil {
		return err
	}
	if err := p.afterLoss(ctx); err != nil {
		return err
	}
	if p.raw == "" {
		if err := p.move(ctx, p.pos); err != nil {
			return err
		}
	}
	return p.payOwed(ctx, owed)
}

// load reads what Redis has of the partition.
func (p *partition) load(ctx context.Context) (owed map[string]string, err error) {
	var position *redis.StringCmd
	var parked, due *redis.MapStringStringCmd
	_, err = p.in.cfg.Redis.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		position, parked, due = pipe.Get(ctx, p.keys.position), pipe.HGetAll(ctx, p.keys.parked),
			pipe.HGetAll(ctx, p.keys.owed)
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("redis: position and parked keys of %s: %w", place(p.topic, p.number), err)
	}
	p.raw, p.pos = position.Val(), Position{}
	if p.raw != "" {
		if p.pos, err = ParsePosition(p.raw); err != nil {
			return nil, p.halt(-1,
				p.keys.position+": "+err.Error()+
					"; find what wrote it, and reset the partition (Admin.PlanReset)", "", "")
		}
	}
	if p.parked, err = parseParked(parked.Val()); err != nil {
		return nil, p.halt(-1, p.keys.parked+": "+err.Error(), "", "")
	}
	return due.Val(), nil
}

// afterLoss says so if Redis is older than it once was, and drops the dead letters of what is
// applied again.
func (p *partition) afterLoss(ctx context.Context) error {
	reached, err := p.in.reached(ctx, p.topic, p.number, p.pos.Topic)
	if err != nil {
		return err
	}
	if p.reachedIn == p.pos.Topic {
		reached = max(reached, p.reached)
	}
	p.reachedIn = p.pos.Topic
	if reached <= p.pos.Next {
		p.reached = p.pos.Next
		return nil
	}
	p.log.Warn("Redis has an older position than it once had: it has lost its last writes, or was "+
		"reset, and the records since then take effect again",
		"from", p.pos.Next, "to", reached)
	if err := p.rewind(ctx); err != nil {
		return err
	}
	p.reached = p.pos.Next
	return nil
}

// payOwed sends the letters of records that took effect in part, if the one who noticed could not.
func (p *partition) payOwed(ctx context.Context, owed map[string]string) error {
	if len(owed) == 0 {
		return nil
	}
	log, err := p.openLog(ctx)
	if err != nil {
		return err
	}
	for field, detail := range owed {
		offset, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return p.halt(-1, fmt.Sprintf("%s: field %q is no offset", p.keys.owed, field), "", "")
		}
		r, err := log.At(ctx, offset)
		if err != nil {
			return err
		}
		if r == nil || r.Offset != offset {
			p.log.Error("a record that took effect in part is gone from Kafka: its dead letter has no "+
				"more than its offset", "offset", offset, "failed", detail)
			r = &kgo.Record{Topic: p.topic, Partition: p.number, Offset: offset}
		}
		l := []*letter{{record: r, reason: Partial, detail: detail}}
		if err := p.in.letters.send(ctx, p.pos.Topic, l); err != nil {
			return err
		}
		if err := p.paid(ctx, l); err != nil {
			return err
		}
	}
	return nil
}
