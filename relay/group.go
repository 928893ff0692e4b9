package relay

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/outbox"
)

// Relays share the shards of an outbox as the members of one Kafka consumer group share the partitions of the
// positions topic. Nothing is consumed through the group. It decides who works, so that work goes on when a relay
// dies; it does not decide who may commit, which is fencing's alone (invariant 1).

// runGroup is a member of the group until ctx ends.
func (r *Relay) runGroup(ctx context.Context) error {
	topic := outbox.PositionsTopic(r.cfg.Outbox)
	shards := func(m map[string][]int32) []int {
		ids := make([]int, len(m[topic]))
		for i, p := range m[topic] {
			ids[i] = int(p)
		}
		return ids
	}
	// kgo keeps the last generation of a membership that it has lost.
	var lost atomic.Bool
	client, err := kgo.NewClient(append(clientOpts(&r.cfg),
		kgo.ConsumerGroup(outbox.RelayGroup(r.cfg.Outbox)),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()),
		kgo.DisableAutoCommit(),
		kgo.Balancers(kgo.CooperativeStickyBalancer()), // only the moved shards pause
		kgo.SessionTimeout(r.cfg.SessionTimeout),
		kgo.HeartbeatInterval(min(r.cfg.SessionTimeout/4, 2*time.Second)),
		// The longest that the old owners may take to finish their transactions.
		kgo.RebalanceTimeout(r.cfg.DrainTimeout+2*time.Second),
		kgo.OnPartitionsAssigned(func(_ context.Context, client *kgo.Client, assigned map[string][]int32) {
			client.PauseFetchPartitions(assigned)
			lost.Store(false)
			for _, id := range shards(assigned) {
				r.start(ctx, id)
			}
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, revoked map[string][]int32) {
			r.stop(shards(revoked)...)
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
			lost.Store(true)
			if ids := shards(gone); len(ids) > 0 && ctx.Err() == nil {
				r.cfg.Logger.Warn("this relay was silent for longer than its session, its shards are others' now", "outbox", r.cfg.Outbox, "shards", fmt.Sprint(ids))
			}
			r.stop(shards(gone)...)
		}),
	)...)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	r.setMember(func() bool { _, generation := client.GroupMetadata(); return generation >= 0 && !lost.Load() })
	var logged time.Time
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx) // nothing comes but errors: every partition is paused
		if err := fetches.Err(); err != nil && ctx.Err() == nil {
			if time.Since(logged) > 30*time.Second {
				r.cfg.Logger.Warn("relay group has a problem, trying again", "outbox", r.cfg.Outbox, "error", err)
				logged = time.Now()
			}
			sleep(ctx, time.Second)
		}
	}
	r.setMember(nil)
	// The shards end before the group is left, so that whoever gets them finds finished transactions.
	r.stopAll()
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = client.LeaveGroupContext(leave) // not left: the session times out
	client.Close()
	r.stopAll() // what the group gave while it was left
	return nil
}

// runAssigned owns fixed shards until ctx ends.
func (r *Relay) runAssigned(ctx context.Context) error {
	for _, id := range r.cfg.Assign {
		r.start(ctx, id)
	}
	r.setMember(func() bool { return true })
	<-ctx.Done()
	r.stopAll()
	return nil
}

func (r *Relay) setMember(member func() bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.member = member
}
