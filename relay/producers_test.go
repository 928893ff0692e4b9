package relay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/outbox"
)

// Consumers and other producers find a key's partition by Kafka's own default.
func TestPartitionerIsKafkas(t *testing.T) {
	t.Parallel()
	theirs := kgo.StickyKeyPartitioner(nil).ForTopic("t") // murmur2 by default, as Java's
	ours := partitioner{}.ForTopic("t")
	for i := range 20_000 {
		key := make([]byte, i%40)
		for j := range key {
			key[j] = byte(rand.Uint32())
		}
		r := &kgo.Record{Key: key, Headers: []kgo.RecordHeader{{Key: "sluice-entry"}}}
		n := 1 + i%50
		if got, want := ours.Partition(r, n), theirs.Partition(r, n); got != want {
			t.Fatalf("key %x of %d partitions: got %d, want %d", key, n, got, want)
		}
	}
	if !ours.RequiresConsistency(&kgo.Record{}) {
		t.Error("a key would move to another partition while a leader is away")
	}
	for shard := range 5 {
		r, err := positionRecord("orders", shard, Position{})
		if err != nil || ours.Partition(r, 5) != shard || r.Topic != "sluice.orders.positions" || string(r.Key) != fmt.Sprintf("orders/%d", shard) {
			t.Errorf("position of shard %d: %+v, %v", shard, r, err)
		}
	}
}

func TestEntryOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]EntryID{"orders/3/5-7": {5, 7}, "a/b": {}, "": {}, "/": {}, "orders/3/x": {}, "5-7": {}} {
		r := &kgo.Record{Headers: []kgo.RecordHeader{{Key: "id", Value: []byte("x/9-9")}, {Key: "sluice-entry", Value: []byte(text)}}}
		if got := entryOf(r); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
	if got := entryOf(&kgo.Record{}); !got.IsZero() {
		t.Errorf("the position record belongs to entry %s", got)
	}
}

func (l *lab) producers(t *testing.T) *producers {
	t.Helper()
	cfg := l.config().withDefaults()
	p, err := newProducers(t.Context(), &cfg, 0, func(string) int32 { return defaultMaxMessageBytes })
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func eventRecord(topic, id string) *kgo.Record {
	return &kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte(id), Headers: []kgo.RecordHeader{{Key: "sluice-entry", Value: []byte("orders/0/" + id)}}}
}

// Two ids take turns, a first; a turn ends with a commit that was acknowledged.
func TestProducersTakeTurns(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		if err := l.cluster.CreateTopic("events", 1, nil); err != nil {
			t.Fatal(err)
		}
		var committed []string
		l.cluster.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
			l.cluster.KeepControl()
			end := req.(*kmsg.EndTxnRequest)
			committed = append(committed, fmt.Sprint(end.TransactionalID, " ", end.Commit))
			return nil, nil, false
		})
		p := l.producers(t)
		defer p.close()
		for i := range uint64(4) {
			if err := p.begin(); err != nil {
				t.Fatal(err)
			}
			id := EntryID{i + 1, 0}
			p.send(t.Context(), []*kgo.Record{eventRecord("events", id.String())})
			if err := p.commit(t.Context(), Position{Entry: id, Count: i + 1}); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := fmt.Sprint(committed), "[sluice.orders.0.a true sluice.orders.0.b true sluice.orders.0.a true sluice.orders.0.b true]"; got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
		if got := l.all("events"); len(got) != 4 {
			t.Errorf("%d records", len(got))
		}
		if pos := l.position(0, EntryID{4, 0}); pos.Count != 4 {
			t.Errorf("position %+v", pos)
		}
	})
}

