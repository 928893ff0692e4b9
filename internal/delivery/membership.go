package delivery

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/retry"
)

// Membership is a process's membership of a Kafka consumer group over the positions topic. Nothing
// is consumed through it. The group decides who works, so that work goes on when a process dies. It
// does not decide who may commit: only fences do.
type Membership struct {
	Group          string
	Topic          string
	Client         []kgo.Opt
	SessionTimeout time.Duration
	// RebalanceTimeout is the longest that earlier owners may take to finish their transactions.
	RebalanceTimeout time.Duration
	// Source makes the source of a shard that this process is given.
	Source func(shard int) Source
	// Joined is called with a function that reports whether the group has this process, and with nil
	// at the end.
	Joined func(member func() bool)
}

// Run is a member of the group until ctx ends. It gives its shards back before it leaves, so that
// their next owners find finished transactions.
func (m Membership) Run(ctx context.Context, e *Engine) error {
	shards := func(given map[string][]int32) []int {
		ids := make([]int, len(given[m.Topic]))
		for i, p := range given[m.Topic] {
			ids[i] = int(p)
		}
		return ids
	}
	// kgo keeps the last generation of a membership that it has lost.
	var lost atomic.Bool
	client, err := kgo.NewClient(append(slices.Clone(m.Client),
		kgo.ConsumerGroup(m.Group),
		kgo.ConsumeTopics(m.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()),
		kgo.DisableAutoCommit(),
		kgo.Balancers(kgo.CooperativeStickyBalancer()), // only the moved shards pause
		kgo.SessionTimeout(m.SessionTimeout),
		kgo.HeartbeatInterval(min(m.SessionTimeout/4, 2*time.Second)),
		kgo.RebalanceTimeout(m.RebalanceTimeout),
		kgo.OnPartitionsAssigned(func(_ context.Context, client *kgo.Client,
			assigned map[string][]int32,
		) {
			client.PauseFetchPartitions(assigned)
			given := shards(assigned)
			if lost.Swap(false) { // what was kept meanwhile may be others' now
				e.Remove(slices.DeleteFunc(e.Shards(), func(id int) bool {
					return slices.Contains(given, id)
				})...)
				e.Resume()
			}
			for _, id := range given {
				e.Add(ctx, id, func() Source { return m.Source(id) })
			}
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, revoked map[string][]int32) {
			e.Remove(shards(revoked)...)
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
			// The shards are kept, since it may be the group that has a problem. A new owner fences its
			// shard's lane, and a shard that has lost its seat waits until the group has decided.
			lost.Store(true)
			e.Suspend("this relay was silent for longer than its session, at " +
				time.Now().UTC().Format("15:04:05Z") +
				", and waits to be told by Kafka's group " + m.Group + " which shards are its own")
			if ids := shards(gone); len(ids) > 0 && ctx.Err() == nil {
				e.cfg.Logger.Warn(
					"this process was silent for longer than its session, its shards may be others' now", "shards",
					fmt.Sprint(ids))
			}
		}),
	)...)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	m.Joined(func() bool {
		_, generation := client.GroupMetadata()
		return generation >= 0 && !lost.Load()
	})
	var logged time.Time
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx) // nothing comes but errors: every partition is paused
		if err := fetches.Err(); err != nil && ctx.Err() == nil {
			if lost.Load() {
				e.Suspend(fmt.Sprintf(
					"kafka: group %s, which says which shards are this relay's, has a problem: %v", m.Group, err))
			}
			if time.Since(logged) > 30*time.Second {
				e.cfg.Logger.Warn("the group has a problem, trying again", "group", m.Group, "error", err)
				logged = time.Now()
			}
			_ = retry.Sleep(ctx, time.Second)
		}
	}
	m.Joined(nil)
	e.Remove(e.Shards()...)
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = client.LeaveGroupContext(leave) // not left: the session times out
	client.Close()
	e.Remove(e.Shards()...) // what the group gave while it was left
	return nil
}
