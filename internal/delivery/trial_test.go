package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

func tryRecords(n int, topic string, partitions int32) (records []*kgo.Record) {
	for i := range n {
		records = append(records, &kgo.Record{
			Topic: topic, Partition: int32(i) % partitions, Key: fmt.Appendf(nil, "0/%d", i+1),
			Value: []byte("value"), Timestamp: time.UnixMilli(1_000_000 + int64(i)),
			Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("x")}},
		})
	}
	return records
}

func keysRefused(refusals []Refusal) (keys []string) {
	for _, x := range refusals {
		keys = append(keys, string(x.Record.Key))
	}
	slices.Sort(keys)
	return keys
}

// All records that Kafka refuses are found, and no others, whether it names them or not. Nothing of
// a trial is visible or left open.
func TestTry(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bad   []int
		named bool
	}{
		"none":            {nil, false},
		"one, named":      {[]int{7}, true},
		"one":             {[]int{7}, false},
		"the first":       {[]int{1}, false},
		"the last, named": {[]int{100}, true},
		"many, named":     {[]int{1, 2, 3, 50, 51, 99, 100}, true},
		"many":            {[]int{1, 2, 3, 50, 51, 99, 100}, false},
		"a whole partition, named": {[]int{
			2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 32, 35, 38, 41, 44, 47,
			50, 53, 56, 59, 62, 65, 68, 71, 74, 77, 80, 83, 86, 89, 92, 95, 98,
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inLab(t, 1, func(t *testing.T, l *lab) {
				l.topic("events", 3)
				var want []string
				for _, n := range c.bad {
					want = append(want, fmt.Sprintf("0/%d", n))
				}
				slices.Sort(want)
				l.refuse("events", func(key string) bool { return slices.Contains(want, key) }, c.named)
				e, end := l.engine()
				defer end()
				records := tryRecords(100, "events", 3)
				for range 2 { // it can be done again
					refusals, err := e.Try(t.Context(), records)
					if err != nil {
						t.Fatal(err)
					}
					if got := keysRefused(refusals); !slices.Equal(got, want) {
						t.Errorf("refused are %v, want %v", got, want)
					}
					for _, x := range refusals {
						if !errors.Is(x.Err, kerr.InvalidRecord) {
							t.Errorf("%s: %v", x.Record.Key, x.Err)
						}
					}
				}
				if n := len(l.all("events")); n != 0 {
					t.Errorf("%d records are visible", n)
				}
				open, unknown, err := e.openIn(t.Context(), "events")
				if err != nil || len(open) != 0 || len(unknown) != 0 {
					t.Errorf("open are %v, unknown %v, %v", open, unknown, err)
				}
			})
		})
	}
}

// A batch may be larger than its topic takes while its records are not: only those that are too
// large alone are refused.
func TestTryTooLarge(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		if err := l.cluster.CreateTopic("small", 1,
			map[string]string{"max.message.bytes": "2000"}); err != nil {
			t.Fatal(err)
		}
		e, end := l.engine()
		defer end()
		records := tryRecords(60, "small", 1)
		for i, r := range records {
			r.Value = bytes.Repeat([]byte("x"), 300)
			if i%20 == 10 {
				r.Value = bytes.Repeat([]byte("x"), 3000)
			}
		}
		refusals, err := e.Try(t.Context(), records)
		if got := keysRefused(refusals); err != nil ||
			!slices.Equal(got, []string{"0/11", "0/31", "0/51"}) {
			t.Errorf("refused are %v, %v", got, err)
		}
		for _, x := range refusals {
			if !errors.Is(x.Err, kerr.MessageTooLarge) {
				t.Errorf("%s: %v", x.Record.Key, x.Err)
			}
		}
	})
}

