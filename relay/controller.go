package relay

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/control"
)

// controller follows the operators' control hash and writes the status hash. Both inform; no
// promise rests on them, so every failure is only logged and tried again.
type controller struct {
	client   redis.UniversalClient
	outbox   string
	instance string
	delivery Delivery
	log      *slog.Logger

	mu     sync.Mutex
	pauses control.Pauses
	told   map[int]ShardStatus
	wake   chan struct{}
}

func newController(cfg *Config) *controller {
	return &controller{
		client: cfg.Redis, outbox: cfg.Outbox, instance: cfg.Instance, delivery: cfg.Delivery,
		log:  cfg.Logger,
		told: map[int]ShardStatus{}, wake: make(chan struct{}, 1),
	}
}

// paused says whether a shard is paused, and why.
func (c *controller) paused(shard int) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.pauses.Of(shard); p != nil {
		return p.String(), true
	}
	return "", false
}

// tell queues a shard's status for the status hash.
func (c *controller) tell(st ShardStatus) {
	c.mu.Lock()
	c.told[st.Shard] = st
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// tellAgain queues states that are not news, after those that are.
func (c *controller) tellAgain(states []ShardStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, st := range states {
		if _, news := c.told[st.Shard]; !news && st.State != StateStopped {
			c.told[st.Shard] = st
		}
	}
}

// heartbeat is after how many polls a running relay tells the states of its shards again, which
// shows that it lives and mends what a late ex-owner wrote.
const heartbeat = 5

// run polls and writes until ctx ends, and then writes what is still queued. current gives the
// states to tell again, changed is called when other shards are paused than before.
func (c *controller) run(ctx context.Context, interval time.Duration, current func() []ShardStatus,
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

func (c *controller) poll(ctx context.Context, changed func()) error {
	now, err := control.ReadPauses(ctx, c.client, c.outbox)
	if err != nil {
		return err
	}
	c.mu.Lock()
	same := (now.All == nil) == (c.pauses.All == nil) && maps.Equal(now.Shards, c.pauses.Shards)
	c.pauses = now
	c.mu.Unlock()
	if !same {
		changed()
	}
	return nil
}

func (c *controller) write(ctx context.Context) error {
	c.mu.Lock()
	told := c.told
	c.told = map[int]ShardStatus{}
	c.mu.Unlock()
	reports := make([]control.Report, 0, len(told))
	for shard, st := range told {
		reports = append(reports, control.Report{
			Shard: shard, State: string(st.State), Instance: c.instance, Delivery: c.delivery.String(),
			SinceMS: st.Since.UnixMilli(),
			Reason:  st.Reason, Entry: st.Entry, Expected: st.Expected, Found: st.Found,
			AtMS: time.Now().UnixMilli(),
		})
	}
	err := control.WriteReports(ctx, c.client, c.outbox, reports)
	if err != nil {
		c.mu.Lock()
		for shard, st := range told {
			if _, newer := c.told[shard]; !newer {
				c.told[shard] = st
			}
		}
		c.mu.Unlock()
	}
	return err
}
