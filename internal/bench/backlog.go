package bench

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/migrations"
	"github.com/sluice-outbox/sluice/outbox"
)

// backlog is the streams of an outbox that nobody carries: every run of a driver gets a copy of
// them, so that all runs see the same entries with the same IDs, and filling costs only once.
type backlog struct {
	backends *backends
	name     string
	shards   int
	marks    [][]string // by shard: IDs of every markEvery-th entry
}

// fill writes entries without transactions, as fast as that goes.
func (s *backends) fill(ctx context.Context, name string, shards, entries int, source *events,
	numbers numbering,
) (*backlog, error) {
	b := &backlog{backends: s, name: name, shards: shards, marks: make([][]string, shards)}
	written := make([]int, shards)
	for n := 0; n < entries; {
		pipe := s.redis.Pipeline()
		marks := map[int]*redis.Cmd{}
		for ; n < entries && pipe.Len() < markEvery; n++ {
			e := source.event(numbers.number(n))
			shard := outbox.Shard(e.RoutingKey(), shards)
			args := append([]any{"XADD", outbox.StreamKey(name, shard), "*"}, outbox.EntryFields(e, 0)...)
			cmd := pipe.Do(ctx, args...)
			if written[shard]%markEvery == 0 {
				marks[shard] = cmd // a pipeline has no two of one shard
			}
			written[shard]++
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return b, fmt.Errorf("redis: XADD: %w", err)
		}
		for shard, cmd := range marks {
			b.marks[shard] = append(b.marks[shard], fmt.Sprint(cmd.Val()))
		}
	}
	return b, nil
}

func (b *backlog) remove(ctx context.Context) error {
	return b.backends.removeKeys(ctx, b.name, b.shards)
}

// stage is an outbox with its topic, laid out for one run of one driver.
type stage struct {
	backends *backends
	name     string
	topic    string
	shards   int
}

// stage lays out an outbox under a new name: with a copy of the backlog, or empty if there is none.
func (s *backends) stage(ctx context.Context, name string, shards, partitions int,
	from *backlog,
) (*stage, error) {
	st := &stage{backends: s, name: name, topic: name + ".events", shards: shards}
	if from != nil {
		for shard := range shards {
			if err := s.redis.Copy(ctx, outbox.StreamKey(from.name, shard), outbox.StreamKey(name, shard),
				s.redis.Options().DB, false).Err(); err != nil {
				return st, fmt.Errorf("redis: COPY: %w", err)
			}
		}
	}
	m, err := migrations.New(s.redis, s.kafka, migrations.Config{Outbox: name, Shards: shards})
	if err != nil {
		return st, err
	}
	plan, err := m.Plan(ctx, 0)
	if err != nil {
		return st, err
	}
	if err := m.Apply(ctx, plan); err != nil {
		return st, err
	}
	created, err := s.admin.CreateTopics(ctx, int32(partitions), -1, nil, st.topic)
	if err != nil {
		return st, fmt.Errorf("kafka: create %s: %w", st.topic, err)
	}
	if err := created[st.topic].Err; err != nil {
		return st, fmt.Errorf("kafka: create %s: %w", st.topic, err)
	}
	return st, nil
}

// remove deletes what the stage consists of, on both sides.
func (st *stage) remove(ctx context.Context) error {
	if err := st.backends.removeKeys(ctx, st.name, st.shards); err != nil {
		return err
	}
	deleted, err := st.backends.admin.DeleteTopics(ctx, st.topic, names.PositionsTopic(st.name),
		names.DeadLetterTopic(st.name), names.AuditsTopic(st.name))
	if err != nil {
		return fmt.Errorf("kafka: delete topics: %w", err)
	}
	for _, d := range deleted {
		if d.Err != nil && !errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
			return fmt.Errorf("kafka: delete %s: %w", d.Topic, d.Err)
		}
	}
	// A group that nobody was a member of does not exist.
	_, _ = st.backends.admin.DeleteGroups(ctx, names.RelayGroup(st.name))
	return nil
}

func (s *backends) removeKeys(ctx context.Context, name string, shards int) error {
	keys := []string{names.LayoutKey(name), names.StatusKey(name), names.ControlKey(name)}
	for shard := range shards {
		keys = append(keys, outbox.StreamKey(name, shard))
	}
	for i := range keys {
		if err := s.redis.Unlink(ctx, keys[i]).Err(); err != nil {
			return fmt.Errorf("redis: UNLINK: %w", err)
		}
	}
	return nil
}
