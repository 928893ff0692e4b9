package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// shop is an outbox of one shard on an in-memory Redis, for the examples.
func shop() (*redis.Client, *outbox.Writer, func()) {
	server, err := miniredis.Run()
	if err != nil {
		log.Fatal(err)
	}
	server.HSet(names.LayoutKey("orders"), "version", "2", "format", "1", "shards", "1")
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	writer, err := outbox.NewWriter(client, outbox.Config{Outbox: "orders"})
	if err != nil {
		log.Fatal(err)
	}
	return client, writer, func() { client.Close(); server.Close() }
}

// The state and the event in one round trip.
func ExampleWriter_Tx() {
	ctx := context.Background()
	client, writer, done := shop()
	defer done()

	res, err := writer.Tx(ctx, "42", func(tx *outbox.Tx) error {
		tx.Queue().HSet(ctx, "order:42", "status", "placed")
		return tx.Append(outbox.Event{
			AggregateType: "order", AggregateID: "42", Type: "OrderPlaced",
			Payload: []byte(`{"total":1999}`), ContentType: "application/json",
		})
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.HGet(ctx, "order:42", "status").Val(), len(res.Entries))
	// Output: placed 1
}

// Reading under WATCH: the function runs again if somebody else changes the stock meanwhile.
func ExampleWriter_Tx_watch() {
	ctx := context.Background()
	client, writer, done := shop()
	defer done()
	client.Set(ctx, "stock:7", 1, 0)
	soldOut := errors.New("sold out")

	buy := func(order string) error {
		_, err := writer.Tx(ctx, order, func(tx *outbox.Tx) error {
			stock, err := tx.Read().Get(ctx, "stock:7").Int()
			if err != nil {
				return err
			}
			if stock == 0 {
				return soldOut // nothing is written
			}
			tx.Queue().Decr(ctx, "stock:7")
			return tx.Append(outbox.Event{AggregateType: "order", AggregateID: order, Type: "OrderPlaced"})
		}, outbox.WithWatch("stock:7"))
		return err
	}
	fmt.Println(buy("42"))
	fmt.Println(buy("43"))
	// Output:
	// <nil>
	// sold out
}

// An idempotency key makes the transaction safe to repeat.
func ExampleWriter_Tx_idempotencyKey() {
	ctx := context.Background()
	_, writer, done := shop()
	defer done()

	for range 2 {
		res, err := writer.Tx(ctx, "42", func(tx *outbox.Tx) error {
			tx.Queue().Incr(ctx, "orders")
			return tx.Append(outbox.Event{AggregateType: "order", AggregateID: "42", Type: "OrderPlaced"})
		}, outbox.WithIdempotencyKey("request-1"))
		switch outbox.OutcomeOf(err) {
		case outbox.Committed:
			fmt.Println("committed, before:", res.AlreadyAppended)
		case outbox.NotCommitted:
			fmt.Println("nothing was written:", err)
		case outbox.Unknown:
			fmt.Println("ask again later, with the same key:", err)
		}
	}
	// Output:
	// committed, before: false
	// committed, before: true
}

// Joining a transaction that the caller runs.
func ExampleWriter_Append() {
	ctx := context.Background()
	client, writer, done := shop()
	defer done()

	pipe := client.TxPipeline()
	pipe.HSet(ctx, "order:42", "status", "placed")
	appended, err := writer.Append(ctx, pipe,
		outbox.Event{AggregateType: "order", AggregateID: "42", Type: "OrderPlaced"})
	if err != nil {
		log.Fatal(err) // nothing was queued
	}
	_, _ = pipe.Exec(ctx) // Result explains its error
	res, err := appended.Result()
	fmt.Println(len(res.Entries), err)
	// Output: 1 <nil>
}

// An idempotency key in a transaction that the caller runs.
func ExampleWriter_Idempotent() {
	ctx := context.Background()
	client, writer, done := shop()
	defer done()

	place := func() error {
		return client.Watch(ctx, func(conn *redis.Tx) error {
			idem, err := writer.Idempotent(ctx, conn, "42", "request-1")
			if err != nil || idem.Done() {
				return err
			}
			pipe := conn.TxPipeline()
			pipe.Incr(ctx, "orders")
			appended, err := idem.Append(ctx, pipe,
				outbox.Event{AggregateType: "order", AggregateID: "42", Type: "OrderPlaced"})
			if err != nil {
				return err
			}
			_, _ = pipe.Exec(ctx)
			return appended.Err()
		}, "orders")
	}
	fmt.Println(place(), place())
	fmt.Println(client.Get(ctx, "orders").Val())
	// Output:
	// <nil> <nil>
	// 1
}

// Connecting OpenTelemetry takes two lines in Config.TraceContext:
//
//	carrier := propagation.MapCarrier{}
//	propagation.TraceContext{}.Inject(ctx, carrier)
//
// after which carrier has both headers. Without it, a context can be given a trace by hand.
func ExampleWithTraceParent() {
	ctx := outbox.WithTraceParent(context.Background(),
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "")
	client, writer, done := shop()
	defer done()

	_, err := writer.Tx(ctx, "42", func(tx *outbox.Tx) error {
		return tx.Append(outbox.Event{AggregateType: "order", AggregateID: "42", Type: "OrderPlaced"})
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.XRange(ctx, outbox.StreamKey("orders", 0), "-", "+").Val()[0].Values["headers"])
	// Output: {"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
}
