package migrations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/internal/control"
	"github.com/sluice-outbox/sluice/internal/delivery"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/internal/retry"
)

// lanesVersion is the layout version from which on shards are delivered in lanes. Before it each
// shard had two transactional ids of its own, and its position record was what a lane's record now
// contains.
//
// Relays of the earlier layout fence those ids only, and would deliver beside a lane. So the
// migration goes in order: no relay runs; the old ids are fenced, which ends a relay that is
// paused; each shard is claimed by a lane and its position rewritten. A relay of the earlier layout
// that wakes up afterwards refuses the new record's version, and says so.
const lanesVersion = 3

// aliveFor is how old a relay's report in the status hash may be to count as a sign of life. Relays
// repeat it every few seconds.
const aliveFor = 15 * time.Second

// coordinatorPatience is how long a new Kafka may take to have a group coordinator.
const coordinatorPatience = 30 * time.Second

// runningRelays says why relays are believed to run; "" if nothing says so.
func (m *Migrator) runningRelays(ctx context.Context) (string, error) {
	name := names.RelayGroup(m.cfg.Outbox)
	groups, err := m.kafka.DescribeGroups(ctx, name)
	// The first question of all makes brokers create their offsets topic, and until then there is no
	// coordinator.
	for began := time.Now(); errors.Is(err, kerr.CoordinatorNotAvailable) &&
		time.Since(began) < coordinatorPatience; {
		if retry.Sleep(ctx, firstLook) != nil {
			return "", err
		}
		groups, err = m.kafka.DescribeGroups(ctx, name)
	}
	if err != nil {
		return "", err
	}
	// Kafka describes a group that it does not know as a dead one without members, from 4.0 on with an
	// error.
	group := groups[name]
	if group.Err != nil && !errors.Is(group.Err, kerr.GroupIDNotFound) {
		return "", group.Err
	}
	if n := len(group.Members); n > 0 {
		return "the relay group has " + count(n, "member"), nil
	}
	reports, err := control.ReadReports(ctx, m.redis, m.cfg.Outbox)
	if err != nil {
		return "", err
	}
	for shard, r := range reports {
		if age := time.Since(time.UnixMilli(r.AtMS)); r.State != "stopped" && age < aliveFor {
			return fmt.Sprintf("relay %s told of shard %d %s ago", r.Instance, shard,
				age.Round(time.Second)), nil
		}
	}
	return "", nil
}

// convertPositions fences the ids of the earlier layout and rewrites the positions. What was
// converted before is written again as it is, so that it may be repeated.
func (m *Migrator) convertPositions(ctx context.Context) error {
	running, err := m.runningRelays(ctx)
	if err != nil {
		return err
	}
	if running != "" {
		return fmt.Errorf("%s: stop every relay of the outbox first", running)
	}
	if err := m.shrinkSegments(ctx); err != nil {
		return err
	}
	shards := make([]int, m.cfg.Shards)
	for shard := range shards {
		shards[shard] = shard
		for _, turn := range []byte{'a', 'b'} {
			if err := m.fence(ctx, names.ShardID(m.cfg.Outbox, shard, turn)); err != nil {
				return err
			}
		}
	}
	e := delivery.New(delivery.Config{
		Outbox: m.cfg.Outbox, Topic: names.PositionsTopic(m.cfg.Outbox), Client: m.client,
		Producer: m.client.Opts(), Instance: "migration", Logger: slog.New(slog.DiscardHandler),
		MaxEntries: 10_000, MaxBytes: 16 << 20, MaxInFlight: 16 << 20,
		TransactionTimeout: 10 * time.Second, DrainTimeout: 10 * time.Second,
	})
	defer e.Close()
	return e.Set(ctx, shards, func(_ int, record []byte) ([]byte, error) {
		return convertPosition(record)
	})
}

// convertPosition makes the position of a lane's record from a record of either layout.
func convertPosition(record []byte) ([]byte, error) {
	if record == nil {
		return []byte("null"), nil // relays of the earlier layout must find something that they refuse
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(record, &fields); err != nil {
		return nil, fmt.Errorf("position record: %w", err)
	}
	switch version := string(fields["v"]); version {
	case "1":
		delete(fields, "v")
		return json.Marshal(fields)
	case strconv.Itoa(delivery.RecordVersion):
		p, err := delivery.ParsePosition(record)
		if err != nil {
			return nil, err
		}
		return p.Position, nil
	default:
		return nil, fmt.Errorf("position record has version %s, this migration knows 1 and %d", version,
			delivery.RecordVersion)
	}
}

// fenceTimeout bounds the wait for one id: a partition without a leader can keep its transaction
// from ending.
const fenceTimeout = time.Minute

// fence ends whatever is under way with a transactional id, for good.
func (m *Migrator) fence(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, fenceTimeout)
	defer cancel()
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis = &id, 10_000
	for {
		resp, err := req.RequestWith(ctx, m.client)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if !errors.Is(err, kerr.ConcurrentTransactions) {
			if err != nil {
				return fmt.Errorf("fence transactional id %s: %w", id, err)
			}
			return nil
		}
		if retry.Sleep(ctx, 50*time.Millisecond) != nil {
			return fmt.Errorf("fence transactional id %s: its last transaction does not end: %w", id, err)
		}
	}
}

// shrinkSegments gives the positions topic the settings of this layout, where it still has those of
// the earlier one.
func (m *Migrator) shrinkSegments(ctx context.Context) error {
	name := names.PositionsTopic(m.cfg.Outbox)
	configs, err := m.kafka.DescribeTopicConfigs(ctx, name)
	if err != nil {
		return err
	}
	settings, err := configs.On(name, nil)
	if err == nil {
		err = settings.Err
	}
	if err != nil {
		return err
	}
	earlier := map[string]string{"segment.bytes": "8388608", "delete.retention.ms": "300000"}
	now := map[string]string{
		"segment.bytes":       strconv.Itoa(positionsSegmentBytes),
		"delete.retention.ms": strconv.Itoa(positionsDeleteRetention),
	}
	var change []kadm.AlterConfig
	for _, c := range settings.Configs {
		if earlier[c.Key] != "" && c.MaybeValue() == earlier[c.Key] {
			value := now[c.Key]
			change = append(change, kadm.AlterConfig{Op: kadm.SetConfig, Name: c.Key, Value: &value})
		}
	}
	if len(change) == 0 {
		return nil
	}
	answers, err := m.kafka.AlterTopicConfigs(ctx, change, name)
	if err != nil {
		return err
	}
	answer, err := answers.On(name, nil)
	if err == nil {
		err = answer.Err
	}
	return err
}
