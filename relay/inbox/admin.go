package inbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/kafkalog"
)

// Admin is what operators do with an inbox from any process. It applies nothing itself: it reads,
// writes wishes, and resets positions. Close it.
type Admin struct {
	cfg     Config
	client  *kgo.Client
	letters *letterbox
}

// NewAdmin makes an Admin of the inbox that cfg describes; Handle is not needed.
func NewAdmin(cfg Config) (*Admin, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validateServers(); err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(askOpts(&cfg)...)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return &Admin{
		cfg: cfg, client: client,
		letters: &letterbox{client: client, inbox: cfg.Inbox, topic: cfg.DeadLetterTopic},
	}, nil
}

// Close closes the Kafka client. The Redis client stays the caller's.
func (a *Admin) Close() { a.client.Close() }

// ErrNotStarted says that the inbox has never run on this Redis: it has no layout.
var ErrNotStarted = errors.New("the inbox has not started on this Redis yet")

func (a *Admin) layout(ctx context.Context) (*Layout, error) {
	l, err := ReadLayout(ctx, a.cfg.Redis, a.cfg.Inbox)
	if err == nil && l == nil {
		err = fmt.Errorf("%w: %s", ErrNotStarted, a.cfg.Inbox)
	}
	return l, err
}

// Reported is a partition as the servers have it, with what its owner last told.
type Reported struct {
	PartitionStatus
	// ToldAt is when State was told; zero: never. A state that was told long ago is not known now.
	ToldAt time.Time `json:"told_at"`
	// PausedBy says who has paused it, and why; empty: nobody.
	PausedBy string `json:"paused_by,omitempty"`
}

// Status reads every partition of the topics. Position, lag and parked keys are read from the
// servers now; state and reason are what the owner last told.
func (a *Admin) Status(ctx context.Context) ([]Reported, error) {
	layout, err := a.layout(ctx)
	if err != nil {
		return nil, err
	}
	told, err := a.cfg.Redis.HGetAll(ctx, StatusKey(a.cfg.Inbox)).Result()
	if err != nil {
		return nil, fmt.Errorf("redis: HGETALL %s: %w", StatusKey(a.cfg.Inbox), err)
	}
	control := newControl(&a.cfg)
	if err := control.poll(ctx, func() {}); err != nil {
		return nil, err
	}
	ends, err := kadm.NewClient(a.client).ListCommittedOffsets(ctx, a.cfg.Topics...)
	if err != nil {
		return nil, fmt.Errorf("kafka: ends of the topics: %w", err)
	}
	var all []Reported
	for _, end := range sortedEnds(ends) {
		var stored storedStatus
		if json.Unmarshal([]byte(told[place(end.Topic, end.Partition)]), &stored) != nil {
			stored.Record = -1
		}
		r := Reported{PartitionStatus: stored.PartitionStatus, ToldAt: stored.ToldAt}
		r.Topic, r.Partition, r.Lag, r.OldestUnapplied, r.Position, r.ParkedKeys = end.Topic,
			end.Partition, -1, -1, nil, -1
		if by, paused := control.paused(end.Topic, end.Partition); paused {
			r.PausedBy = "paused" + by
		}
		keys := layout.keys(a.cfg.Inbox, end.Topic, end.Partition)
		if r.Position, err = readPosition(ctx, a.cfg.Redis, keys); err != nil {
			return nil, err
		}
		parked, err := a.cfg.Redis.HLen(ctx, keys.parked).Result()
		if err != nil {
			return nil, fmt.Errorf("redis: HLEN %s: %w", keys.parked, err)
		}
		r.ParkedKeys = int(parked)
		if end.Err == nil && r.Position != nil {
			r.Lag = max(0, end.Offset-r.Position.Next)
		}
		all = append(all, r)
	}
	return all, nil
}

func sortedEnds(ends kadm.ListedOffsets) []kadm.ListedOffset {
	var all []kadm.ListedOffset
	ends.Each(func(o kadm.ListedOffset) {
		if o.Partition >= 0 {
			all = append(all, o)
		}
	})
	slices.SortFunc(all, func(a, b kadm.ListedOffset) int {
		if a.Topic != b.Topic {
			if a.Topic < b.Topic {
				return -1
			}
			return 1
		}
		return int(a.Partition - b.Partition)
	})
	return all
}

// readPosition reads a position; nil if there is none.
func readPosition(ctx context.Context, client redis.Cmdable, k keys) (*Position, error) {
	raw, err := client.Get(ctx, k.position).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("redis: GET %s: %w", k.position, err)
	}
	pos, err := ParsePosition(raw)
	if err != nil {
		return nil, fmt.Errorf("redis: %s: %w", k.position, err)
	}
	return &pos, nil
}

