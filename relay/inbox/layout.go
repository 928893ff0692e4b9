package inbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/kafkalog"
	"github.com/sluice-outbox/sluice/outbox"
)

// Layout is what must stay the same from start to start: where the positions and the state are, and
// where each partition began. It is a Redis hash, and repeated in the metadata of the group's
// offsets, in case Redis loses it.
type Layout struct {
	// Tags names the hash tags: the outbox, or the inbox itself. Slots is how many there are.
	Tags  string
	Slots int
	// Topics has where the partitions of each topic began.
	Topics map[string]TopicStart
}

// TopicStart is where a topic's partitions began. Those behind the end of Start began at 0: they
// were added later.
type TopicStart struct {
	ID    TopicID `json:"id"`
	Start []int64 `json:"start"`
}

// keys of a partition.
func (l *Layout) keys(inbox, topic string, partition int32) keys {
	return keysOf(inbox, l.Tags, int(partition)%l.Slots, topic, partition)
}

func (s TopicStart) of(partition int32) int64 {
	if int(partition) < len(s.Start) {
		return s.Start[partition]
	}
	return 0
}

const topicField = "topic:"

// ReadLayout reads the layout of an inbox; nil if there is none.
func ReadLayout(ctx context.Context, client redis.Cmdable, inbox string) (*Layout, error) {
	fields, err := client.HGetAll(ctx, LayoutKey(inbox)).Result()
	if err != nil {
		return nil, fmt.Errorf("redis: HGETALL %s: %w", LayoutKey(inbox), err)
	}
	if len(fields) == 0 {
		return nil, nil
	}
	bad := func(field string) error {
		return &layoutError{fmt.Sprintf("%s: field %s is %q, which this program does not know",
			LayoutKey(inbox), field, fields[field])}
	}
	l := &Layout{Tags: fields["tags"], Topics: map[string]TopicStart{}}
	if l.Slots, err = strconv.Atoi(fields["slots"]); err != nil || l.Slots < 1 || l.Slots > 1<<16 {
		return nil, bad("slots")
	}
	switch {
	case fields["version"] != "1":
		return nil, bad("version")
	case outbox.ValidateName(l.Tags) != nil:
		return nil, bad("tags")
	}
	for field, value := range fields {
		if name, ok := strings.CutPrefix(field, topicField); ok {
			var start TopicStart
			if json.Unmarshal([]byte(value), &start) != nil {
				return nil, bad(field)
			}
			l.Topics[name] = start
		}
	}
	return l, nil
}

// layoutError is a layout that waiting does not mend.
type layoutError struct{ text string }

func (e *layoutError) Error() string { return e.text }

// prepare finds or makes the layout. known is what this process knew of it before.
func (in *Inbox) prepare(ctx context.Context, known *Layout) (*Layout, error) {
	found, err := kafkalog.Leaders(ctx, in.client, in.cfg.Topics...)
	if err != nil {
		return nil, err
	}
	for _, name := range in.cfg.Topics {
		if found[name] == nil {
			return nil, fmt.Errorf("kafka: topic %s does not exist", name)
		} else if found[name].Err != nil {
			return nil, fmt.Errorf("kafka: topic %s: %w", name, found[name].Err)
		}
	}
	layout, err := ReadLayout(ctx, in.cfg.Redis, in.cfg.Inbox)
	if err != nil {
		return nil, err
	}
	if layout == nil {
		layout = &Layout{Topics: map[string]TopicStart{}}
	}
	had := len(layout.Topics)
	if err := in.complete(ctx, layout, known, found); err != nil {
		return nil, err
	}
	if err := in.agree(ctx, layout); err != nil || len(layout.Topics) == had {
		return layout, err
	}
	return layout, in.writeLayout(ctx, layout)
}

// complete fills in what the layout lacks: from what this process knows, else from the group's
// offsets, else anew.
func (in *Inbox) complete(ctx context.Context, layout, known *Layout,
	found map[string]*kafkalog.Topic,
) error {
	var err error
	for _, name := range in.cfg.Topics {
		if _, ok := layout.Topics[name]; ok {
			continue
		}
		if known == nil {
			if known, err = in.remembered(ctx, found); err != nil {
				return err
			}
		}
		if layout.Slots == 0 {
			layout.Tags, layout.Slots = known.Tags, known.Slots
		}
		start, ok := known.Topics[name]
		if !ok {
			if start, err = in.firstStart(ctx, found[name], nil); err != nil {
				return err
			}
		}
		layout.Topics[name] = start
	}
	if layout.Slots == 0 {
		layout.Tags, layout.Slots, err = in.firstSlots(ctx, found)
	}
	return err
}