// What is found is worth more than what is not: an error of one partition does not hide another's
// refusals.
func TestTryFails(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		l.topic("others", 1)
		e, end := l.engine()
		defer end()
		both := append(tryRecords(3, "events", 1), tryRecords(3, "others", 1)...)
		denied := l.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.Produce}, Topic: "others",
			Err: kerr.TopicAuthorizationFailed, Count: -1,
		})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if refusals, err := e.Try(ctx, both); !errors.Is(err, kerr.TopicAuthorizationFailed) ||
			len(refusals) != 0 || !strings.Contains(err.Error(), "topic others, partition 0") {
			t.Errorf("got %v, %v", keysRefused(refusals), err)
		}
		bad := l.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.Produce}, Topic: "events",
			Err: kerr.InvalidTimestamp, Count: -1,
		})
		if refusals, err := e.Try(ctx, both); err != nil || len(refusals) != 3 {
			t.Errorf("got %v, %v", keysRefused(refusals), err)
		}
		bad.Remove()
		denied.Remove()
		if _, err := e.Try(ctx, tryRecords(1, "absent", 1)); err == nil {
			t.Error("tried in a topic that does not exist")
		}
		if _, err := e.Try(ctx, []*kgo.Record{{Topic: "events", Partition: 9}}); err == nil {
			t.Error("tried in a partition that does not exist")
		}
		if refusals, err := e.Try(ctx, both); err != nil || len(refusals) != 0 {
			t.Errorf("after all that: %v, %v", keysRefused(refusals), err)
		}
		if n := len(l.all("events", "others")); n != 0 {
			t.Errorf("%d records are visible", n)
		}
	})
}

// A broker that does not answer bounds the trial by its context.
func TestTryEndsWithItsContext(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		stall := l.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.Produce}, Topic: "events",
			Err: kerr.NotEnoughReplicas, Count: -1,
		})
		e, end := l.engine()
		defer end()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began := time.Now()
		if _, err := e.Try(ctx, tryRecords(3, "events", 1)); err == nil ||
			time.Since(began) > 3*time.Second {
			t.Errorf("got %v after %s", err, time.Since(began))
		}
		stall.Remove()
		if refusals, err := e.Try(t.Context(), tryRecords(3, "events", 1)); err != nil ||
			len(refusals) != 0 {
			t.Errorf("afterwards: %v, %v", keysRefused(refusals), err)
		}
	})
}

// What is tried is what would be sent: kgo reads it as it was.
func TestTriedBatch(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var records []*kgo.Record
		for range rapid.IntRange(1, 20).Draw(t, "records") {
			r := &kgo.Record{
				Key:       rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "key"),
				Value:     rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "value"),
				Timestamp: time.UnixMilli(rapid.Int64Range(0, 1<<42).Draw(t, "at")),
			}
			if rapid.Bool().Draw(t, "null") {
				r.Value = nil
			}
			for range rapid.IntRange(0, 3).Draw(t, "headers") {
				r.Headers = append(r.Headers,
					kgo.RecordHeader{
						Key:   rapid.StringN(0, 10, 40).Draw(t, "name"),
						Value: rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "header"),
					})
			}
			records = append(records, r)
		}
		a := attempt{id: 4711, epoch: 3}
		raw := a.batch(records, rapid.Int32Range(0, 1000).Draw(t, "sequence"))
		fp, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{},
			&kmsg.FetchResponseTopicPartition{RecordBatches: raw}, kgo.DefaultDecompressor(), nil)
		if fp.Err != nil || len(fp.Records) != len(records) {
			t.Fatalf("%d of %d records, %v", len(fp.Records), len(records), fp.Err)
		}
		for i, got := range fp.Records {
			want := records[i]
			if !bytes.Equal(got.Key, want.Key) || !bytes.Equal(got.Value, want.Value) ||
				(got.Value == nil) != (want.Value == nil) || !got.Timestamp.Equal(want.Timestamp) ||
				got.ProducerID != 4711 || got.ProducerEpoch != 3 {
				t.Fatalf("record %d: got %+v, want %+v", i, got, want)
			}
			if len(got.Headers) != len(want.Headers) {
				t.Fatalf("record %d: %d headers, want %d", i, len(got.Headers), len(want.Headers))
			}
			for j, h := range got.Headers {
				if h.Key != want.Headers[j].Key || !bytes.Equal(h.Value, want.Headers[j].Value) {
					t.Fatalf("record %d: header %v, want %v", i, h, want.Headers[j])
				}
			}
		}
	})
}
