package inbox

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/retry"
)

// member is this instance's part in the consumer group. Nothing is consumed through it: it says who
// works on which partition, and takes the offsets for Kafka's tools.
type member struct {
	in     *Inbox
	client *kgo.Client

	mu   sync.Mutex
	work map[string]*worker // by place
	lost bool               // the group was not heard of for longer than the session
}

// worker is a partition that runs.
type worker struct {
	p    *partition
	stop context.CancelFunc
	done chan struct{}
}

// runGroup is a member of the group until ctx ends. Then it stops its partitions, tells the group
// their offsets, and leaves.
func (in *Inbox) runGroup(ctx context.Context) error {
	m := &member{in: in, work: map[string]*worker{}}
	client, err := kgo.NewClient(append(slices.Clone(in.cfg.Kafka),
		kgo.ConsumerGroup(Group(in.cfg.Inbox)),
		kgo.ConsumeTopics(in.cfg.Topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()),
		kgo.DisableAutoCommit(),
		kgo.Balancers(kgo.CooperativeStickyBalancer()), // only the moved partitions pause
		kgo.SessionTimeout(in.cfg.SessionTimeout),
		kgo.HeartbeatInterval(min(in.cfg.SessionTimeout/4, 2*time.Second)),
		kgo.RebalanceTimeout(in.cfg.DrainTimeout+2*time.Second),
		kgo.MetadataMaxAge(30*time.Second), // partitions that are added
		kgo.OnPartitionsAssigned(func(_ context.Context, client *kgo.Client, given map[string][]int32) {
			client.PauseFetchPartitions(given)
			m.start(ctx, given)
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, client *kgo.Client, gone map[string][]int32) {
			m.stop(client, gone, true)
		}),
		kgo.OnPartitionsLost(func(_ context.Context, client *kgo.Client, gone map[string][]int32) {
			m.stop(client, gone, false)
		}),
	)...)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	m.client = client
	in.setMember(func() bool {
		_, generation := client.GroupMetadata()
		m.mu.Lock()
		defer m.mu.Unlock()
		return generation >= 0 && !m.lost
	})
	defer in.setMember(nil)

	var wg sync.WaitGroup
	beside, end := context.WithCancel(ctx)
	wg.Go(func() { m.tellOffsets(beside) })
	m.poll(ctx)
	end()
	wg.Wait()
	m.stopAll()
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := in.commitOffsets(leave, client, in.partitions()); err != nil {
		in.cfg.Logger.Warn("the group's offsets are a little behind, which only tools see",
			"inbox", in.cfg.Inbox, "error", err)
	}
	_ = client.LeaveGroupContext(leave) // not left: the session times out
	client.Close()
	m.stopAll() // what the group gave while it was left
	return nil
}

// poll keeps the membership going. Nothing comes but errors: every partition is paused.
func (m *member) poll(ctx context.Context) {
	var logged time.Time
	for ctx.Err() == nil {
		if err := m.client.PollFetches(ctx).Err(); err != nil && ctx.Err() == nil {
			if time.Since(logged) > 30*time.Second {
				m.in.cfg.Logger.Warn("the group has a problem, trying again", "group", Group(m.in.cfg.Inbox),
					"error", err)
				logged = time.Now()
			}
			_ = retry.Sleep(ctx, time.Second)
		}
	}
}

// start runs the partitions that the group gives.
func (m *member) start(ctx context.Context, given map[string][]int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lost = false
	for topic, numbers := range given {
		for _, n := range numbers {
			if m.work[place(topic, n)] != nil {
				continue
			}
			m.work[place(topic, n)] = m.in.startPartition(ctx, topic, n)
		}
	}
}

// stop ends partitions, those that were revoked with a last word to the group. After a loss they
// may be others' already, whose positions are guarded by WATCH.
func (m *member) stop(client *kgo.Client, gone map[string][]int32, revoked bool) {
	m.mu.Lock()
	m.lost = m.lost || !revoked && len(gone) > 0
	var ended []*worker
	for topic, numbers := range gone {
		for _, n := range numbers {
			if w := m.work[place(topic, n)]; w != nil {
				ended = append(ended, w)
				delete(m.work, place(topic, n))
			}
		}
	}
	m.mu.Unlock()
	parts := m.in.end(ended)
	if !revoked {
		if len(parts) > 0 {
			m.in.cfg.Logger.Warn(
				"this instance was silent for longer than its session, its partitions are others' now", "inbox",
				m.in.cfg.Inbox, "partitions", len(parts))
		}
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = m.in.commitOffsets(ctx, client, parts) // the next owner commits its own
}

func (m *member) stopAll() {
	m.mu.Lock()
	var ended []*worker
	for at, w := range m.work {
		ended = append(ended, w)
		delete(m.work, at)
	}
	m.mu.Unlock()
	m.in.end(ended)
}

// tellOffsets tells the group the offsets when they have moved.
func (m *member) tellOffsets(ctx context.Context) {
	tick := time.NewTicker(m.in.cfg.HousekeepingInterval)
	defer tick.Stop()
	told := map[string]int64{}
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var news []*partition
		for _, p := range m.in.partitions() {
			if pos := p.tracker.position(); pos != nil {
				if next, ok := told[place(p.topic, p.number)]; !ok || next != pos.Next {
					news = append(news, p)
					told[place(p.topic, p.number)] = pos.Next
				}
			}
		}
		err := m.in.commitOffsets(ctx, m.client, news)
		if err != nil {
			clear(told)
			if !failing && ctx.Err() == nil {
				m.in.cfg.Logger.Warn(
					"offsets cannot be committed to the group, trying again; they are for Kafka's tools only",
					"group", Group(m.in.cfg.Inbox), "error", err)
			}
		}
		failing = err != nil
	}
}
