package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/control"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// Servers are the two sides. Kafka has the options of the clients that are opened for reading
// positions.
type Servers struct {
	Redis redis.UniversalClient
	Admin *kadm.Client
	Kafka []kgo.Opt
	// Audits, if not nil, are looked at too.
	Audits *Audits
	// Fixed: the relays of this outbox have fixed shards, so an empty relay group does not mean that
	// none runs.
	Fixed bool
}

// Status is the outbox at one moment. The two sides are not read at the same instant: a busy
// shard's figures can be some entries apart.
type Status struct {
	Outbox string `json:"outbox"`
	// Version and count of shards of the layout.
	Version int `json:"layout_version"`
	// Relays counts the members of the relay group, 0 if there is no group; nil: unknown. Relays with
	// fixed shards are not members.
	Relays *int    `json:"relays"`
	Shards []Shard `json:"shards"`
	// Audits: the shards say how far audits have come.
	Audits bool `json:"-"`
	// Problems say what could not be found out, and why.
	Problems []string `json:"problems"`
}

// kafkaPatience is how long Kafka may take to give the positions before the status is shown
// without.
const kafkaPatience = 10 * time.Second

// ReadStatus reads the status. It fails if Redis cannot be asked or has no such outbox; a Kafka
// that cannot be asked is a problem in the status.
func ReadStatus(ctx context.Context, s Servers, outboxName string) (Status, error) {
	layout, err := outbox.ReadLayout(ctx, s.Redis, outboxName)
	if err != nil {
		return Status{}, err
	}
	st := Status{Outbox: outboxName, Version: layout.Version, Problems: []string{}}
	all := make([]facts, layout.Shards)
	reports, err := control.ReadReports(ctx, s.Redis, outboxName)
	if err != nil {
		return st, err
	}
	pauses, err := control.ReadPauses(ctx, s.Redis, outboxName)
	if err != nil {
		return st, err
	}
	if st.Relays, err = s.members(ctx, outboxName); err != nil {
		st.Problems = append(st.Problems,
			fmt.Sprintf("relay group %s: %v", names.RelayGroup(outboxName), err))
	}
	positions, err := s.positions(ctx, outboxName, layout.Shards)
	if err != nil {
		st.Problems = append(st.Problems, fmt.Sprintf("positions and lag are unknown: %v", err))
	}
	for i := range all {
		all[i] = facts{
			shard: i, pause: pauses.Of(i),
			alone: !s.Fixed && st.Relays != nil && *st.Relays == 0, asked: err == nil,
		}
		if r, ok := reports[i]; ok {
			all[i].report = &r
		}
		if p, ok := positions[i]; ok {
			all[i].position = &p
		}
	}
	if err := s.streams(ctx, outboxName, all); err != nil {
		return st, err
	}
	for _, f := range all {
		st.Shards = append(st.Shards, f.view())
	}
	if s.Audits != nil {
		st.Audits = true
		if err := s.Audits.look(ctx, s.Redis, outboxName, all, st.Shards); err != nil {
			st.Problems = append(st.Problems, fmt.Sprintf("audits: %v", err))
		}
	}
	return st, nil
}

// members counts the members of the relay group.
func (s Servers) members(ctx context.Context, outboxName string) (*int, error) {
	ctx, cancel := context.WithTimeout(ctx, kafkaPatience)
	defer cancel()
	name := names.RelayGroup(outboxName)
	groups, err := s.Admin.DescribeGroups(ctx, name)
	if err != nil {
		return nil, err
	}
	g, ok := groups[name]
	// Kafka describes a group that it does not know as a dead one without members, from 4.0 on with an
	// error.
	if ok && g.Err != nil && !errors.Is(g.Err, kerr.GroupIDNotFound) {
		return nil, g.Err
	}
	return ptr(len(g.Members)), nil
}

func (s Servers) positions(ctx context.Context, outboxName string,
	shards int,
) (map[int]relay.Position, error) {
	ctx, cancel := context.WithTimeout(ctx, kafkaPatience)
	defer cancel()
	return relay.ReadPositions(ctx, s.Kafka, outboxName, shards)
}

// streams fills in what Redis knows of every shard, in two round trips.
func (s Servers) streams(ctx context.Context, outboxName string, all []facts) error {
	infos := make([]*redis.XInfoStreamCmd, len(all))
	groups := make([]*redis.XInfoGroupsCmd, len(all))
	var now *redis.TimeCmd
	_, err := s.Redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		now = p.Time(ctx)
		for i := range all {
			infos[i] = p.XInfoStream(ctx, outbox.StreamKey(outboxName, i))
			groups[i] = p.XInfoGroups(ctx, outbox.StreamKey(outboxName, i))
		}
		return nil
	})
	if err != nil && !isReply(err) {
		return fmt.Errorf("redis: %w", err)
	}
	nexts := map[int]func() (*redis.XMessage, error){}
	_, err = s.Redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range all {
			f := &all[i]
			f.now = now.Val()
			if f.now.IsZero() {
				f.now = time.Now()
			}
			info, err := infos[i].Result()
			if err != nil {
				if f.noStream = explainNoStream(err); f.noStream == "" {
					return fmt.Errorf("redis: XINFO STREAM %s: %w", outbox.StreamKey(outboxName, i), err)
				}
				continue
			}
			f.info = info
			for _, g := range groups[i].Val() {
				if g.Name == names.ConsumerGroup {
					f.group = &g
				}
			}
			if f.asked {
				nexts[i] = f.askNext(ctx, p, outbox.StreamKey(outboxName, i))
			}
		}
		return nil
	})
	if err != nil && !isReply(err) {
		return err
	}
	for i, next := range nexts {
		m, err := next()
		if err != nil {
			return fmt.Errorf("redis: %s: %w", outbox.StreamKey(outboxName, i), err)
		}
		all[i].next, all[i].none = m, m == nil
	}
	return nil
}

// askNext asks for the first entry that is not delivered. In at-least-once delivery that is the
// first pending one, if there are any.
func (f *facts) askNext(ctx context.Context, p redis.Pipeliner,
	key string,
) func() (*redis.XMessage, error) {
	after := "0-0"
	if f.position != nil && f.position.Delivery == relay.DeliveryExactlyOnce {
		after = f.position.Entry.String()
	} else if f.position != nil && f.group != nil {
		after = f.group.LastDeliveredID
		if f.group.Pending > 0 {
			cmd := p.XPending(ctx, key, names.ConsumerGroup)
			return func() (*redis.XMessage, error) {
				v, err := cmd.Result()
				if err != nil || v.Lower == "" {
					return nil, err
				}
				return &redis.XMessage{ID: v.Lower}, nil
			}
		}
	}
	cmd := p.XRangeN(ctx, key, "("+after, "+", 1)
	return func() (*redis.XMessage, error) {
		v, err := cmd.Result()
		if err != nil || len(v) == 0 {
			return nil, err
		}
		return &v[0], nil
	}
}

// explainNoStream gives the reason why a key has no stream information, or "" for another error.
func explainNoStream(err error) string {
	switch text := err.Error(); {
	case strings.HasPrefix(text, "ERR no such key"):
		return "the stream does not exist: it was deleted"
	case strings.HasPrefix(text, "WRONGTYPE"):
		return "the stream's key holds another type: it was replaced"
	}
	return ""
}

// isReply: the server answered with an error, so the connection is fine.
func isReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}
