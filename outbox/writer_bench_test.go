package outbox_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/outbox"
)

// answers is a hook that stands in for the server, so that only the client's side is measured.
type answers struct{}

func (answers) DialHook(next redis.DialHook) redis.DialHook { return next }

func (answers) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, cmd redis.Cmder) error {
		if c, ok := cmd.(*redis.SliceCmd); ok { // HMGET of the layout
			c.SetVal([]any{"2", "1", "4", nil})
		}
		return nil
	}
}

func (answers) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(_ context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			switch c := cmd.(type) {
			case *redis.StringCmd:
				c.SetVal("1700000000000-0")
			case *redis.StatusCmd:
				if c.Name() == "type" {
					c.SetVal("stream")
				}
			}
		}
		return nil
	}
}

// BenchmarkWriterAlone is what the client's side of a transaction costs, by hand and through the
// writer.
func BenchmarkWriterAlone(b *testing.B) {
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{})
	defer client.Close()
	client.AddHook(answers{})
	writer, err := outbox.NewWriter(client, outbox.Config{Outbox: "orders"})
	if err != nil {
		b.Fatal(err)
	}
	payload := bytes.Repeat([]byte("x"), 200)
	e := outbox.Event{AggregateType: "order", AggregateID: "42", Type: "OrderPlaced", Payload: payload}
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"bare", func() error {
			pipe := client.TxPipeline()
			pipe.Set(ctx, "order:42", "placed", 0)
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: "sluice:{orders:0}", Values: []any{
				"id", uuid.Must(uuid.NewV7()).String(), "aggregatetype", "order", "aggregateid", "42",
				"type", "OrderPlaced", "payload", payload, "headers", "{}",
			}})
			_, err := pipe.Exec(ctx)
			return err
		}},
		{"Tx", func() error {
			_, err := writer.Tx(ctx, "42", func(tx *outbox.Tx) error {
				tx.Queue().Set(ctx, "order:42", "placed", 0)
				return tx.Append(e)
			})
			return err
		}},
		{"Append", func() error {
			pipe := client.TxPipeline()
			pipe.Set(ctx, "order:42", "placed", 0)
			appended, err := writer.Append(ctx, pipe, e)
			if err != nil {
				return err
			}
			_, _ = pipe.Exec(ctx)
			return appended.Err()
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := c.do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