// Invariant 1: whoever initialises the ids ends what an earlier owner had open, and the earlier owner cannot commit any more,
// neither on the id it had open nor, later, on the other one.
func TestProducersAreFenced(t *testing.T) {
	t.Parallel()
	for _, turns := range []int{0, 1} {
		t.Run(fmt.Sprint("after ", turns, " commits"), func(t *testing.T) {
			t.Parallel()
			inLab(t, 1, func(t *testing.T, l *lab) {
				if err := l.cluster.CreateTopic("events", 1, nil); err != nil {
					t.Fatal(err)
				}
				x := l.producers(t)
				defer x.close()
				send := func(p *producers, id EntryID) error {
					if err := p.begin(); err != nil {
						return err
					}
					p.send(t.Context(), []*kgo.Record{eventRecord("events", id.String())})
					return p.commit(t.Context(), Position{Entry: id})
				}
				for i := range turns {
					if err := send(x, EntryID{uint64(i + 1), 0}); err != nil {
						t.Fatal(err)
					}
				}
				if err := x.begin(); err != nil {
					t.Fatal(err)
				}
				x.send(t.Context(), []*kgo.Record{eventRecord("events", "66-0")})
				if err := x.client[x.turn].Flush(t.Context()); err != nil {
					t.Fatal(err)
				}

				y := l.producers(t)
				defer y.close()
				if err := x.commit(t.Context(), Position{Entry: EntryID{66, 0}}); !isFenced(err) {
					t.Errorf("the earlier owner's commit: %v", err)
				}
				if err := send(y, EntryID{77, 0}); err != nil {
					t.Errorf("the newer owner's commit: %v", err)
				}
				var got []string
				for _, r := range l.all("events") {
					got = append(got, string(r.Value))
				}
				if want := turns + 1; len(got) != want || got[turns] != "77-0" {
					t.Errorf("visible are %v", got)
				}
				if pos := l.position(0, EntryID{77, 0}); pos.Entry != (EntryID{77, 0}) {
					t.Errorf("position %+v", pos)
				}
			})
		})
	}
}

// A transaction with one record that failed is not committed, whatever kgo's EndTransaction would say.
func TestCommitLooksAtEveryRecord(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		for _, topic := range []string{"events", "others"} {
			if err := l.cluster.CreateTopic(topic, 1, nil); err != nil {
				t.Fatal(err)
			}
		}
		l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "others", Err: kerr.InvalidRecord, Count: -1})
		p := l.producers(t)
		defer p.close()
		if err := p.begin(); err != nil {
			t.Fatal(err)
		}
		p.send(t.Context(), []*kgo.Record{eventRecord("events", "1-0"), eventRecord("others", "2-0"), eventRecord("events", "3-0")})
		err := p.commit(t.Context(), Position{Entry: EntryID{3, 0}})
		var failed *deliveryError
		if !errors.As(err, &failed) || len(failed.failures) != 1 || failed.failures[0].id != (EntryID{2, 0}) || failed.failures[0].topic != "others" || !errors.Is(err, kerr.InvalidRecord) {
			t.Errorf("got %v", err)
		}
		if p.turn != 0 {
			t.Error("the turn has ended without a commit")
		}
		p.close()
		if n := len(l.all("events", outbox.PositionsTopic(l.outbox))); n != 0 {
			t.Errorf("%d records are visible", n)
		}
		if _, err := ReadPositions(t.Context(), l.opts, l.outbox, 1); err != nil {
			t.Error(err)
		}
	})
}

func TestProducersEnd(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		cfg := l.config().withDefaults()
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := newProducers(cancelled, &cfg, 0, func(string) int32 { return 1 << 20 }); !errors.Is(err, context.Canceled) {
			t.Errorf("with a context that has ended: %v", err)
		}
		cfg.Kafka = append(cfg.Kafka, kgo.DisableIdempotentWrite())
		if _, err := newProducers(t.Context(), &cfg, 0, func(string) int32 { return 1 << 20 }); err == nil {
			t.Error("made without idempotence")
		}
		p := l.producers(t)
		p.close()
		p.close()
		if err := p.begin(); err == nil {
			p.send(t.Context(), []*kgo.Record{eventRecord("events", "1-0")})
			if err := p.commit(t.Context(), Position{}); err == nil {
				t.Error("committed after close")
			}
		}
	})
}

func TestDeliveryErrorText(t *testing.T) {
	t.Parallel()
	one := &deliveryError{[]recordError{{"t", EntryID{1, 0}, kerr.InvalidRecord}}}
	if got, want := one.Error(), "kafka: topic t, entry 1-0: "+kerr.InvalidRecord.Error(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	two := &deliveryError{[]recordError{one.failures[0], {"t", EntryID{2, 0}, kerr.InvalidRecord}}}
	if got, want := two.Error(), one.Error()+" (and 1 more records)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
