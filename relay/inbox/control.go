package inbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// control follows the operators' control hash and writes the status hash. No promise rests on them,
// so every failure is only logged and tried again.
type control struct {
	client redis.UniversalClient
	inbox  string
	log    *slog.Logger

	mu     sync.Mutex
	pauses map[string]string
	told   map[string]PartitionStatus
	wake   chan struct{}
}

func newControl(cfg *Config) *control {
	return &control{
		client: cfg.Redis, inbox: cfg.Inbox, log: cfg.Logger,
		told: map[string]PartitionStatus{}, wake: make(chan struct{}, 1),
	}
}

// pauseField is the field of the control hash that pauses a partition, or all of them.
const pauseField = "pause"

func pauseFieldOf(topic string, partition int32) string {
	return pauseField + ":" + place(topic, partition)
}

// pauseWish is the value of such a field. One that is not JSON pauses all the same: whoever wrote
// it by hand meant it.
type pauseWish struct {
	AtMS   int64  `json:"at"`
	By     string `json:"by"`
	Reason string `json:"reason"`
}

// paused says whether a partition is paused, and by whom and why.
func (c *control) paused(topic string, partition int32) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, field := range []string{pauseField, pauseFieldOf(topic, partition)} {
		value, ok := c.pauses[field]
		if !ok {
			continue
		}
		var w pauseWish
		if json.Unmarshal([]byte(value), &w) != nil {
			return ": " + oneLine(value), true
		}
		text := ""
		if w.By != "" {
			text = " by " + w.By
		}
		if w.Reason != "" {
			text += ": " + w.Reason
		}
		return text, true
	}
	return "", false
}

// tell queues a partition's status for the status hash.
func (c *control) tell(st PartitionStatus) {
	c.mu.Lock()
	c.told[place(st.Topic, st.Partition)] = st
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// heartbeat is after how many polls the states are told again, which shows that the instance lives.
const heartbeat = 5

// run polls and writes until ctx ends, and then writes what is still queued. changed is called when
// the pauses are others than before.
func (c *control) run(ctx context.Context, interval time.Duration, current func() []PartitionStatus,
	changed func(),
) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	failing := false
	for n := 1; ; n++ {
		if n%heartbeat == 0 {
			for _, st := range current() {
				c.tellAgain(st)
			}
		}
		err := errors.Join(c.poll(ctx, changed), c.write(ctx))
		if ctx.Err() == nil {
			if err != nil && !failing {
				c.log.Warn("control and status cannot be reached, trying again; applying is not affected by it",
					"inbox", c.inbox, "error", err)
			}
			failing = err != nil
		}
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			_ = c.write(last) // the next owner writes its own
			return
		case <-tick.C:
		case <-c.wake:
		}
	}
}

// tellAgain queues a state that is not news.
func (c *control) tellAgain(st PartitionStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, news := c.told[place(st.Topic, st.Partition)]; !news && st.State != Stopped {
		c.told[place(st.Topic, st.Partition)] = st
	}
}

func (c *control) poll(ctx context.Context, changed func()) error {
	fields, err := c.client.HGetAll(ctx, ControlKey(c.inbox)).Result()
	if err != nil {
		return fmt.Errorf("redis: HGETALL %s: %w", ControlKey(c.inbox), err)
	}
	c.mu.Lock()
	same := maps.Equal(fields, c.pauses)
	c.pauses = fields
	c.mu.Unlock()
	if !same {
		changed()
	}
	return nil
}

func (c *control) write(ctx context.Context) error {
	c.mu.Lock()
	told := c.told
	c.told = map[string]PartitionStatus{}
	c.mu.Unlock()
	if len(told) == 0 {
		return nil
	}
	values := make([]any, 0, 2*len(told))
	for field, st := range told {
		value, err := json.Marshal(storedStatus{st, time.Now().UTC()})
		if err != nil {
			return fmt.Errorf("status: %w", err)
		}
		values = append(values, field, value)
	}
	if err := c.client.HSet(ctx, StatusKey(c.inbox), values...).Err(); err != nil {
		c.mu.Lock()
		for field, st := range told {
			if _, newer := c.told[field]; !newer {
				c.told[field] = st
			}
		}
		c.mu.Unlock()
		return fmt.Errorf("redis: HSET %s: %w", StatusKey(c.inbox), err)
	}
	return nil
}

// storedStatus is a field's value in the status hash.
type storedStatus struct {
	PartitionStatus
	ToldAt time.Time `json:"told_at"`
}