// Target names partitions; the zero value is all of them.
type Target struct {
	Topic     string // empty: all
	Partition int32
}

func (t Target) field() string {
	if t.Topic == "" {
		return pauseField
	}
	return pauseFieldOf(t.Topic, t.Partition)
}

// Pause has the owners stop before the next record, within Config.HousekeepingInterval.
func (a *Admin) Pause(ctx context.Context, t Target, by, reason string) error {
	value, err := json.Marshal(pauseWish{time.Now().UnixMilli(), by, reason})
	if err == nil {
		err = a.cfg.Redis.HSet(ctx, ControlKey(a.cfg.Inbox), t.field(), value).Err()
	}
	if err != nil {
		return fmt.Errorf("pause: %w", err)
	}
	return nil
}

// Resume takes a Pause of the same target back. It reports whether there was one.
func (a *Admin) Resume(ctx context.Context, t Target) (bool, error) {
	n, err := a.cfg.Redis.HDel(ctx, ControlKey(a.cfg.Inbox), t.field()).Result()
	if err != nil {
		return false, fmt.Errorf("resume: %w", err)
	}
	return n > 0, nil
}

// ParkedKey is a key whose records wait.
type ParkedKey struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Key       string `json:"key"`
	// First is the offset that failed, Last the latest that waits behind it. Waiting counts them.
	First   int64     `json:"first"`
	Last    int64     `json:"last"`
	Waiting int64     `json:"waiting"`
	Reason  Reason    `json:"reason"`
	Detail  string    `json:"detail,omitempty"`
	Since   time.Time `json:"since"`
}

// Parked lists the parked keys of a partition, by their first offset.
func (a *Admin) Parked(ctx context.Context, topic string, partition int32) ([]ParkedKey, error) {
	layout, err := a.layout(ctx)
	if err != nil {
		return nil, err
	}
	k := layout.keys(a.cfg.Inbox, topic, partition)
	fields, err := a.cfg.Redis.HGetAll(ctx, k.parked).Result()
	if err != nil {
		return nil, fmt.Errorf("redis: HGETALL %s: %w", k.parked, err)
	}
	parked, err := parseParked(fields)
	if err != nil {
		return nil, fmt.Errorf("redis: %s: %w", k.parked, err)
	}
	all := make([]ParkedKey, 0, len(parked))
	for key, p := range parked {
		all = append(all, ParkedKey{
			Topic: topic, Partition: partition, Key: key, First: p.First, Last: p.Last,
			Waiting: p.Count - p.Applied, Reason: p.Reason, Detail: p.Detail,
			Since: time.UnixMilli(p.SinceMS).UTC(),
		})
	}
	slices.SortFunc(all, func(a, b ParkedKey) int { return int(a.First - b.First) })
	return all, nil
}

// Letters lists the dead letters of the inbox, by partition and offset.
func (a *Admin) Letters(ctx context.Context) ([]*Letter, error) {
	return a.letters.read(ctx, func(*Letter) bool { return false })
}

// ReplayKey asks the owner of a partition to apply what waits of a parked key, in its order, and to
// free the key.
func (a *Admin) ReplayKey(ctx context.Context, topic string, partition int32, key string,
	mode ReplayMode,
) error {
	return a.wish(ctx, topic, partition, keyWish+key, string(mode))
}

// ReplayLetter asks the owner to apply one dead letter, by itself: later records of its key may
// have taken effect before. A letter behind a parked key is not applied this way; replay the key.
func (a *Admin) ReplayLetter(ctx context.Context, l *Letter) error {
	return a.wish(ctx, l.Topic, l.Partition, offsetWish+strconv.FormatInt(l.Offset, 10),
		string(RefuseMissing))
}

func (a *Admin) wish(ctx context.Context, topic string, partition int32, wish, value string) error {
	layout, err := a.layout(ctx)
	if err != nil {
		return err
	}
	k := layout.keys(a.cfg.Inbox, topic, partition)
	// What an owner has begun is not begun again.
	if err := a.cfg.Redis.HSetNX(ctx, k.replay, wish, value).Err(); err != nil {
		return fmt.Errorf("redis: HSETNX %s: %w", k.replay, err)
	}
	return nil
}

// Drop ends dead letters for good. A parked key stays parked: replay it with SkipMissing to free
// it.
func (a *Admin) Drop(ctx context.Context, letters ...*Letter) error {
	return a.letters.drop(ctx, letters)
}

// log opens the log of a partition on a leader that is not deposed.
func (a *Admin) log(t *kafkalog.Topic, partition int32) (*kafkalog.Log, error) {
	return kafkalog.Open(a.client, t, int(partition), kgo.ReadCommitted())
}
