package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/outbox"
)

// control reads the operators' control hash and writes the status hash. No promise rests on either,
// so every failure is only logged and tried again.
type control struct {
	client   redis.UniversalClient
	outbox   string
	instance string
	delivery Delivery
	log      *slog.Logger

	mu     sync.Mutex
	all    *pause
	shards map[int]pause
	told   map[int]ShardStatus
	wake   chan struct{}
}

// pause is the value of a field of the control hash.
type pause struct {
	AtMS   int64  `json:"at"`
	By     string `json:"by"`
	Reason string `json:"reason"`
}

func (p pause) String() string {
	text := "paused by " + p.By
	if p.By == "" {
		text = "paused"
	}
	if p.Reason != "" {
		text += ": " + p.Reason
	}
	return text
}

func newControl(cfg *Config) *control {
	return &control{
		client: cfg.Redis, outbox: cfg.Outbox, instance: cfg.Instance, delivery: cfg.Delivery,
		log:    cfg.Logger,
		shards: map[int]pause{}, told: map[int]ShardStatus{}, wake: make(chan struct{}, 1),
	}
}

// paused says whether a shard is paused, and why.
func (c *control) paused(shard int) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all != nil {
		return c.all.String(), true
	}
	if p, ok := c.shards[shard]; ok {
		return p.String(), true
	}
	return "", false
}

// tell queues a shard's status for the status hash.
func (c *control) tell(st ShardStatus) {
	c.mu.Lock()
	c.told[st.Shard] = st
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// tellAgain queues states that have not changed, unless a changed one is queued.
func (c *control) tellAgain(states []ShardStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, st := range states {
		if _, news := c.told[st.Shard]; !news && st.State != StateStopped {
			c.told[st.Shard] = st
		}
	}
}

// heartbeat is the number of polls after which a relay writes the states of its shards again. That
// shows that the relay lives, and corrects what a late ex-owner wrote.
const heartbeat = 5

// run polls and writes until ctx ends, and then writes what is still queued. current gives the
// states to write again. changed is called when the set of paused shards has changed.
func (c *control) run(ctx context.Context, interval time.Duration, current func() []ShardStatus,
	changed func(),
) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	failing := false
	for n := 1; ; n++ {
		if n%heartbeat == 0 {
			c.tellAgain(current())
		}
		err := errors.Join(c.poll(ctx, changed), c.write(ctx))
		if ctx.Err() == nil {
			if err != nil && !failing {
				c.log.Warn("control and status cannot be reached, trying again; delivery is not affected by it",
					"outbox", c.outbox, "error", err)
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

func (c *control) poll(ctx context.Context, changed func()) error {
	fields, err := c.client.HGetAll(ctx, outbox.ControlKey(c.outbox)).Result()
	if err != nil {
		return fmt.Errorf("redis: HGETALL %s: %w", outbox.ControlKey(c.outbox), err)
	}
	all, shards := parseControl(fields)
	c.mu.Lock()
	same := (all == nil) == (c.all == nil) && maps.Equal(shards, c.shards)
	c.all, c.shards = all, shards
	c.mu.Unlock()
	if !same {
		changed()
	}
	return nil
}

// parseControl reads the fields pause and pause:<shard>. A value that is not JSON pauses too:
// somebody wrote it by hand and meant it.
func parseControl(fields map[string]string) (all *pause, shards map[int]pause) {
	shards = map[int]pause{}
	for field, value := range fields {
		var p pause
		if json.Unmarshal([]byte(value), &p) != nil {
			p = pause{Reason: value}
		}
		if field == "pause" {
			all = &p
		} else if len(field) > 6 && field[:6] == "pause:" {
			if shard, err := strconv.Atoi(field[6:]); err == nil {
				shards[shard] = p
			}
		}
	}
	return all, shards
}

func (c *control) write(ctx context.Context) error {
	c.mu.Lock()
	told := c.told
	c.told = map[int]ShardStatus{}
	c.mu.Unlock()
	if len(told) == 0 {
		return nil
	}
	values := make([]any, 0, 2*len(told))
	for shard, st := range told {
		value, err := json.Marshal(statusJSON{
			Shard: shard, State: st.State, Instance: c.instance, Delivery: c.delivery.String(),
			SinceMS: st.Since.UnixMilli(),
			Reason:  st.Reason, Entry: st.Entry, Expected: st.Expected, Found: st.Found,
			AtMS: time.Now().UnixMilli(),
		})
		if err != nil {
			return fmt.Errorf("status: %w", err)
		}
		values = append(values, strconv.Itoa(shard), value)
	}
	if err := c.client.HSet(ctx, outbox.StatusKey(c.outbox), values...).Err(); err != nil {
		c.mu.Lock()
		for shard, st := range told {
			if _, newer := c.told[shard]; !newer {
				c.told[shard] = st
			}
		}
		c.mu.Unlock()
		return fmt.Errorf("redis: HSET %s: %w", outbox.StatusKey(c.outbox), err)
	}
	return nil
}

// statusJSON is a field's value in the status hash.
type statusJSON struct {
	Shard    int    `json:"shard"`
	State    State  `json:"state"`
	Instance string `json:"instance"`
	Delivery string `json:"delivery"`
	SinceMS  int64  `json:"since"`
	Reason   string `json:"reason,omitempty"`
	Entry    string `json:"entry,omitempty"`
	Expected string `json:"expected,omitempty"`
	Found    string `json:"found,omitempty"`
	AtMS     int64  `json:"at"`
}