// firstSlots are the tags of an inbox that starts for the first time.
func (in *Inbox) firstSlots(ctx context.Context,
	found map[string]*kafkalog.Topic,
) (tags string, slots int, err error) {
	if in.cfg.Outbox != "" {
		layout, err := outbox.ReadLayout(ctx, in.cfg.Redis, in.cfg.Outbox)
		return in.cfg.Outbox, layout.Shards, err
	}
	if in.cfg.Slots > 0 {
		return in.cfg.Inbox, in.cfg.Slots, nil
	}
	for _, t := range found {
		slots = gcd(slots, len(t.Partitions))
	}
	return in.cfg.Inbox, max(1, slots), nil
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// firstStart is where the partitions of a topic begin by the configuration. known are those that
// began before.
func (in *Inbox) firstStart(ctx context.Context, t *kafkalog.Topic,
	known map[int32]int64,
) (TopicStart, error) {
	start := TopicStart{ID: t.ID, Start: make([]int64, len(t.Partitions))}
	for i := range t.Partitions {
		if offset, ok := known[int32(i)]; ok {
			start.Start[i] = offset
			continue
		}
		if in.cfg.Start == Beginning {
			continue
		}
		log, err := kafkalog.Open(in.client, t, i, kgo.ReadCommitted())
		if err != nil {
			return start, err
		}
		if in.cfg.Start == End {
			start.Start[i], err = log.Latest(ctx)
		} else {
			start.Start[i], err = log.Start(ctx)
		}
		if err != nil {
			return start, err
		}
	}
	return start, nil
}

// agree refuses a configuration that would look for the positions elsewhere, and so apply
// everything again.
func (in *Inbox) agree(ctx context.Context, l *Layout) error {
	tags, slots := in.cfg.Inbox, in.cfg.Slots
	if in.cfg.Outbox != "" {
		layout, err := outbox.ReadLayout(ctx, in.cfg.Redis, in.cfg.Outbox)
		if err != nil {
			return err
		}
		tags, slots = in.cfg.Outbox, layout.Shards
	}
	if slots == 0 {
		slots = l.Slots
	}
	if tags != l.Tags || slots != l.Slots {
		return &layoutError{fmt.Sprintf(
			"inbox %s has its positions and state under %d tags of %q, the configuration asks for %d of "+
				"%q: "+
				"everything would be applied again; restore the configuration, or use another name for a new "+
				"inbox", in.cfg.Inbox, l.Slots, l.Tags, slots, tags)}
	}
	return nil
}

// writeLayout adds what the hash lacks, unless another instance was faster.
func (in *Inbox) writeLayout(ctx context.Context, l *Layout) error {
	key := LayoutKey(in.cfg.Inbox)
	ran := false
	err := in.cfg.Redis.Watch(ctx, func(conn *redis.Tx) error {
		ran = true
		now, err := ReadLayout(ctx, conn, in.cfg.Inbox)
		if err != nil {
			return err
		}
		if now != nil && (now.Tags != l.Tags || now.Slots != l.Slots) {
			return errors.New("another instance has begun with another layout")
		}
		_, err = conn.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
			pipe.HSet(ctx, key, "version", "1", "tags", l.Tags, "slots", l.Slots)
			for name, start := range l.Topics {
				value, err := json.Marshal(start)
				if err != nil {
					return err
				}
				pipe.HSetNX(ctx, key, topicField+name, value)
			}
			return nil
		})
		return err
	}, key)
	if err == nil && !ran {
		err = errMoving
	}
	if err != nil {
		return fmt.Errorf("redis: %s: %w", key, err)
	}
	written, err := ReadLayout(ctx, in.cfg.Redis, in.cfg.Inbox)
	if err == nil && written != nil {
		*l = *written // another instance may have begun a topic at the same time
	}
	return err
}
