package consistency

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/names"
)

const (
	keptReports = 200
	keptTiles   = 2048 // by shard
	storeBytes  = 16 << 20
)

// store keeps what audits remember in Kafka, where a rollback of Redis cannot take it back.
// Everything is in one partition, so that what is read is in the order in which it was written.
type store struct {
	logs     *kafkaLogs
	producer *kgo.Client
	outbox   string
	stale    []string // keys of reports that are too many, as of the last load
}

func (s *store) key(parts ...any) string {
	return s.outbox + "/" + strings.TrimSuffix(fmt.Sprintln(parts...), "\n")
}

// each gives every record of the topic to fn, in the order in which they were written; a value is
// valid until fn returns. A topic that does not exist is empty.
func (s *store) each(ctx context.Context, fn func(key string, value []byte) error) error {
	name := names.AuditsTopic(s.outbox)
	described, err := s.logs.topics(ctx, []string{name}, nil)
	if err != nil {
		return err
	}
	if len(described) == 1 && strings.Contains(described[0].problem, "not exist") {
		return nil
	}
	if len(described) != 1 || described[0].problem != "" || described[0].partitions < 1 {
		return fmt.Errorf("kafka: topic %s cannot be read: %s", name, described[0].problem)
	}
	all, err := s.logs.bounds(ctx, []string{name})
	if err != nil {
		return err
	}
	b := all[name][0]
	err = s.logs.read(ctx, name, 0, b.start, b.end, func(r *kgo.Record) error {
		return fn(string(r.Key), r.Value)
	})
	if err != nil {
		return fmt.Errorf("topic %s: %w", name, err)
	}
	return nil
}

// load reads the state and the reports.
func (s *store) load(ctx context.Context) (state, []*Report, error) {
	var remembered state
	latest := map[string][]byte{}
	name := names.AuditsTopic(s.outbox)
	err := s.each(ctx, func(k string, v []byte) error {
		if k == s.key("state") || strings.HasPrefix(k, s.outbox+"/report ") {
			latest[k] = bytes.Clone(v)
		}
		return nil
	})
	if err != nil {
		return state{}, nil, err
	}
	var reports []*Report
	keys := map[*Report]string{}
	for k, v := range latest {
		if len(v) == 0 {
			continue
		}
		if k == s.key("state") {
			if err := json.Unmarshal(v, &remembered); err != nil {
				return state{}, nil,
					fmt.Errorf("topic %s: the audit state cannot be read: %w: audit with --full", name, err)
			}
			continue
		}
		r := &Report{}
		if err := json.Unmarshal(v, r); err != nil {
			return state{}, nil, fmt.Errorf("topic %s: a report cannot be read: %w", name, err)
		}
		reports = append(reports, r)
		keys[r] = k
	}
	slices.SortFunc(reports, func(a, b *Report) int {
		return cmp.Or(cmp.Compare(a.Run, b.Run), a.Finished.Compare(b.Finished))
	})
	s.stale = nil
	for _, r := range reports[:max(0, len(reports)-keptReports+1)] {
		s.stale = append(s.stale, keys[r])
	}
	return remembered, reports, nil
}

// save writes tiles, the state and the report of a run; what is nil is left as it is.
func (s *store) save(ctx context.Context, now *state, tiles []Tile, report *Report) error {
	records := make([]*kgo.Record, 0, len(tiles)+len(s.stale)+2)
	var failed error
	add := func(key string, value any) {
		text, err := json.Marshal(value)
		failed = errors.Join(failed, err)
		records = append(records, &kgo.Record{
			Topic: names.AuditsTopic(s.outbox), Key: []byte(key),
			Value: text,
		})
	}
	for i := range tiles {
		add(s.key("tile", tiles[i].Shard, tiles[i].slot), &tiles[i])
	}
	if report != nil {
		// Two that run at once have one number; neither replaces the report of the other.
		add(s.key("report", report.Run, report.Started.UnixNano()), report)
		for _, key := range s.stale {
			records = append(records, &kgo.Record{Topic: names.AuditsTopic(s.outbox), Key: []byte(key)})
		}
	}
	if now != nil {
		add(s.key("state"), now)
	}
	if failed != nil {
		return failed
	}
	if err := s.produce(ctx, records); err != nil {
		return fmt.Errorf("kafka: the audit's state cannot be kept in topic %s: %w",
			names.AuditsTopic(s.outbox), err)
	}
	return nil
}

// produce writes records, and creates the topic if there is none. One that was just created is not
// known to all brokers at once.
func (s *store) produce(ctx context.Context, records []*kgo.Record) error {
	err := s.producer.ProduceSync(ctx, records...).FirstErr()
	for pause := fetchPause; errors.Is(err, kerr.UnknownTopicOrPartition) &&
		pause <= mostPause; pause *= 2 {
		if err := s.create(ctx); err != nil {
			return err
		}
		for _, r := range records {
			*r = kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value}
		}
		if err = s.producer.ProduceSync(ctx, records...).FirstErr(); err == nil {
			break
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
	return err
}

func (s *store) create(ctx context.Context) error {
	settings := map[string]*string{
		"cleanup.policy":    kadm.StringPtr("compact"),
		"max.message.bytes": kadm.StringPtr(fmt.Sprint(storeBytes)),
	}
	answer, err := s.logs.admin.CreateTopic(ctx, 1, -1, settings, names.AuditsTopic(s.outbox))
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("kafka: create topic %s: %w %s", names.AuditsTopic(s.outbox), err,
			answer.ErrMessage)
	}
	return nil
}
