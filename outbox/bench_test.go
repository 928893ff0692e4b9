//go:build integration

package outbox_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/outbox"
)

// appenders are the same write done by hand and by this package: a state key and an event.
func appenders(t testing.TB) map[string]func(int) error {
	ctx := context.Background()
	client := startRedis(t).Client()
	t.Cleanup(func() { client.Close() })
	createLayout(t, client, "orders", 1)
	writer, err := outbox.NewWriter(client, outbox.Config{Outbox: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	payload := bytes.Repeat([]byte("x"), 200)
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = fmt.Sprintf("order:%d", i)
	}
	event := func(key string) outbox.Event {
		return outbox.Event{
			AggregateType: "order", AggregateID: key, Type: "OrderPlaced",
			Payload: payload,
		}
	}
	stream := outbox.StreamKey("orders", 0)
	return map[string]func(int) error{
		"bare": func(i int) error {
			key := keys[i%len(keys)]
			pipe := client.TxPipeline()
			pipe.Set(ctx, key, "placed", 0)
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: []any{
				"id", uuid.Must(uuid.NewV7()).String(), "aggregatetype", "order", "aggregateid", key,
				"type", "OrderPlaced", "payload", payload, "headers", "{}",
			}})
			_, err := pipe.Exec(ctx)
			return err
		},
		"Tx": func(i int) error {
			key := keys[i%len(keys)]
			_, err := writer.Tx(ctx, key, func(tx *outbox.Tx) error {
				tx.Queue().Set(ctx, key, "placed", 0)
				return tx.Append(event(key))
			})
			return err
		},
		"Append": func(i int) error {
			key := keys[i%len(keys)]
			pipe := client.TxPipeline()
			pipe.Set(ctx, key, "placed", 0)
			appended, err := writer.Append(ctx, pipe, event(key))
			if err != nil {
				return err
			}
			if _, err := pipe.Exec(ctx); err != nil {
				return err
			}
			return appended.Err()
		},
	}
}

func BenchmarkAppend(b *testing.B) {
	all := appenders(b)
	for _, name := range []string{"bare", "Tx", "Append"} {
		do := all[name]
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := do(i); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOverhead measures what the writer adds to a bare MULTI/SET/XADD/EXEC. The three take
// turns in short runs, so that a busy machine slows all of them; the figures are the medians of the
// rounds' ratios.
func BenchmarkOverhead(b *testing.B) {
	const each = 100
	all := appenders(b)
	took := func(do func(int) error) float64 {
		begin := time.Now()
		for i := range each {
			if err := do(i); err != nil {
				b.Fatal(err)
			}
		}
		return float64(time.Since(begin))
	}
	names := []string{"bare", "Tx", "Append"}
	ratios := map[string][]float64{}
	for b.Loop() {
		slices.Reverse(names)
		spent := map[string]float64{}
		for _, name := range names {
			spent[name] = took(all[name])
		}
		for _, name := range []string{"Tx", "Append"} {
			ratios[name] = append(ratios[name], spent[name]/spent["bare"])
		}
	}
	for name, r := range ratios {
		slices.Sort(r)
		b.ReportMetric(r[len(r)/2], name+"/bare")
	}
	b.ReportMetric(0, "ns/op")
}
