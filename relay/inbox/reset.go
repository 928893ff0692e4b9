package inbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/kafkalog"
)

// ResetTo says where positions are to be.
type ResetTo struct {
	// Partitions that are meant; the zero Target is all of them.
	Target Target
	// One of these: the first offset that Kafka has, its end, an offset, or the first record at or
	// after a time.
	Earliest bool
	End      bool
	Offset   *int64
	Time     time.Time
}

// Reset is a preview of what would be done to one partition.
type Reset struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	// From is the position now; nil: there is none. To is where it would be.
	From *Position `json:"from"`
	To   int64     `json:"to"`
	// Again counts the offsets that would take effect a second time, Skipped those that never
	// would. -1: unknown, because the position is of another topic.
	Again   int64 `json:"again"`
	Skipped int64 `json:"skipped"`
	// LogStart and LogEnd are what Kafka has.
	LogStart int64 `json:"log_start"`
	LogEnd   int64 `json:"log_end"`
	// ParkedKeys stay parked, unless Forgotten: they are of a topic that was deleted.
	ParkedKeys int  `json:"parked_keys"`
	Forgotten  bool `json:"forgotten"`

	raw   string
	topic TopicID
	keys  keys
}

// PlanReset says what a reset would do, and changes nothing.
func (a *Admin) PlanReset(ctx context.Context, to ResetTo) ([]Reset, error) {
	if err := to.check(); err != nil {
		return nil, err
	}
	layout, err := a.layout(ctx)
	if err != nil {
		return nil, err
	}
	topics := a.cfg.Topics
	if to.Target.Topic != "" {
		topics = []string{to.Target.Topic}
	}
	found, err := kafkalog.Leaders(ctx, a.client, topics...)
	if err != nil {
		return nil, err
	}
	var plan []Reset
	for _, topic := range topics {
		if found[topic] == nil {
			return nil, fmt.Errorf("kafka: topic %s does not exist", topic)
		}
		for i := range found[topic].Partitions {
			if to.Target.Topic != "" && to.Target.Partition != int32(i) {
				continue
			}
			r, err := a.planOne(ctx, layout, found[topic], int32(i), to)
			if err != nil {
				return nil, err
			}
			plan = append(plan, r)
		}
	}
	if len(plan) == 0 {
		return nil, fmt.Errorf("there is no partition %s", place(to.Target.Topic, to.Target.Partition))
	}
	return plan, nil
}

func (to ResetTo) check() error {
	n := 0
	for _, set := range []bool{to.Earliest, to.End, to.Offset != nil, !to.Time.IsZero()} {
		if set {
			n++
		}
	}
	switch {
	case n != 1:
		return errors.New("reset: want one of earliest, end, an offset or a time")
	case to.Offset != nil && to.Target.Topic == "":
		return errors.New("reset: an offset needs a partition")
	}
	return nil
}

func (a *Admin) planOne(ctx context.Context, layout *Layout, t *kafkalog.Topic, partition int32,
	to ResetTo,
) (Reset, error) {
	r := Reset{
		Topic: t.Name, Partition: partition, topic: t.ID,
		keys: layout.keys(a.cfg.Inbox, t.Name, partition),
	}
	log, err := a.log(t, partition)
	if err != nil {
		return r, err
	}
	if r.LogStart, err = log.Start(ctx); err != nil {
		return r, err
	}
	if r.LogEnd, err = log.Latest(ctx); err != nil {
		return r, err
	}
	switch {
	case to.Earliest:
		r.To = r.LogStart
	case to.End:
		r.To = r.LogEnd
	case to.Offset != nil:
		r.To = *to.Offset
	default:
		if r.To, err = log.Offset(ctx, to.Time.UnixMilli()); err != nil {
			return r, err
		}
		if r.To < 0 { // nothing is that late
			r.To = r.LogEnd
		}
	}
	if r.To < r.LogStart || r.To > r.LogEnd {
		return r, fmt.Errorf("reset: %s has the offsets %d to %d, %d is not among them",
			place(t.Name, partition), r.LogStart, r.LogEnd, r.To)
	}
	return r, a.compare(ctx, &r)
}

// compare fills in what the reset would mean for what Redis has.
func (a *Admin) compare(ctx context.Context, r *Reset) error {
	raw, err := a.cfg.Redis.Get(ctx, r.keys.position).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("redis: GET %s: %w", r.keys.position, err)
	}
	r.raw = raw
	parked, err := a.cfg.Redis.HLen(ctx, r.keys.parked).Result()
	if err != nil {
		return fmt.Errorf("redis: HLEN %s: %w", r.keys.parked, err)
	}
	r.ParkedKeys = int(parked)
	r.Again, r.Skipped = -1, -1
	pos, err := ParsePosition(raw)
	if err != nil {
		return nil // none, or one that is no position: it is replaced
	}
	r.From = &pos
	if pos.Topic.differs(r.topic) {
		r.Forgotten = true
		return nil
	}
	r.Again, r.Skipped = max(0, pos.Next-r.To), max(0, r.To-pos.Next)
	return nil
}

// ErrMoved says that a position has moved since the preview.
var ErrMoved = errors.New(
	"the position has moved since the preview: look again, and pause the inbox first if it runs")

// Apply does what was previewed, for one partition. An owner that runs notices, and goes on from
// the new position. The error wraps ErrMoved if the position is not the one of the preview.
func (a *Admin) Apply(ctx context.Context, r Reset, by string) error {
	next := Position{Next: r.To, Topic: r.topic, Epoch: -1, Instance: by, At: time.Now().UTC()}
	if r.From != nil {
		next.Count, next.Letters = r.From.Count, r.From.Letters
	}
	ran := false
	err := a.cfg.Redis.Watch(ctx, func(conn *redis.Tx) error {
		ran = true
		raw, err := conn.Get(ctx, r.keys.position).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		if raw != r.raw {
			return ErrMoved
		}
		_, err = conn.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
			if r.Forgotten {
				pipe.Del(ctx, r.keys.parked, r.keys.replay, r.keys.owed)
			}
			return pipe.Set(ctx, r.keys.position, next.encode(), 0).Err()
		})
		if errors.Is(err, redis.TxFailedErr) {
			err = ErrMoved
		}
		return err
	}, r.keys.position)
	if err == nil && !ran {
		err = errMoving
	}
	if err != nil {
		return fmt.Errorf("reset %s: %w", place(r.Topic, r.Partition), err)
	}
	return nil
}
