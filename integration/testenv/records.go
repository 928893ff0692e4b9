package testenv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// Records reads topics as a read_committed consumer does, from their beginning up to where their
// last stable offsets are now. Records of one partition are in their order. A topic that does not
// exist has no records.
func (w *Env) Records(topics ...string) []*kgo.Record {
	w.t.Helper()
	records, err := w.records(topics...)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	return records
}

// Consume is Records, repeated until there are at least n records. The test fails after two
// minutes.
func (w *Env) Consume(n int, topics ...string) []*kgo.Record {
	w.t.Helper()
	var records []*kgo.Record
	w.Await(2*time.Minute, func(context.Context) (err error) {
		if records, err = w.records(topics...); err == nil && len(records) < n {
			err = fmt.Errorf("%d of %d records", len(records), n)
		}
		return err
	})
	return records
}

func (w *Env) records(topics ...string) (records []*kgo.Record, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for _, topic := range topics {
		err := integration.ReadCommitted(ctx, w.KafkaDirect(), func(r *kgo.Record) error {
			records = append(records, r)
			return nil
		}, topic)
		if err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
			return nil, err
		}
	}
	return records, nil
}

// Record is a record that a relay has made of an entry.
type Record struct {
	Shard     int
	Entry     outbox.EntryID
	Event     string // header id
	Key       string
	Payload   uint64 // hash
	Topic     string
	Partition int32
	Offset    int64
}

// Delivered reads this environment's own topic, and others if they are named, after every
// transaction on them has ended: a commit is acknowledged before its records are visible.
func (w *Env) Delivered(others ...string) []Record {
	w.t.Helper()
	topics := append([]string{w.Topic()}, others...)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := integration.AwaitStable(ctx, w.KafkaDirect(), topics...); err != nil {
		w.t.Fatalf("%v", err)
	}
	raw := w.Records(topics...)
	records := make([]Record, 0, len(raw))
	for _, r := range raw {
		parsed, err := w.parse(r)
		if err != nil {
			w.t.Fatalf("topic %s, partition %d, offset %d: %v", r.Topic, r.Partition, r.Offset, err)
		}
		records = append(records, parsed)
	}
	return records
}

func (w *Env) parse(r *kgo.Record) (Record, error) {
	parsed := Record{
		Event: Header(r, "id"), Key: string(r.Key), Payload: hash(r.Value),
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset,
	}
	ref := Header(r, "sluice-entry")
	shard, entry, ok := strings.Cut(strings.TrimPrefix(ref, w.Outbox+"/"), "/")
	n, err := strconv.Atoi(shard)
	if !ok || err != nil {
		return parsed, fmt.Errorf("header sluice-entry is %q", ref)
	}
	parsed.Shard = n
	parsed.Entry, err = outbox.ParseEntryID(entry)
	return parsed, err
}

// Header is the value of a record's header, empty if it has none of that name.
func Header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// Positions reads the history of every shard's position: all committed records of the positions
// topic that compaction has left, which is all of them in a run of minutes.
func (w *Env) Positions() map[int][]relay.Position {
	w.t.Helper()
	history := map[int][]relay.Position{}
	for _, r := range w.Records(names.PositionsTopic(w.Outbox)) {
		if string(r.Key) != w.Outbox+"/"+strconv.Itoa(int(r.Partition)) {
			continue // a claim
		}
		p, err := relay.ParsePosition(r.Value)
		if err != nil {
			w.t.Fatalf("position record at offset %d: %v", r.Offset, err)
		}
		history[int(r.Partition)] = append(history[int(r.Partition)], p)
	}
	return history
}

// Lane is the name of the lane that carries a shard: the last one whose claim is not withdrawn.
func (w *Env) Lane(shard int) string {
	w.t.Helper()
	prefix := w.Outbox + "/" + strconv.Itoa(shard) + "/"
	var live []string
	for _, r := range w.Records(names.PositionsTopic(w.Outbox)) {
		lane, ok := strings.CutPrefix(string(r.Key), prefix)
		if !ok {
			continue
		}
		live = slices.DeleteFunc(live, func(x string) bool { return x == lane })
		if r.Value != nil {
			live = append(live, lane)
		}
	}
	if len(live) == 0 {
		w.t.Fatalf("no lane has claimed shard %d", shard)
	}
	return live[len(live)-1]
}
